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

use super::content::Content;
use super::cursor::{Cursor, HELD, Mode, Progress, Stall, Step};
use super::event::Event;
use super::event_stream::EventStream;
pub use super::options::{Config, Jitter, ReadOptions};
use super::payload::{Format, Part};
use crate::error::{About, Error, Kind, Operation};
use crate::meaning::{asks_for_credentials, retry_after};
use crate::protocol::Unusable;
use crate::request::{Answer, Context, Failure, Patience, Repeat, Request};
use crate::retry::policy::Schedule;

/// A live request that lasted this long was held by a server in good order: the count of failures starts anew.
const STEADY: Duration = Duration::from_secs(5);

/// What the driver is to do next.
#[derive(Debug)]
pub enum Action {
    /// Wait until the application has taken the end of the last response, then call [`Machine::request`] and send that.
    Request,
    /// Take the next piece of the response's body, a live one if `live` is set.
    Receive {
        /// Whether the server holds the response open on purpose.
        live: bool,
    },
    /// Read the whole body and call [`Machine::handle_refusal`].
    ReceiveRefusal,
    /// Look again at this moment.
    Wait(Instant),
    /// The read is over: at its end, or by a failure.
    End(Option<Error>),
}

/// A read. After each call that takes `&mut self`, hand out what [`Machine::poll_event`] gives, then do what
/// [`Machine::poll_action`] says.
#[derive(Debug)]
pub struct Machine {
    pub(super) config: Config,
    pub(super) cursor: Cursor,
    pub(super) format: Format,
    past_caches: bool,
    /// How many bytes it may still receive.
    bytes_left: usize,
    jitter: Jitter,
    pub(super) schedule: Schedule,
    /// Fresh values were asked for, and there was no success since.
    asked_again: bool,
    pub(super) state: State,
    /// The request that is out.
    sent: Option<Sent>,
    pub(super) events: VecDeque<Event>,
}

#[derive(Debug)]
pub(super) enum State {
    /// No request is out, and none is to be before this moment.
    Idle(Option<Instant>),
    /// A request is out.
    Requested,
    /// Its response is an error; the server asks to wait for so long.
    Refused(Option<Duration>),
    /// Its response is content.
    Content(Box<Content>),
    /// Its response is a stream of events.
    Events(Box<EventStream>),
    /// The read has failed.
    Failed(Error),
}

/// A request that is out: how it asks, and since when.
#[derive(Clone, Copy, Debug)]
struct Sent {
    mode: Mode,
    since: Instant,
}

/// How a request and its response went.
pub(super) enum Outcome {
    /// As they should: go on, after this pause.
    Fine(Duration),
    /// The response was worth this.
    Stalled(Stall),
    /// Try again now.
    AtOnce,
    /// Try again by the policy, not before what the server asked for.
    Again(Error, Option<Duration>),
    /// Trying again cannot help.
    Final(Error),
}

impl Machine {
    /// A read that has not begun. `jitter` spreads its delays.
    pub fn new(options: ReadOptions, config: Config, jitter: Jitter) -> Machine {
        Machine {
            config,
            cursor: Cursor::new(options.live, options.position, options.media),
            format: options.format,
            past_caches: options.past_caches,
            bytes_left: options.most_bytes,
            jitter,
            schedule: Schedule::default(),
            asked_again: false,
            state: State::Idle(None),
            sent: None,
            events: VecDeque::new(),
        }
    }

    /// What to do next.
    pub fn poll_action(&self, now: Instant) -> Action {
        match &self.state {
            State::Failed(error) => Action::End(Some(error.clone())),
            State::Idle(Some(until)) if now < *until => Action::Wait(*until),
            State::Idle(_) if self.cursor.next() == Step::End => Action::End(None),
            State::Idle(_) | State::Requested => Action::Request,
            State::Refused(_) => Action::ReceiveRefusal,
            State::Content(_) => Action::Receive { live: false },
            State::Events(_) => Action::Receive { live: true },
        }
    }

