//! What a read does with a connection of server-sent events.

use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode};

use super::cursor::{Progress, ReadStep, Stall};
use super::event::ReadEvent;
use super::event_stream::{EventBatch, EventStream};
use super::machine::{ReadMachine, ReadOutcome, ReadState};
use super::payload::{Format, Payload};
use crate::error::{Error, Kind};
use crate::protocol::{self, PositionError};
use crate::sse;

/// An event connection that ends sooner, having brought nothing, is not an orderly close.
const MIN_EVENT_CONNECTION: Duration = Duration::from_millis(500);

impl ReadMachine {
    pub(super) fn begin_events(&mut self, now: Instant, status: StatusCode, headers: &HeaderMap) {
        let encoding = match EventStream::encoding(headers) {
            Err(error) => return self.end_malformed(now, error),
            Ok(None) => {
                let error = match protocol::next_offset(headers) {
                    Err(why @ PositionError::Missing { .. }) => self.unusable(status, headers, why),
                    _ => self
                        .about()
                        .error(Kind::SseNotSupported, "the answer is not an event stream"),
                };
                let outcome = self.without_events(error);
                return self.end_request(now, outcome);
            }
            Ok(Some(encoding)) => encoding,
        };
        if self.format == Format::Json && encoding == sse::Encoding::Base64 {
            // `application/json` is never encoded, so this is a type that servers store as it came.
            self.format = Format::JsonSequence;
        }
        self.state = ReadState::Events(Box::new(EventStream::new(encoding, self.config.max_message_bytes)));
    }

    pub(super) fn take_batches(&mut self, now: Instant, mut events: Box<EventStream>) {
        loop {
            match events.next_batch() {
                Err(error) => return self.end_malformed(now, error),
                Ok(None) => break,
                Ok(Some(batch)) => match self.event_batch(now, batch) {
                    Err(outcome) => return self.end_request(now, outcome),
                    Ok(progressed) => events.has_progressed |= progressed,
                },
            }
            if self.cursor.next() == ReadStep::End {
                return self.end_request(now, ReadOutcome::Stalled(Stall::None));
            }
        }
        self.state = ReadState::Events(events);
    }

    /// The data events before a control event are one batch. Gives whether there were any.
    fn event_batch(&mut self, now: Instant, batch: EventBatch) -> Result<bool, ReadOutcome> {
        let EventBatch { data, control } = batch;
        protocol::check_position_size(&control.next_offset, "streamNextOffset").map_err(|why| self.malformed(why))?;
        if let Some(cursor) = &control.cursor {
            protocol::check_position_size(cursor, "streamCursor").map_err(|why| self.malformed(why))?;
        }
        let mut progress = Progress {
            next_offset: control.next_offset,
            cursor: control.cursor.or_else(|| self.cursor.position().cursor.clone()),
            up_to_date: control.up_to_date,
            closed: control.closed,
            status: StatusCode::OK.as_u16(),
            skip: self.cursor.position().skip,
        };
        let (mut is_empty, mut last) = (true, None);
        for bytes in data {
            if let Some(part) = last.take() {
                is_empty = false;
                self.hand_out(part);
            }
            let mut payload = Payload::new(self.format, progress.skip, self.config.max_message_bytes);
            payload.push(bytes).map_err(|error| self.malformed(error))?;
            while let Some(part) = payload.next_part() {
                self.check_moves(&progress).map_err(ReadOutcome::Fatal)?;
                is_empty = false;
                self.hand_out(part);
            }
            last = payload.finish().map_err(|error| self.malformed(error))?;
            if last.is_some() {
                self.check_moves(&progress).map_err(ReadOutcome::Fatal)?;
            }
            progress.skip = payload.left_to_skip();
        }
        is_empty &= last.is_none();
        let took = self.waited(now).max(MIN_EVENT_CONNECTION);
        let stall = self.cursor.advance(&mut progress, is_empty, took);
        if stall == Stall::Back {
            return Err(ReadOutcome::Stalled(stall));
        }
        if !is_empty {
            self.schedule.reset();
        }
        self.events.push_back(ReadEvent::End(last, progress));
        Ok(!is_empty)
    }

    /// The connection of events was closed in an orderly way, about once a minute: on at once. One that is closed right
    /// away, having brought nothing, is not that.
    pub(super) fn finish_events(&mut self, now: Instant, events: &EventStream) {
        if events.has_progressed || self.waited(now) >= MIN_EVENT_CONNECTION {
            self.schedule.reset();
            return self.end_request(now, ReadOutcome::Ended(events.retry().unwrap_or_default()));
        }
        let error = self.about().error(Kind::Connection, "the event stream ended at once");
        self.connection_lost(now, error, events.retry());
    }

    /// The stream cannot be read by events.
    pub(super) fn without_events(&mut self, error: Error) -> ReadOutcome {
        match self.cursor.events_refused() {
            true => ReadOutcome::RetryNow,
            false => ReadOutcome::Fatal(error),
        }
    }
}
