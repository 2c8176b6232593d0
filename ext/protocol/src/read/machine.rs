//! The state machine of a read: responses and the current time go in; requests and data for the application come out.
//!
//! It decides what a response means for the position, and when to send the next request, to retry, to reconnect and to
//! give up. `cursor` has the position, `finite` and `content` what it does with a response that ends, `live` and
//! `event_stream` what it does with an SSE connection, `hand_out` what it hands to the application, and `next_try` what
//! follows the end of a request.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::batch::Batch;
use super::content::ResponseContent;
use super::cursor::{Cursor, Live, Mode, ReadStep};
use super::event::ReadEvent;
use super::event_stream::EventStream;
pub use super::options::{ReadConfig, ReadOptions};
use super::outcome::ReadOutcome;
use super::payload::{Format, OpenRecord};
use crate::error::{About, Error, Kind, Operation};
use crate::meaning::{asks_for_credentials, retry_after};
use crate::protocol::{self, Media, PositionError};
use crate::request::{Context, Repeat, Request, RequestFailure, Response, ResponseTimeout};
use crate::retry::jitter::Jitter;
use crate::retry::outage::Outages;
use crate::retry::policy::Schedule;

/// The reason why a record cannot be continued.
pub(super) const TYPE_CHANGED: &str = "the content type changed in the middle of a record";

/// Servers send all that a stream has as one SSE event. It is decoded and converted while it arrives, and need not be
/// in memory as a whole. Less data than this usually arrive together with their control event.
const EARLY_BYTES: usize = 64 * 1024;

/// What the driver does next.
#[derive(Debug)]
pub enum ReadAction {
    /// Wait until the application has taken the end of the last response. Then call [`ReadMachine::request`] and send
    /// the request.
    Request,
    /// Read the next piece of the response's body.
    Receive {
        /// Whether the response is a live one, which may bring nothing for a long time.
        live: bool,
    },
    /// Read the whole body of an error response and call [`ReadMachine::handle_error_response`].
    ReceiveErrorBody,
    /// Poll again at this time.
    Wait(Instant),
    /// The read is over. With an error, it failed.
    End(Option<Error>),
}

/// A read. The driver's loop:
///
/// 1. Hand every event of [`ReadMachine::poll_event`] to the application.
/// 2. Do what [`ReadMachine::poll_action`] says, and report the result through one of the `handle_*` methods.
#[derive(Debug)]
pub struct ReadMachine {
    pub(super) config: ReadConfig,
    pub(super) cursor: Cursor,
    pub(super) format: Format,
    /// The record that the last complete response ended in.
    pub(super) open_record: Option<OpenRecord>,
    pub(super) batch: Batch,
    /// Data of an SSE connection are handed out before their control event when there are this many bytes.
    pub(super) early_bytes: usize,
    pub(super) no_cache: bool,
    /// How many more bytes it may receive.
    bytes_left: usize,
    pub(super) jitter: Jitter,
    pub(super) schedule: Schedule,
    /// Whether the read retries without limit after its first success.
    pub(super) patient: bool,
    /// Whether an SSE response has arrived.
    pub(super) sse_works: bool,
    pub(super) outages: Outages,
    /// The offset at which the last outage began. A read makes no progress during one.
    pub(super) outage_offset: String,
    /// The last SSE connection ended right after it began, and nothing has succeeded since.
    pub(super) ended_at_once: bool,
    /// A 401 or 403 was retried with new values, and no request has succeeded since.
    pub(super) values_refreshed: bool,
    pub(super) state: ReadState,
    /// The request in flight.
    pub(super) sent: Option<SentRead>,
    pub(super) events: VecDeque<ReadEvent>,
}

#[derive(Debug)]
pub(super) enum ReadState {
    /// No request is in flight. The next one goes out at this time at the earliest.
    Idle(Option<Instant>),
    /// [`ReadMachine::request`] was called, and neither a response nor a failure has been reported. If the driver polls
    /// now, it did not send the request, and gets [`ReadAction::Request`] again.
    AwaitingResponse,
    /// The response is an error. The duration is its `Retry-After`.
    ErrorResponse(Option<Duration>),
    /// The response is content.
    Content(Box<ResponseContent>),
    /// The response is an SSE stream.
    Events(Box<EventStream>),
    /// The read has failed.
    Failed(Error),
}

/// The request in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct SentRead {
    pub(super) mode: Mode,
    pub(super) at: Instant,
    /// Whether its response is content.
    pub(super) has_content: bool,
}