    /// The next thing to hand out.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The request to send now.
    pub fn request(&mut self, now: Instant) -> Request {
        let mode = match self.cursor.next() {
            Step::Request(mode) => mode,
            // Never asked for: `poll_action` says `End` then.
            Step::End => Mode::CatchUp,
        };
        self.state = State::Requested;
        self.sent = Some(Sent { mode, since: now });
        let mut headers = HeaderMap::new();
        if mode == Mode::Sse {
            headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        }
        if self.past_caches {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        }
        Request {
            operation: Operation::Read,
            method: Method::GET,
            headers,
            query: self.cursor.query(mode),
            body: None,
            repeat: Repeat::Safe,
            patience: match mode {
                Mode::CatchUp => Patience::Bounded,
                Mode::LongPoll | Mode::Sse => Patience::ServerHolds,
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
            if asks_for_credentials(status) && self.config.fresh_values && !self.asked_again {
                self.asked_again = true;
                return self.over(now, Outcome::AtOnce);
            }
            self.state = State::Refused(retry_after(headers, wall));
            return;
        }
        self.asked_again = false;
        match self.mode() {
            Mode::Sse => self.begin_events(now, status, headers),
            Mode::CatchUp | Mode::LongPoll => self.begin_content(now, status, headers, content_length),
        }
    }

    /// The response is an error, and this is all of it.
    pub fn handle_refusal(&mut self, now: Instant, wall: SystemTime, answer: Answer) {
        let asked = match self.state {
            State::Refused(asked) => asked,
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
            true => Outcome::Again(error, asked),
            false if refuses_events => self.without_events(error),
            false => Outcome::Final(error),
        };
        self.over(now, outcome);
    }

    /// The next piece of the body.
    pub fn handle_piece(&mut self, now: Instant, piece: Bytes) {
        match self.bytes_left.checked_sub(piece.len()) {
            Some(left) => self.bytes_left = left,
            None => {
                let error = self.about().error(Kind::Parse, "there is more than is to be read");
                return self.over(now, Outcome::Final(error));
            }
        }
        match std::mem::replace(&mut self.state, State::Requested) {
            State::Content(mut content) => match content.push(piece) {
                Ok(()) => match self.hand_out_parts(&mut content) {
                    Ok(()) => self.state = State::Content(content),
                    Err(error) => self.over(now, Outcome::Final(error)),
                },
                Err(error) => self.over_malformed(now, error),
            },
            State::Events(mut events) => {
                events.push(piece);
                self.take_batches(now, events);
            }
            other => self.state = other,
        }
    }

    /// The body is complete.
    pub fn handle_end(&mut self, now: Instant) {
        match std::mem::replace(&mut self.state, State::Requested) {
            State::Content(content) => self.finish_content(now, *content),
            State::Events(events) => self.finish_events(now, &events),
            other => self.state = other,
        }
    }

    /// The request brought no response, or its body broke off.
    pub fn handle_failure(&mut self, now: Instant, failure: Failure) {
        let asked = match &self.state {
            State::Events(events) => events.retry(),
            _ => None,
        };
        let held = matches!(self.state, State::Requested)
            && self.mode() != Mode::CatchUp
            && self.waited(now) >= self.config.live_timeout;
        let outcome = match failure {
            Failure::Final(error) => Outcome::Final(error),
            // Held for as long as one waits for news: there is none.
            Failure::Unanswered(error) if held && matches!(error.kind(), Kind::Timeout) => Outcome::AtOnce,
            Failure::NotSent(error) => Outcome::Again(error, None),
            Failure::Unanswered(error) => return self.lost(now, error, asked),
        };
        self.over(now, outcome);
    }

    /// A live response brought nothing for too long.
    pub fn handle_silence(&mut self, now: Instant) {
        self.over(now, Outcome::AtOnce);
    }

    fn begin_content(&mut self, now: Instant, status: StatusCode, headers: &HeaderMap, content_length: Option<u64>) {
        let most = self.config.max_message_bytes;
        let mut content = match Content::new(&self.cursor, self.format, status, headers, most) {
            Ok(content) => content,
            Err(why) => return self.over(now, Outcome::Final(self.unusable(status, headers, why))),
        };
        if status == StatusCode::NO_CONTENT {
            content.end_without_body();
            return self.end_content(now, content, None);
        }
        self.events.extend(content.length(content_length).map(Event::Length));
        self.state = State::Content(Box::new(content));
    }

    /// Hands out what is complete of a response's content.
    fn hand_out_parts(&mut self, content: &mut Content) -> Result<(), Error> {
        while let Some(part) = content.next_part() {
            self.check_moves(content.progress())?;
            content.is_empty = false;
            self.hand_out(part);
        }
        Ok(())
    }

    fn finish_content(&mut self, now: Instant, mut content: Content) {
        match content.finish() {
            Err(error) => self.over_malformed(now, error),
            Ok(last) => match last.as_ref().map_or(Ok(()), |_| self.check_moves(content.progress())) {
                Err(error) => self.over(now, Outcome::Final(error)),
                Ok(()) => self.end_content(now, content, last),
            },
        }
    }

    fn end_content(&mut self, now: Instant, content: Content, last: Option<Part>) {
        let is_empty = content.is_empty && last.is_none();
        let only_finds_now = content.only_finds_now();
        let (last, mut progress) = content.end(last);
        let stall = self.cursor.advance(&mut progress, is_empty, self.waited(now));
        self.events
            .push_back(match only_finds_now && is_empty && !progress.closed {
                true => Event::Place(self.cursor.position().clone()),
                false => Event::End(last, progress),
            });
        self.over(now, Outcome::Stalled(stall));
    }

    /// The connection was lost. What a stream of events asks for delays the next try, but is no reason to give up.
    pub(super) fn lost(&mut self, now: Instant, error: Error, asked: Option<Duration>) {
        let longest = self.config.retry.max_delay;
        self.over(now, Outcome::Again(error, asked.map(|asked| asked.min(longest))));
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
        self.events.push_back(Event::Part(part));
    }

    /// The request is over: decides when the next one may go out, if at all.
    pub(super) fn over(&mut self, now: Instant, outcome: Outcome) {
        let is_stuck = matches!(outcome, Outcome::Stalled(Stall::Failing | Stall::Back));
        if self.mode() != Mode::CatchUp && self.waited(now) >= STEADY && !is_stuck {
            self.schedule.reset();
        }
        self.sent = None;
        self.state = match outcome {
            Outcome::Fine(pause) => State::Idle(Some(after(now, pause))),
            Outcome::AtOnce => State::Idle(None),
            Outcome::Final(error) => State::Failed(error),
            Outcome::Again(error, asked) => self.again(now, error, asked),
            Outcome::Stalled(Stall::None) => {
                self.schedule.reset();
                State::Idle(None)
            }
            Outcome::Stalled(Stall::Slow) => State::Idle(Some(after(now, HELD))),
            Outcome::Stalled(Stall::Failing) => {
                let reason = "answer after answer brings nothing and does not move the offset (a stale cache?)";
                let error = self.about().error(Kind::Status, reason);
                self.again(now, error, None)
            }
            Outcome::Stalled(Stall::Back) => {
                let offset = &self.cursor.position().offset;
                let reason = format!(
                    "the server answers with an offset before {offset:?}, where this read stands (a stream that was \
                     made anew?)"
                );
                let error = self.about().error(Kind::Status, reason);
                self.again(now, error, None)
            }
        };
    }

    fn again(&mut self, now: Instant, error: Error, asked: Option<Duration>) -> State {
        let jitter = (self.jitter.0)();
        match self.schedule.next_delay(&self.config.retry, asked, jitter) {
            Some(delay) => State::Idle(Some(after(now, delay))),
            None => State::Failed(error),
        }
    }

    /// A success that does not say where the next read starts.
    pub(super) fn unusable(&self, status: StatusCode, headers: &HeaderMap, why: Unusable) -> Error {
        Error::from_success(self.about(), status, headers, why)
    }

    pub(super) fn over_malformed(&mut self, now: Instant, reason: impl std::fmt::Display) {
        let outcome = self.malformed(reason);
        self.over(now, outcome);
    }

    pub(super) fn malformed(&self, reason: impl std::fmt::Display) -> Outcome {
        Outcome::Final(self.about().error(Kind::Parse, reason))
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
