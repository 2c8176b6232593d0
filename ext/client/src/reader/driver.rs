//! Sends the requests of a [`Cursor`], splits what comes back, and hands it out in order.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use durable_streams_protocol::error::{Error, Kind, Operation, Result, retry_after};
use durable_streams_protocol::protocol::{self, Media, text};
use durable_streams_protocol::read::cursor::{Cursor, HELD, Mode, Progress, Stall, Step};
use durable_streams_protocol::read::payload::{Format, Part, Payload};
use durable_streams_protocol::request::{Failure, Patience, Repeat, Request};
use durable_streams_protocol::retry::Schedule;
use durable_streams_protocol::sse;
use futures_util::FutureExt;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use tokio::sync::OwnedSemaphorePermit;

use super::channel::Outlet;
use super::event::Event;
use super::options::ReadOptions;
use crate::connections::Pool;
use crate::endpoint::Endpoint;
use crate::exchange::absence::Absence;
use crate::exchange::{self, Silence};
use crate::runtime::panicked;

/// An event connection that ends sooner, having brought nothing, is not an orderly close.
const SHORT_LIVED: Duration = Duration::from_millis(500);
/// A live request that lasted this long was held by a server in good order: the count of failures starts anew.
const STEADY: Duration = Duration::from_secs(5);

/// A read under way, as the network sees it.
pub(super) struct Driver {
    endpoint: Arc<Endpoint>,
    pool: Pool,
    cursor: Cursor,
    format: Format,
    schedule: Schedule,
    asked_again: bool,
    out: Outlet,
    absence: Absence,
}

impl Driver {
    /// A read that has not begun. What it brings goes to `out`; `absence` is that of whoever carries it out.
    pub(super) fn new(
        endpoint: Arc<Endpoint>,
        pool: Pool,
        options: ReadOptions,
        out: Outlet,
        absence: Absence,
    ) -> Driver {
        Driver {
            endpoint,
            pool,
            cursor: Cursor::new(options.live, options.position, options.media),
            format: options.format,
            schedule: Schedule::default(),
            asked_again: false,
            out,
            absence,
        }
    }

    /// Runs to the end. On the heap from here on: handed on by value through the many functions that start a task, its
    /// kilobytes would stay in the stack of every fiber that reads.
    #[inline(never)]
    pub(super) fn drive(mut self) -> Pin<Box<dyn Future<Output = Result<()>> + Send>> {
        Box::pin(async move {
            let ran = AssertUnwindSafe(self.run()).catch_unwind().await;
            if let Err(error) = ran.unwrap_or_else(|payload| Err(panicked(payload.as_ref()))) {
                self.out.tell(Err(error));
            }
            self.out.end();
            Ok(())
        })
    }

    async fn run(&mut self) -> Result<()> {
        while let Step::Request(mode) = self.cursor.next() {
            let turn = self.out.turn().await;
            let started = Instant::now();
            let outcome = match mode {
                Mode::Sse => {
                    drop(turn);
                    self.read_events().await
                }
                Mode::CatchUp | Mode::LongPoll => self.read_answer(mode, turn).await,
            };
            let stuck = matches!(outcome, Ok(Stall::Failing | Stall::Back));
            if mode != Mode::CatchUp && started.elapsed() >= STEADY && !stuck {
                self.schedule.reset();
            }
            match outcome {
                Ok(stall) => self.pause(stall).await?,
                Err(failure) => self.recover(failure).await?,
            }
        }
        Ok(())
    }