impl ReadMachine {
    /// A read that has not begun. `jitter` spreads its retry delays.
    pub fn new(options: ReadOptions, config: ReadConfig, jitter: Jitter) -> Self {
        let media = options.media.or(match options.format {
            Format::Bytes => None,
            Format::Json | Format::JsonSequence | Format::JsonLines => Some(Media::Json),
        });
        let patient = options.patient || (config.patient && options.retry.is_none());
        let config = ReadConfig {
            retry: options.retry.unwrap_or(config.retry),
            ..config
        };
        Self {
            config,
            format: options.format,
            open_record: None,
            batch: Batch::new(options.position.clone()),
            cursor: Cursor::new(options.live, options.position, media),
            early_bytes: EARLY_BYTES,
            no_cache: options.no_cache,
            bytes_left: options.max_bytes,
            jitter,
            schedule: Schedule::default(),
            patient: patient && options.live != Live::Off,
            sse_works: false,
            outages: Outages::new(options.has_succeeded),
            outage_offset: String::new(),
            ended_at_once: false,
            values_refreshed: false,
            state: ReadState::Idle(None),
            sent: None,
            events: VecDeque::new(),
        }
    }

    /// What the driver does next.
    pub fn poll_action(&self, now: Instant) -> ReadAction {
        match &self.state {
            ReadState::Failed(error) => ReadAction::End(Some(error.clone())),
            ReadState::Idle(Some(until)) if now < *until => ReadAction::Wait(*until),
            ReadState::Idle(_) if self.cursor.next() == ReadStep::End => ReadAction::End(None),
            ReadState::Idle(_) | ReadState::AwaitingResponse => ReadAction::Request,
            ReadState::ErrorResponse(_) => ReadAction::ReceiveErrorBody,
            ReadState::Content(_) => ReadAction::Receive { live: false },
            ReadState::Events(_) => ReadAction::Receive { live: true },
        }
    }

    /// The next event for the application.
    pub fn poll_event(&mut self) -> Option<ReadEvent> {
        self.events.pop_front()
    }

    /// The number of the next try, or of the one that is being made, since the last success. The first one is 1.
    pub fn attempt(&self) -> u32 {
        let refreshed = u32::from(self.values_refreshed);
        self.outages.failed_tries().saturating_add(1 + refreshed)
    }

