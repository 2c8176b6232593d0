//! A read as a state machine: responses and the time go in, requests and what is handed to the application come out.
//!
//! It decides what a response means for the position, when to ask again, to reconnect and to give up. Where the next
//! request starts is in `cursor`, one response's content in `content`, a connection of server-sent events in `live` and
//! `event_stream`.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::content::ResponseContent;
use super::cursor::{Cursor, MIN_LONG_POLL, Mode, Progress, ReadStep, Stall};
use super::event::ReadEvent;
use super::event_stream::EventStream;
pub use super::options::{ReadConfig, ReadJitter, ReadOptions};
use super::payload::{Format, Part};
use crate::error::{About, Error, Kind, Operation};
use crate::meaning::{asks_for_credentials, retry_after};
use crate::protocol::PositionError;
use crate::request::{Context, Repeat, Request, RequestFailure, Response, ResponseTimeout};
use crate::retry::policy::Schedule;

/// A live request that lasted this long was held by a server in good order: the count of failures starts anew.
const MIN_STABLE_REQUEST: Duration = Duration::from_secs(5);

/// What the driver is to do next.
#[derive(Debug)]
pub enum ReadAction {
    /// Wait until the application has taken the end of the last response, then call [`ReadMachine::request`] and send that.
    Request,
    /// Take the next piece of the response's body, a live one if `live` is set.
    Receive {
        /// Whether the server holds the response open on purpose.
        live: bool,
    },
    /// Read the whole body and call [`ReadMachine::handle_error_response`].
    ReceiveErrorBody,
    /// Look again at this moment.
    Wait(Instant),
    /// The read is over: at its end, or by a failure.
    End(Option<Error>),
}

/// A read. After each call that takes `&mut self`, hand out what [`ReadMachine::poll_event`] gives, then do what
/// [`ReadMachine::poll_action`] says.
#[derive(Debug)]
pub struct ReadMachine {
    pub(super) config: ReadConfig,
    pub(super) cursor: Cursor,
    pub(super) format: Format,
    no_cache: bool,
    /// How many bytes it may still receive.
    bytes_left: usize,
    jitter: ReadJitter,
    pub(super) schedule: Schedule,
    /// Fresh values were asked for, and there was no success since.
    values_refreshed: bool,
    pub(super) state: ReadState,
    /// The request that is out.
    sent: Option<SentRead>,
    pub(super) events: VecDeque<ReadEvent>,
}

#[derive(Debug)]
pub(super) enum ReadState {
    /// No request is out, and none is to be before this moment.
    Idle(Option<Instant>),
    /// A request is out.
    AwaitingResponse,
    /// Its response is an error; the server asks to wait for so long.
    ErrorResponse(Option<Duration>),
    /// Its response is content.
    Content(Box<ResponseContent>),
    /// Its response is a stream of events.
    Events(Box<EventStream>),
    /// The read has failed.
    Failed(Error),
}

/// A request that is out: how it asks, and since when.
#[derive(Clone, Copy, Debug)]
struct SentRead {
    mode: Mode,
    since: Instant,
}

/// How a request and its response went.
pub(super) enum ReadOutcome {
    /// As they should: go on, after this pause.
    Ended(Duration),
    /// The response was worth this.
    Stalled(Stall),
    /// Try again now.
    RetryNow,
    /// Try again by the policy, not before what the server asked for.
    Retry(Error, Option<Duration>),
    /// Trying again cannot help.
    Fatal(Error),
}

impl ReadMachine {
    /// A read that has not begun. `jitter` spreads its delays.
    pub fn new(options: ReadOptions, config: ReadConfig, jitter: ReadJitter) -> ReadMachine {
        ReadMachine {
            config,
            cursor: Cursor::new(options.live, options.position, options.media),
            format: options.format,
            no_cache: options.no_cache,
            bytes_left: options.max_bytes,
            jitter,
            schedule: Schedule::default(),
            values_refreshed: false,
            state: ReadState::Idle(None),
            sent: None,
            events: VecDeque::new(),
        }
    }

    /// What to do next.
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

    /// The next thing to hand out.
    pub fn poll_event(&mut self) -> Option<ReadEvent> {
        self.events.pop_front()
    }

    /// The request to send now.
    pub fn request(&mut self, now: Instant) -> Request {
        let mode = match self.cursor.next() {
            ReadStep::Request(mode) => mode,
            // Never asked for: `poll_action` says `End` then.
            ReadStep::End => Mode::CatchUp,
        };
        self.state = ReadState::AwaitingResponse;
        self.sent = Some(SentRead { mode, since: now });
        let mut headers = HeaderMap::new();
        if mode == Mode::Sse {
            headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        }
        if self.no_cache {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        }
        Request {
            operation: Operation::Read,
            method: Method::GET,
            headers,
            query: self.cursor.query(mode),
            body: None,
            repeat: Repeat::Safe,
            response_timeout: match mode {
                Mode::CatchUp => ResponseTimeout::Normal,
                Mode::LongPoll | Mode::Sse => ResponseTimeout::Live,
            },
        }
    }

