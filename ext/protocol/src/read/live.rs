//! How a read handles an SSE connection.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::cursor::{Mode, Progress, ReadStep, Stall};
use super::event_stream::{ArrivingBatch, EventStream, StreamEvent};
use super::machine::{ReadMachine, ReadState, TYPE_CHANGED};
use super::outcome::{MIN_STABLE_REQUEST, ReadOutcome};
use super::payload::{Brought, Payload, Units};
use crate::error::{Error, Kind, Operation};
use crate::error_body::excerpt;
use crate::meaning::{Meaning, status_of_code};
use crate::protocol::{self, Media, PositionError, text};
use crate::sse::{self, ControlEvent, DataEvents, ErrorEvent};

/// An SSE connection that ends sooner than this without data was not closed in an orderly way.
const MIN_EVENT_CONNECTION: Duration = Duration::from_millis(500);

impl ReadMachine {
    pub(super) fn begin_events(&mut self, now: Instant, status: StatusCode, headers: &HeaderMap) {
        let encoding = match EventStream::encoding(headers) {
            Err(error) => return self.end_malformed(now, error),
            Ok(None) => {
                let error = match protocol::next_offset(headers) {
                    Err(error @ PositionError::Missing { .. }) => self.position_error(status, headers, error),
                    _ => self
                        .about()
                        .error(Kind::SseNotSupported, "the response is not an event stream"),
                };
                let outcome = self.fall_back_from_sse(error);
                return self.end_request(now, outcome);
            }
            Ok(Some(encoding)) => encoding,
        };
        let media = text(headers, &protocol::DATA_CONTENT_TYPE).map(Media::of);
        let format = match media {
            // Servers never encode `application/json`. So this is a `+json` type, which they store as it was sent.
            None if encoding == sse::Encoding::Base64 => self.format.with_media(Some(Media::JsonSequence)),
            _ => self.format.with_media(media),
        };
        if self.open_record.as_ref().is_some_and(|record| record.format != format) {
            return self.end_malformed(now, TYPE_CHANGED);
        }
        self.sse_works = true;
        self.state = ReadState::Events(Box::new(EventStream::new(
            format,
            encoding,
            self.config.max_message_bytes,
            self.early_bytes,
        )));
    }

    pub(super) fn take_batches(&mut self, now: Instant, mut events: Box<EventStream>) {
        loop {
            match events.next() {
                Err(error) => return self.end_malformed(now, error),
                Ok(None) => break,
                Ok(Some(StreamEvent::Error(event))) => {
                    let outcome = self.error_event(event, events.retry());
                    return self.end_request(now, outcome);
                }
                Ok(Some(StreamEvent::Data(data, unfinished))) => {
                    let mut batch = self.open_batch(&mut events);
                    if let Err(outcome) = self.early_data(now, &mut batch, data, unfinished) {
                        return self.end_request(now, outcome);
                    }
                    events.has_brought_data |= batch.payload.has_parts();
                    events.open_batch = Some(batch);
                }
                Ok(Some(StreamEvent::Control(data, control))) => {
                    let batch = self.open_batch(&mut events);
                    match self.event_batch(now, batch, data, control) {
                        Err(outcome) => return self.end_request(now, outcome),
                        Ok(brought) => events.has_brought_data |= brought != Brought::Nothing,
                    }
                }
            }
            if self.cursor.next() == ReadStep::End {
                return self.end_request(now, ReadOutcome::Complete(Stall::None));
            }
        }
        self.state = ReadState::Events(events);
    }

    /// The batch that the next data belong to.
    fn open_batch(&self, events: &mut EventStream) -> ArrivingBatch {
        events.open_batch.take().unwrap_or_else(|| {
            let (skip, max_message_bytes) = (self.cursor.position().skip, self.config.max_message_bytes);
            ArrivingBatch::new(match &self.open_record {
                Some(record) => Payload::resume(record.clone(), skip, max_message_bytes),
                None => Payload::new(events.format, skip, max_message_bytes),
            })
        })
    }

    /// Hands out data whose control event has not arrived. If that never arrives, the next connection reads the data
    /// again and skips what was handed out.
    fn early_data(
        &mut self,
        now: Instant,
        batch: &mut ArrivingBatch,
        data: DataEvents,
        unfinished: Bytes,
    ) -> Result<(), ReadOutcome> {
        self.decode(now, batch, data, None)?;
        batch.payload.push(unfinished).map_err(|error| self.malformed(error))?;
        while let Some(part) = batch.next_part() {
            self.hand_out(now, part);
        }
        Ok(())
    }

    /// Decodes complete data events, and hands out all parts but the last. `progress` is the position after them, if it
    /// is known.
    fn decode(
        &mut self,
        now: Instant,
        batch: &mut ArrivingBatch,
        data: DataEvents,
        progress: Option<&Progress>,
    ) -> Result<(), ReadOutcome> {
        for bytes in data {
            let decoded = batch.payload.push(bytes).and_then(|()| batch.payload.end_event());
            decoded.map_err(|error| self.malformed(error))?;
            while let Some(part) = batch.payload.next_part() {
                if let Some(progress) = progress {
                    self.check_new_offset(progress).map_err(ReadOutcome::Fatal)?;
                }
                if let Some(before) = batch.last.replace(part) {
                    self.hand_out(now, before);
                }
            }
        }
        Ok(())
    }