    /// One request whose body is its content.
    async fn read_answer(
        &mut self,
        mode: Mode,
        turn: Option<OwnedSemaphorePermit>,
    ) -> std::result::Result<Stall, Problem> {
        let started = Instant::now();
        let mut response = self.request(mode).await?;
        let only_finds_now = self.cursor.only_finds_now();
        let mut progress = self.cursor.progress(response.status(), response.headers());
        let media = text(response.headers(), &CONTENT_TYPE).map(Media::of);
        let format = self.format_of(media);
        // Bytes of JSON that stays where it is: an empty array.
        let standing = format == Format::Bytes && media == Some(Media::Json) && !self.cursor.moves(&progress);
        let skip = self.cursor.position().skip;
        let mut payload = match standing {
            true => self.payload(Format::Json, 0),
            false => self.payload(format, skip),
        };
        let (mut written, mut empty, mut last) = (false, true, None);
        if response.status() != StatusCode::NO_CONTENT {
            if let (Format::Bytes, Some(length)) = (format, response.content_length()) {
                let length = length.saturating_sub(payload.left_to_skip());
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                self.out.tell(Ok(Event::Length(length)));
            }
            while let Some(piece) = self.piece(&mut response).await? {
                written |= !piece.is_empty();
                payload.push(piece).map_err(|reason| self.malformed(reason))?;
                empty &= !self.drain(&mut payload, &progress).await?;
            }
            last = payload.finish().map_err(|reason| self.malformed(reason))?;
            self.check_moves(last.as_ref(), &progress)?;
        }
        empty &= last.is_none();
        progress.skip = if standing { skip } else { payload.left_to_skip() };
        if standing && written && skip == 0 {
            last = Some(Part::Bytes(Bytes::from_static(b"[]")));
        }
        let stall = self.cursor.advance(&mut progress, empty, started.elapsed());
        self.progressed(stall);
        let event = match only_finds_now && empty && !progress.closed {
            true => Event::Place(self.cursor.position().clone()),
            false => Event::End(last, progress),
        };
        self.out.hand_out(event, turn).await;
        Ok(stall)
    }

    /// One connection of events, to its end.
    async fn read_events(&mut self) -> std::result::Result<Stall, Problem> {
        let started = Instant::now();
        let response = self.request(Mode::Sse).await;
        let mut response = match response {
            Err(Problem::Final(error)) if refuses_events(&error) => return self.without_events(error),
            other => other?,
        };
        if !is_event_stream(response.headers()) {
            let error = self.error(Kind::SseNotSupported, "the answer is not an event stream");
            return self.without_events(error);
        }
        let encoding = sse::Encoding::from_header(text(response.headers(), &protocol::SSE_DATA_ENCODING));
        let encoding = encoding.map_err(|e| self.malformed(e.to_string()))?;
        if self.format == Format::Json && encoding == sse::Encoding::Base64 {
            // `application/json` is never encoded, so this is a type that servers store as it came.
            self.format = Format::JsonSequence;
        }
        let most = self.endpoint.client().config().max_message_bytes;
        let mut decoder = sse::EventDecoder::with_limit(encoding, most);
        let (mut data, mut any) = (sse::Gathered::with_limit(most), false);
        let broken = loop {
            let piece_size = match exchange::next_live_piece(&self.endpoint, Operation::Read, &mut response).await {
                Ok(Some(piece)) => {
                    let size = piece.len();
                    decoder.push(piece);
                    size
                }
                Ok(None) => break None,
                Err(Silence::Broken(error)) => break Some(error),
                Err(Silence::Idle) => return Err(Problem::AtOnce),
            };
            while let Some(event) = decoder.next_event().map_err(|e| self.malformed(e.to_string()))? {
                match event {
                    sse::Event::Data(bytes) => data.push(bytes).map_err(|e| self.malformed(e.to_string()))?,
                    sse::Event::Control(control) => {
                        any |= self.event_batch(data.take(), control, started.elapsed()).await?;
                        if self.cursor.next() == Step::End {
                            return Ok(Stall::None);
                        }
                    }
                }
            }
            data.let_go_of_piece(piece_size);
        };
        let asked = decoder.retry();
        // An orderly close, about once a minute: on at once. One that comes right away is not that.
        if broken.is_none() && (any || started.elapsed() >= SHORT_LIVED) {
            self.schedule.reset();
            tokio::time::sleep(asked.unwrap_or_default()).await;
            return Ok(Stall::None);
        }
        let error = broken.unwrap_or_else(|| self.error(Kind::Connection, "the event stream ended at once"));
        // What an event stream asks for delays the next try, but is no reason to give up.
        let longest = self.endpoint.client().config().retry.max_delay;
        Err(Problem::Again(error, asked.map(|asked| asked.min(longest))))
    }