    /// The response's status and headers have arrived. `content_length` is the size of its body where it is known.
    pub fn handle_response(
        &mut self,
        now: Instant,
        wall: SystemTime,
        status: StatusCode,
        headers: &HeaderMap,
        content_length: Option<u64>,
    ) {
        if !matches!(status, StatusCode::OK | StatusCode::NO_CONTENT) {
            if asks_for_credentials(status) && self.config.fresh_values && !self.values_refreshed {
                self.values_refreshed = true;
                return self.end_request(now, ReadOutcome::RetryNow);
            }
            self.state = ReadState::ErrorResponse(retry_after(headers, wall));
            return;
        }
        self.values_refreshed = false;
        match self.mode() {
            Mode::Sse => self.begin_events(now, status, headers),
            Mode::CatchUp | Mode::LongPoll => self.begin_content(now, status, headers, content_length),
        }
    }

    /// The response is an error, and this is all of it.
    pub fn handle_error_response(&mut self, now: Instant, wall: SystemTime, answer: Response) {
        let asked = match self.state {
            ReadState::ErrorResponse(asked) => asked,
            _ => None,
        };
        let refuses_events = self.mode() == Mode::Sse && matches!(answer.status.as_u16(), 400 | 405 | 406 | 415 | 501);
        let context = Context {
            about: self.about(),
            policy: &self.config.retry,
            now: wall,
        };
        let error = context.error(answer);
        let outcome = match error.worth_another_try() {
            true => ReadOutcome::Retry(error, asked),
            false if refuses_events => self.without_events(error),
            false => ReadOutcome::Fatal(error),
        };
        self.end_request(now, outcome);
    }

