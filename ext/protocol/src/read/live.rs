//! How a read handles an SSE connection.

use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, StatusCode};

use super::cursor::{Mode, Progress, ReadStep, Stall};
use super::event_stream::{EventBatch, EventStream, StreamEvent};
use super::machine::{ReadMachine, ReadState, TYPE_CHANGED};
use super::outcome::{MIN_STABLE_REQUEST, ReadOutcome};
use super::payload::{Format, Payload};
use crate::error::{Error, Kind, Operation};
use crate::error_body::excerpt;
use crate::meaning::{Meaning, status_of_code};
use crate::protocol::{self, Media, PositionError, text};
use crate::sse::{self, ErrorEvent};

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
        self.has_events = true;
        self.state = ReadState::Events(Box::new(EventStream::new(
            format,
            encoding,
            self.config.max_message_bytes,
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
                Ok(Some(StreamEvent::Batch(batch))) => match self.event_batch(now, events.format, batch) {
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

    /// Hands out the data events before a control event as one batch. Returns whether there was any data.
    fn event_batch(&mut self, now: Instant, format: Format, batch: EventBatch) -> Result<bool, ReadOutcome> {
        let EventBatch { data, control } = batch;
        protocol::check_position_size(&control.next_offset, "streamNextOffset")
            .map_err(|error| self.malformed(error))?;
        if let Some(cursor) = &control.cursor {
            protocol::check_position_size(cursor, "streamCursor").map_err(|error| self.malformed(error))?;
        }
        let mut progress = Progress {
            next_offset: control.next_offset,
            cursor: control.cursor.or_else(|| self.cursor.position().cursor.clone()),
            up_to_date: control.up_to_date,
            closed: control.closed,
            status: StatusCode::OK.as_u16(),
            mode: Mode::Sse,
            skip: self.cursor.position().skip,
        };
        let mut payload = match &self.open_record {
            Some(record) => Payload::resume(record.clone(), progress.skip, self.config.max_message_bytes),
            None => Payload::new(format, progress.skip, self.config.max_message_bytes),
        };
        let (mut has_bytes, mut last) = (false, None);
        for bytes in data {
            has_bytes |= !bytes.is_empty();
            payload.push(bytes).map_err(|error| self.malformed(error))?;
            payload.end_event().map_err(|error| self.malformed(error))?;
            while let Some(part) = payload.next_part() {
                self.check_new_offset(&progress).map_err(ReadOutcome::Fatal)?;
                last.replace(part).into_iter().for_each(|part| self.hand_out(now, part));
            }
        }
        if let Some(part) = payload
            .finish(progress.closed || progress.up_to_date && payload.left_to_skip() == 0)
            .map_err(|error| self.malformed(error))?
        {
            last.replace(part).into_iter().for_each(|part| self.hand_out(now, part));
        }
        progress.skip = payload.left_to_skip();
        let record = payload.into_open_record();
        // Without bytes, the last part or the record is from the responses before.
        let has_data = has_bytes && (last.is_some() || record.is_some());
        if has_data {
            self.check_new_offset(&progress).map_err(ReadOutcome::Fatal)?;
        }
        let is_empty = last.is_none() && !has_data;
        let took = self.request_age(now).max(MIN_EVENT_CONNECTION);
        let stall = self.cursor.advance(&mut progress, is_empty, took);
        if stall == Stall::Back {
            return Err(ReadOutcome::Stalled(stall));
        }
        // After a connection that ended at once, an event without data is no success: this one may end as soon.
        let lasts = self.request_age(now) >= MIN_EVENT_CONNECTION;
        if !is_empty || !self.ended_at_once || lasts || progress.closed {
            self.succeeded(now);
        }
        self.values_refreshed = false;
        self.end_batch(last, progress, record);
        Ok(!is_empty)
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
        if events.has_progressed || self.request_age(now) >= MIN_EVENT_CONNECTION {
            self.succeeded(now);
            return self.end_request(now, ReadOutcome::Ended(events.retry().unwrap_or_default()));
        }
        self.events_lost(now, false);
        let error = self.about().error(Kind::Connection, "the event stream ended at once");
        self.connection_lost(now, error, events.retry());
    }

    /// The connection was lost. `has_progressed`: it had brought data.
    pub(super) fn events_lost(&mut self, now: Instant, has_progressed: bool) {
        let lasted = self.request_age(now);
        if lasted >= MIN_STABLE_REQUEST {
            self.succeeded(now);
        }
        self.ended_at_once |= lasted < MIN_EVENT_CONNECTION && !has_progressed;
    }

    /// The server does not offer SSE for this stream: falls back to long-poll if the live mode allows it.
    pub(super) fn fall_back_from_sse(&mut self, error: Error) -> ReadOutcome {
        match self.cursor.sse_refused() {
            true => ReadOutcome::RetryNow,
            false => ReadOutcome::Fatal(error),
        }
    }
}