    /// The data events before a control event are one batch. Answers whether there were any.
    async fn event_batch(
        &mut self,
        data: sse::Events,
        control: sse::Control,
        took: Duration,
    ) -> std::result::Result<bool, Problem> {
        let (mut empty, mut last) = (true, None);
        let mut progress = Progress {
            next_offset: control.next_offset,
            cursor: control.cursor.or_else(|| self.cursor.position().cursor.clone()),
            up_to_date: control.up_to_date,
            closed: control.closed,
            status: StatusCode::OK.as_u16(),
            skip: self.cursor.position().skip,
        };
        for bytes in data {
            if let Some(part) = last.take() {
                empty = false;
                self.hand_out(part).await;
            }
            let mut payload = self.payload(self.format, progress.skip);
            payload.push(bytes).map_err(|reason| self.malformed(reason))?;
            empty &= !self.drain(&mut payload, &progress).await?;
            last = payload.finish().map_err(|reason| self.malformed(reason))?;
            self.check_moves(last.as_ref(), &progress)?;
            progress.skip = payload.left_to_skip();
        }
        empty &= last.is_none();
        if self.cursor.advance(&mut progress, empty, took.max(SHORT_LIVED)) == Stall::Back {
            return Err(Problem::Again(self.gone_back(), None));
        }
        if !empty {
            self.progressed(Stall::None);
        }
        self.out.hand_out(Event::End(last, progress), None).await;
        Ok(!empty)
    }

    /// How an answer of this content type is split: only `application/json` is one array for sure, whatever the handle
    /// believes.
    fn format_of(&self, media: Option<Media>) -> Format {
        match (self.format, media) {
            (Format::Json, Some(Media::JsonSequence)) => Format::JsonSequence,
            (format, _) => format,
        }
    }

    /// The stream cannot be read by events.
    fn without_events(&mut self, error: Error) -> std::result::Result<Stall, Problem> {
        if self.cursor.events_refused() {
            Ok(Stall::None)
        } else {
            Err(Problem::Final(error))
        }
    }

    async fn request(&mut self, mode: Mode) -> std::result::Result<Response, Problem> {
        let mut headers = HeaderMap::new();
        if mode == Mode::Sse {
            headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        }
        let request = Request {
            operation: Operation::Read,
            method: Method::GET,
            headers,
            query: self.cursor.query(mode),
            body: None,
            repeat: Repeat::Safe,
            patience: if mode == Mode::CatchUp {
                Patience::Bounded
            } else {
                Patience::ServerHolds
            },
        };
        let started = Instant::now();
        let longest = match mode {
            Mode::CatchUp => Duration::MAX,
            Mode::LongPoll | Mode::Sse => self.endpoint.client().config().live_timeout,
        };
        let response = exchange::send(&self.endpoint, &self.pool, &request)
            .await
            .map_err(|failure| match failure {
                Failure::Final(error) => Problem::Final(error),
                // Held for as long as one waits for news: there is none.
                Failure::Unanswered(error) if matches!(error.kind(), Kind::Timeout) && started.elapsed() >= longest => {
                    Problem::AtOnce
                }
                Failure::NotSent(error) | Failure::Unanswered(error) => Problem::Again(error, None),
            })?;
        let status = response.status();
        if matches!(status, StatusCode::OK | StatusCode::NO_CONTENT) {
            self.asked_again = false;
            return Ok(response);
        }
        if self.wants_fresh_values(status) && !self.asked_again {
            self.asked_again = true;
            return Err(Problem::AtOnce);
        }
        let asked = retry_after(response.headers(), SystemTime::now());
        let answer = exchange::whole(&self.endpoint, Operation::Read, response).await;
        let error = self.endpoint.context(Operation::Read).error(answer);
        let worth_it = self.endpoint.client().config().retry.covers(status);
        Err(if worth_it {
            Problem::Again(error, asked)
        } else {
            Problem::Final(error)
        })
    }