    /// Hands out the data before a control event as one batch.
    fn event_batch(
        &mut self,
        now: Instant,
        mut batch: ArrivingBatch,
        data: DataEvents,
        control: ControlEvent,
    ) -> Result<Brought, ReadOutcome> {
        let mut progress = self.control_progress(control)?;
        if self.cursor.is_before_position(&progress) {
            return Err(ReadOutcome::Complete(Stall::Back));
        }
        self.decode(now, &mut batch, data, Some(&progress))?;
        let is_at_tail = progress.closed || progress.up_to_date && batch.payload.left_to_skip().is_zero();
        let finished = batch.payload.finish(is_at_tail);
        let end = finished.map_err(|error| self.malformed(error))?;
        if let Some(before) = end.last.and_then(|part| batch.last.replace(part)) {
            self.hand_out(now, before);
        }
        progress.skip = end.left_to_skip;
        let took = self.request_age(now).max(MIN_EVENT_CONNECTION);
        let stall = self
            .advance(&mut progress, end.brought, took)
            .map_err(ReadOutcome::Fatal)?;
        if stall == Stall::Back {
            return Err(ReadOutcome::Complete(stall));
        }
        // After a connection that ended at once, an event without data is no success: this one may end as soon.
        let lasts = self.request_age(now) >= MIN_EVENT_CONNECTION;
        if end.brought != Brought::Nothing || !self.ended_at_once || lasts || progress.closed {
            self.succeeded(now);
        }
        self.values_refreshed = false;
        self.end_batch(batch.last, progress, batch.payload.into_open_record());
        Ok(end.brought)
    }

    /// The position that a control event gives.
    fn control_progress(&self, control: ControlEvent) -> Result<Progress, ReadOutcome> {
        protocol::check_position_size(&control.next_offset, "streamNextOffset")
            .map_err(|error| self.malformed(error))?;
        if let Some(cursor) = &control.cursor {
            protocol::check_position_size(cursor, "streamCursor").map_err(|error| self.malformed(error))?;
        }
        Ok(Progress {
            next_offset: control.next_offset,
            cursor: control.cursor.or_else(|| self.cursor.position().cursor.clone()),
            up_to_date: control.up_to_date,
            closed: control.closed,
            status: StatusCode::OK.as_u16(),
            mode: Mode::Sse,
            skip: Units(0),
        })
    }

    /// The server cannot continue. What it says is an error of this request.
    fn error_event(&mut self, event: ErrorEvent, server_delay: Option<Duration>) -> ReadOutcome {
        let Some(status) = status_of_code(&event.code) else {
            let reason = format!(
                "the server reported an error: {}",
                excerpt(&event.data).unwrap_or_default()
            );
            let max_delay = self.config.retry.max_delay;
            let error = self.about().error(Kind::Status, reason);
            return ReadOutcome::Retry(error, server_delay.map(|delay| delay.min(max_delay)));
        };
        if self.wants_fresh_values(status) {
            return ReadOutcome::RetryNow;
        }
        let meaning = Meaning::of(Operation::Read, status, &HeaderMap::new(), SystemTime::UNIX_EPOCH);
        let error = Error::from_response(
            self.about(),
            meaning.kind,
            meaning.reason,
            status,
            HeaderMap::new(),
            event.data,
        );
        ReadOutcome::Fatal(error.with_note(meaning.advice))
    }

    /// The connection has ended. Servers close SSE connections about once a minute, so the read reconnects at once. But
    /// a connection that ends right after it began, without data, counts as lost.
    pub(super) fn finish_events(&mut self, now: Instant, events: &EventStream) {
        if events.has_brought_data || self.request_age(now) >= MIN_EVENT_CONNECTION {
            self.succeeded(now);
            return self.end_request(now, ReadOutcome::Ended(events.retry().unwrap_or_default()));
        }
        self.events_lost(now, false);
        let error = self.about().error(Kind::Connection, "the event stream ended at once");
        self.connection_lost(now, error, events.retry());
    }

    /// The connection was lost. `has_brought_data`: see [`EventStream`].
    pub(super) fn events_lost(&mut self, now: Instant, has_brought_data: bool) {
        let lasted = self.request_age(now);
        if lasted >= MIN_STABLE_REQUEST {
            self.succeeded(now);
        }
        self.ended_at_once |= lasted < MIN_EVENT_CONNECTION && !has_brought_data;
    }

    /// The server does not offer SSE for this stream: falls back to long-poll if the live mode allows it.
    pub(super) fn fall_back_from_sse(&mut self, error: Error) -> ReadOutcome {
        match self.cursor.sse_refused() {
            true => ReadOutcome::RetryNow,
            false => ReadOutcome::Fatal(error),
        }
    }
}