    /// The next piece of the body.
    pub fn handle_piece(&mut self, now: Instant, piece: Bytes) {
        match self.bytes_left.checked_sub(piece.len()) {
            Some(left) => self.bytes_left = left,
            None => {
                let error = self.about().error(Kind::Parse, "there is more than is to be read");
                return self.end_request(now, ReadOutcome::Fatal(error));
            }
        }
        match std::mem::replace(&mut self.state, ReadState::AwaitingResponse) {
            ReadState::Content(mut content) => match content.push(piece) {
                Ok(()) => match self.hand_out_parts(&mut content) {
                    Ok(()) => self.state = ReadState::Content(content),
                    Err(error) => self.end_request(now, ReadOutcome::Fatal(error)),
                },
                Err(error) => self.end_malformed(now, error),
            },
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

    /// The request brought no response, or its body broke off.
    pub fn handle_failure(&mut self, now: Instant, failure: RequestFailure) {
        let asked = match &self.state {
            ReadState::Events(events) => events.retry(),
            _ => None,
        };
        let held = matches!(self.state, ReadState::AwaitingResponse)
            && self.mode() != Mode::CatchUp
            && self.waited(now) >= self.config.live_timeout;
        let outcome = match failure {
            RequestFailure::Final(error) => ReadOutcome::Fatal(error),
            // Held for as long as one waits for news: there is none.
            RequestFailure::ResponseLost(error) if held && matches!(error.kind(), Kind::Timeout) => {
                ReadOutcome::RetryNow
            }
            RequestFailure::NotSent(error) => ReadOutcome::Retry(error, None),
            RequestFailure::ResponseLost(error) => return self.connection_lost(now, error, asked),
        };
        self.end_request(now, outcome);
    }

    /// A live response brought nothing for too long.
    pub fn handle_silence(&mut self, now: Instant) {
        self.end_request(now, ReadOutcome::RetryNow);
    }

    fn begin_content(&mut self, now: Instant, status: StatusCode, headers: &HeaderMap, content_length: Option<u64>) {
        let most = self.config.max_message_bytes;
        let mut content = match ResponseContent::new(&self.cursor, self.format, status, headers, most) {
            Ok(content) => content,
            Err(why) => return self.end_request(now, ReadOutcome::Fatal(self.unusable(status, headers, why))),
        };
        if status == StatusCode::NO_CONTENT {
            content.end_without_body();
            return self.end_content(now, content, None);
        }
        self.events
            .extend(content.length(content_length).map(ReadEvent::Length));
        self.state = ReadState::Content(Box::new(content));
    }

    /// Hands out what is complete of a response's content.
    fn hand_out_parts(&mut self, content: &mut ResponseContent) -> Result<(), Error> {
        while let Some(part) = content.next_part() {
            self.check_moves(content.progress())?;
            content.is_empty = false;
            self.hand_out(part);
        }
        Ok(())
    }

    fn finish_content(&mut self, now: Instant, mut content: ResponseContent) {
        match content.finish() {
            Err(error) => self.end_malformed(now, error),
            Ok(last) => match last.as_ref().map_or(Ok(()), |_| self.check_moves(content.progress())) {
                Err(error) => self.end_request(now, ReadOutcome::Fatal(error)),
                Ok(()) => self.end_content(now, content, last),
            },
        }
    }

    fn end_content(&mut self, now: Instant, content: ResponseContent, last: Option<Part>) {
        let is_empty = content.is_empty && last.is_none();
        let finds_tail_only = content.finds_tail_only();
        let (last, mut progress) = content.end(last);
        let stall = self.cursor.advance(&mut progress, is_empty, self.waited(now));
        self.events
            .push_back(match finds_tail_only && is_empty && !progress.closed {
                true => ReadEvent::Position(self.cursor.position().clone()),
                false => ReadEvent::End(last, progress),
            });
        self.end_request(now, ReadOutcome::Stalled(stall));
    }

    /// The connection was lost. What a stream of events asks for delays the next try, but is no reason to give up.
    pub(super) fn connection_lost(&mut self, now: Instant, error: Error, asked: Option<Duration>) {
        let longest = self.config.retry.max_delay;
        self.end_request(now, ReadOutcome::Retry(error, asked.map(|asked| asked.min(longest))));
    }

    /// Refuses data that come without a new offset.
    pub(super) fn check_moves(&self, progress: &Progress) -> Result<(), Error> {
        if self.cursor.moves(progress) {
            return Ok(());
        }
        let reason = "the answer has data but no new Stream-Next-Offset: is this a Durable Streams server?";
        Err(self.about().error(Kind::Status, reason))
    }

    pub(super) fn hand_out(&mut self, part: Part) {
        self.cursor.handed_out(part.count());
        self.schedule.reset();
        self.events.push_back(ReadEvent::Part(part));
    }

    /// The request is over: decides when the next one may go out, if at all.
    pub(super) fn end_request(&mut self, now: Instant, outcome: ReadOutcome) {
        let is_stuck = matches!(outcome, ReadOutcome::Stalled(Stall::Failing | Stall::Back));
        if self.mode() != Mode::CatchUp && self.waited(now) >= MIN_STABLE_REQUEST && !is_stuck {
            self.schedule.reset();
        }
        self.sent = None;
        self.state = match outcome {
            ReadOutcome::Ended(pause) => ReadState::Idle(Some(after(now, pause))),
            ReadOutcome::RetryNow => ReadState::Idle(None),
            ReadOutcome::Fatal(error) => ReadState::Failed(error),
            ReadOutcome::Retry(error, asked) => self.retry(now, error, asked),
            ReadOutcome::Stalled(Stall::None) => {
                self.schedule.reset();
                ReadState::Idle(None)
            }
            ReadOutcome::Stalled(Stall::Slow) => ReadState::Idle(Some(after(now, MIN_LONG_POLL))),
            ReadOutcome::Stalled(Stall::Failing) => {
                let reason = "answer after answer brings nothing and does not move the offset (a stale cache?)";
                let error = self.about().error(Kind::Status, reason);
                self.retry(now, error, None)
            }
            ReadOutcome::Stalled(Stall::Back) => {
                let offset = &self.cursor.position().offset;
                let reason = format!(
                    "the server answers with an offset before {offset:?}, where this read stands (a stream that was \
                     made anew?)"
                );
                let error = self.about().error(Kind::Status, reason);
                self.retry(now, error, None)
            }
        };
    }

    fn retry(&mut self, now: Instant, error: Error, asked: Option<Duration>) -> ReadState {
        let jitter = (self.jitter.0)();
        match self.schedule.next_delay(&self.config.retry, asked, jitter) {
            Some(delay) => ReadState::Idle(Some(after(now, delay))),
            None => ReadState::Failed(error),
        }
    }

    /// A success that does not say where the next read starts.
    pub(super) fn unusable(&self, status: StatusCode, headers: &HeaderMap, why: PositionError) -> Error {
        Error::from_success(self.about(), status, headers, why)
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

    /// How long ago the request that is out was made.
    pub(super) fn waited(&self, now: Instant) -> Duration {
        self.sent
            .map_or(Duration::ZERO, |sent| now.saturating_duration_since(sent.since))
    }
}

/// The moment after a pause, which is a year at most: a clock cannot count further on some systems.
fn after(now: Instant, pause: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(86_400 * 365);
    now + pause.min(YEAR)
}