    async fn piece(&self, response: &mut Response) -> std::result::Result<Option<Bytes>, Problem> {
        let piece = exchange::next_piece(&self.endpoint, Operation::Read, response, &self.absence).await;
        piece.map_err(|error| Problem::Again(error, None))
    }

    fn wants_fresh_values(&self, status: StatusCode) -> bool {
        self.endpoint.is_dynamic() && matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
    }

    /// Hands out what is ready. Answers whether there was anything.
    async fn drain(&mut self, payload: &mut Payload, progress: &Progress) -> std::result::Result<bool, Problem> {
        let mut any = false;
        while let Some(part) = payload.next_part() {
            self.check_moves(Some(&part), progress)?;
            any = true;
            self.hand_out(part).await;
        }
        Ok(any)
    }

    /// Refuses data that come without a new offset.
    fn check_moves(&self, part: Option<&Part>, progress: &Progress) -> std::result::Result<(), Problem> {
        if part.is_none() || self.cursor.moves(progress) {
            return Ok(());
        }
        let reason = "the answer has data but no new Stream-Next-Offset: is this a Durable Streams server?";
        Err(Problem::Final(self.error(Kind::Status, reason)))
    }

    fn payload(&self, format: Format, skip: u64) -> Payload {
        Payload::new(format, skip, self.endpoint.client().config().max_message_bytes)
    }

    async fn hand_out(&mut self, part: Part) {
        self.cursor.handed_out(part.count());
        self.schedule.reset();
        self.out.hand_out(Event::Part(part), None).await;
    }

    fn malformed(&self, reason: impl std::fmt::Display) -> Problem {
        Problem::Final(self.error(Kind::Parse, reason))
    }

    fn error(&self, kind: Kind, reason: impl std::fmt::Display) -> Error {
        Error::new(kind, Operation::Read, self.endpoint.display(), reason)
    }

    fn progressed(&mut self, stall: Stall) {
        if stall == Stall::None {
            self.schedule.reset();
        }
    }

    /// Slows down where answers come fast and bring nothing.
    async fn pause(&mut self, stall: Stall) -> Result<()> {
        match stall {
            Stall::None => Ok(()),
            Stall::Slow => {
                tokio::time::sleep(HELD).await;
                Ok(())
            }
            Stall::Failing => {
                let reason = "answer after answer brings nothing and does not move the offset (a stale cache?)";
                let error = self.error(Kind::Status, reason);
                self.recover(Problem::Again(error, None)).await
            }
            Stall::Back => self.recover(Problem::Again(self.gone_back(), None)).await,
        }
    }

    /// The server answers from before the position.
    fn gone_back(&self) -> Error {
        let offset = &self.cursor.position().offset;
        let reason = format!(
            "the server answers with an offset before {offset:?}, where this read stands (a stream that was made anew?)"
        );
        self.error(Kind::Status, reason)
    }

    /// Waits before the next try, or gives up.
    async fn recover(&mut self, problem: Problem) -> Result<()> {
        let (error, asked) = match problem {
            Problem::AtOnce => return Ok(()),
            Problem::Final(error) => return Err(error),
            Problem::Again(error, asked) => (error, asked),
        };
        let policy = &self.endpoint.client().config().retry;
        match self.schedule.next_delay(policy, asked, fastrand::f64()) {
            Some(delay) => tokio::time::sleep(delay).await,
            None => return Err(error),
        }
        Ok(())
    }
}

/// Why a request did not bring its answer.
enum Problem {
    /// Try again now.
    AtOnce,
    /// Try again by the policy, not before what the server asked for.
    Again(Error, Option<Duration>),
    /// Trying again cannot help.
    Final(Error),
}

fn refuses_events(error: &Error) -> bool {
    matches!(error.status(), Some(400 | 405 | 406 | 415 | 501))
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    text(headers, &CONTENT_TYPE)
        .is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with("text/event-stream"))
}