    /// The request to send now.
    pub fn request(&mut self, now: Instant) -> Request {
        let mode = match self.cursor.next() {
            ReadStep::Request(mode) => mode,
            // Not reached: `poll_action` returns `End` in this case.
            ReadStep::End => Mode::CatchUp,
        };
        self.state = ReadState::AwaitingResponse;
        self.sent = Some(SentRead {
            mode,
            at: now,
            has_content: false,
        });
        let mut headers = HeaderMap::new();
        if mode == Mode::Sse {
            headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
            // A proxy that compresses may delay events until it has enough of them.
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        let mut query = self.cursor.query(mode);
        if self.no_cache {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            // Some caches ignore that, but none has a response to a cursor that no other request has.
            query.insert(0, ("cursor", format!("{:.0}", self.jitter.next() * 1e15)));
        }
        Request {
            operation: Operation::Read,
            method: Method::GET,
            headers,
            query,
            body: None,
            repeat: Repeat::Safe,
            response_timeout: match mode {
                // Servers send the headers of an event stream at once.
                Mode::CatchUp | Mode::Sse => ResponseTimeout::Normal,
                Mode::LongPoll => ResponseTimeout::Live,
            },
        }
    }

    /// Another read has sent the same request, at this time, and they share its outcome.
    pub fn handle_earlier_request(&mut self, at: Instant) {
        if let Some(sent) = &mut self.sent {
            sent.at = at;
        }
    }

    /// The response's status and headers have arrived. `content_length` is the size of its body, if known.
    pub fn handle_response(
        &mut self,
        now: Instant,
        wall: SystemTime,
        status: StatusCode,
        headers: &HeaderMap,
        content_length: Option<u64>,
    ) {
        if !matches!(status, StatusCode::OK | StatusCode::NO_CONTENT) {
            if self.wants_fresh_values(status) {
                return self.end_request(now, ReadOutcome::RetryNow);
            }
            self.state = ReadState::ErrorResponse(retry_after(headers, wall));
            return;
        }
        if let Some(coding) = protocol::unknown_coding(headers) {
            let reason = format!("the response has the Content-Encoding {coding:?}, but only gzip was requested");
            return self.end_malformed(now, reason);
        }
        if let Some(sent) = &mut self.sent {
            sent.has_content = true;
        }
        match self.mode() {
            Mode::Sse => self.begin_events(now, status, headers),
            Mode::CatchUp | Mode::LongPoll => {
                self.values_refreshed = false;
                self.begin_content(now, status, headers, content_length);
            }
        }
    }

    /// Whether to let the callables compute new values after this status: once, until a request succeeds.
    pub(super) fn wants_fresh_values(&mut self, status: StatusCode) -> bool {
        let wants = asks_for_credentials(status) && self.config.fresh_values && !self.values_refreshed;
        self.values_refreshed |= wants;
        wants
    }

    /// An error response is complete.
    pub fn handle_error_response(&mut self, now: Instant, wall: SystemTime, response: Response) {
        let server_delay = match self.state {
            ReadState::ErrorResponse(server_delay) => server_delay,
            _ => None,
        };
        let refuses_sse = self.mode() == Mode::Sse && matches!(response.status.as_u16(), 400 | 405 | 406 | 415 | 501);
        let context = Context {
            about: self.about(),
            policy: &self.config.retry,
            now: wall,
        };
        let error = context.error(response);
        let outcome = match error.worth_another_try() {
            true => ReadOutcome::Retry(error, server_delay),
            false if refuses_sse => self.fall_back_from_sse(error),
            false => ReadOutcome::Fatal(error),
        };
        self.end_request(now, outcome);
    }

    /// A piece of the body has arrived.
    pub fn handle_piece(&mut self, now: Instant, piece: Bytes) {
        match self.bytes_left.checked_sub(piece.len()) {
            Some(left) => self.bytes_left = left,
            None => {
                let error = self
                    .about()
                    .error(Kind::Parse, "the responses are larger than the limit of this read");
                return self.end_request(now, ReadOutcome::Fatal(error));
            }
        }
        match std::mem::replace(&mut self.state, ReadState::AwaitingResponse) {
            ReadState::Content(content) => self.push_content(now, content, piece),
            ReadState::Events(mut events) => {
                events.push(piece);
                self.take_batches(now, events);
            }
            other => self.state = other,
        }
    }

    /// The body is complete.
    pub fn handle_end(&mut self, now: Instant) {
        match std::mem::replace(&mut self.state, ReadState::AwaitingResponse) {
            ReadState::Content(content) => self.finish_content(now, *content),
            ReadState::Events(events) => self.finish_events(now, &events),
            other => self.state = other,
        }
    }

    /// The request failed without a response, or the response's body broke off.
    pub fn handle_failure(&mut self, now: Instant, failure: RequestFailure) {
        let server_delay = match &self.state {
            ReadState::Events(events) => events.retry(),
            _ => None,
        };
        let live_timed_out = matches!(self.state, ReadState::AwaitingResponse)
            && self.mode() == Mode::LongPoll
            && self.request_age(now) >= self.config.live_timeout;
        if let ReadState::Events(events) = &self.state {
            let has_brought_data = events.has_brought_data;
            self.events_lost(now, has_brought_data);
        }
        let outcome = match failure {
            RequestFailure::Final(error) => ReadOutcome::Fatal(error),
            // The server had no new data within the live timeout.
            RequestFailure::ResponseLost(error) if live_timed_out && matches!(error.kind(), Kind::Timeout) => {
                ReadOutcome::RetryNow
            }
            // A proxy that buffers responses delays even the headers of an SSE response until there are enough events.
            RequestFailure::ResponseLost(error)
                if self.awaits_first_events() && matches!(error.kind(), Kind::Timeout) && self.cursor.sse_refused() =>
            {
                ReadOutcome::RetryNow
            }
            RequestFailure::NotSent(error) => ReadOutcome::Retry(error, None),
            RequestFailure::ResponseLost(error) => return self.connection_lost(now, error, server_delay),
        };
        self.end_request(now, outcome);
    }

    /// Whether this read has requested an SSE response and none has arrived yet.
    fn awaits_first_events(&self) -> bool {
        matches!(self.state, ReadState::AwaitingResponse) && self.mode() == Mode::Sse && !self.sse_works
    }

    /// A live response brought no bytes for the live timeout.
    pub fn handle_silence(&mut self, now: Instant) {
        self.end_request(now, ReadOutcome::RetryNow);
    }

    /// The error of a successful response that does not say where the next read starts.
    pub(super) fn position_error(&self, status: StatusCode, headers: &HeaderMap, error: PositionError) -> Error {
        Error::from_success(self.about(), status, headers, error)
    }

    pub(super) fn end_malformed(&mut self, now: Instant, reason: impl std::fmt::Display) {
        let outcome = self.malformed(reason);
        self.end_request(now, outcome);
    }

    pub(super) fn malformed(&self, reason: impl std::fmt::Display) -> ReadOutcome {
        ReadOutcome::Fatal(self.about().error(Kind::Parse, reason))
    }

    pub(super) fn about(&self) -> About<'_> {
        About {
            operation: Operation::Read,
            url: &self.config.url,
        }
    }

    pub(super) fn mode(&self) -> Mode {
        self.sent.map_or(Mode::CatchUp, |sent| sent.mode)
    }

    /// How long ago the request in flight was made.
    pub(super) fn request_age(&self, now: Instant) -> Duration {
        self.sent
            .map_or(Duration::ZERO, |sent| now.saturating_duration_since(sent.at))
    }
}
