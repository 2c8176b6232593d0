//! `DurableStreams::Native::Reader`: passes the data of a read session to Ruby, and stores how far Ruby has read.
//!
//! The position is plain data and belongs to no process. After a fork, an interrupt or a cancelled iteration a new
//! session starts from it; that one neither misses nor repeats data.
//!
//! Read [`Reader`] and [`ReaderLock`] first.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use durable_streams_client::close_signal::CloseSignal;
use durable_streams_client::events::{Event, EventDetails, EventName, ReadCount, is_wanted};
use durable_streams_client::lock::Mutex;
use durable_streams_client::runtime::Timer;
use durable_streams_protocol::error::Operation;
use durable_streams_protocol::read::cursor::{Live, Position, Progress};
use durable_streams_protocol::read::payload::{Part, Units};
use durable_streams_protocol::retry::policy::RetryPolicy;
use magnus::typed_data::Obj;
use magnus::value::{Opaque, ReprValue};
use magnus::{
    DataTypeFunctions, Error, Module, Object, RArray, RModule, Ruby, Symbol, TypedData, function, gc, method,
};

use crate::caller::Caller;
use crate::class::define;
use crate::client::{RetryPolicyOptions, policy, seconds};
use crate::errors::{self, guard};
use crate::events;
use crate::memory::ReportedMemory;
use crate::options::options;
use crate::stop_signal::StopSignal;
use crate::stream::{Stream, frozen};
use crate::wait::wait;

mod batch;
mod lock;
mod session;
mod state;
mod steps;

use batch::{BatchBuilder, ContentKind};
use lock::{ReaderLock, is_within};
use state::{ITEMS_BATCH_BYTES, ReadStep, ReaderState};

/// A reader's options, and how far it has read.
#[derive(TypedData)]
#[magnus(class = "DurableStreams::Native::Reader", free_immediately, mark, size)]
pub(crate) struct Reader {
    stream: Opaque<Obj<Stream>>,
    kind: ContentKind,
    live: Live,
    retry: Option<RetryPolicy>,
    patient: bool,
    /// Never locked while Ruby allocates: the GC may drop a [`ReaderLock`], which locks it. And locked only with the
    /// GVL: a fork happens on the thread that has the GVL, so no child inherits it locked.
    state: Arc<Mutex<ReaderState>>,
    closing: Arc<CloseSignal>,
    memory: ReportedMemory,
}

impl DataTypeFunctions for Reader {
    fn mark(&self, marker: &gc::Marker) {
        marker.mark(self.stream);
    }
}

/// As `ITEMS_BATCH_BYTES`, for plain bytes.
const BYTES_BATCH_BYTES: usize = 512 * 1024;

/// The message for a read that would wait for itself.
const WITHIN_ITSELF: &str = "deadlock: this thread is already reading from this reader. A value callable, a trap handler or \
    another fiber of the thread cannot read from it meanwhile";

options! {
    /// What to read, and from where.
    pub(crate) struct ReaderOptions {
        /// `:json`, `:bytes` or `:text`.
        format: Symbol,
        /// `:off`, `:long_poll`, `:sse` or `:auto`.
        live: Symbol,
        offset: String,
        cursor: Option<String>,
        /// nil: the client's.
        retry_policy: Option<RetryPolicyOptions>,
        /// For a consumer: ends the read, as `close` does. A live read then retries without limit after its first
        /// success, also with a retry policy that somebody chose.
        stop: Option<Obj<StopSignal>>,
    }
}

impl Reader {
    /// `Native::Reader.new(stream, **options)`: see [`ReaderOptions`]. Makes no request.
    fn new(ruby: &Ruby, stream: Obj<Stream>, options: ReaderOptions) -> Result<Obj<Self>, Error> {
        let kind = match options.format.name()?.as_ref() {
            "json" => ContentKind::Items,
            "text" => ContentKind::Text,
            "bytes" => ContentKind::Bytes,
            other => {
                return Err(errors::argument(
                    ruby,
                    format!("format must be :json, :bytes or :text, got :{other}"),
                ));
            }
        };
        let live = match options.live.name()?.as_ref() {
            "off" => Live::Off,
            "long_poll" => Live::LongPoll,
            "sse" => Live::Sse,
            "auto" => Live::Auto,
            other => {
                let message = format!("live must be :off, :long_poll, :sse or :auto, got :{other}");
                return Err(errors::argument(ruby, message));
            }
        };
        let state = ReaderState {
            position: Position::new(&options.offset, options.cursor),
            stream_closed: false,
            status: None,
            has_succeeded: false,
            ended: false,
            session: None,
            taken: 0,
            of_batch: Units(0),
            batch_began: None,
        };
        Ok(ruby.obj_wrap(Self {
            stream: stream.into(),
            kind,
            live,
            retry: options.retry_policy.map(|given| policy(ruby, given)).transpose()?,
            patient: options.stop.is_some(),
            state: Arc::new(Mutex::new(state)),
            closing: options.stop.map_or_else(Arc::default, |stop| Arc::clone(&stop.0)),
            memory: ReportedMemory::default(),
        }))
    }

    /// `next_batch(to)`: waits for a whole batch, or the rest of one. Adds to the Array `to` a payload and the position
    /// after it, `[next_offset, cursor, up_to_date, stream_closed]`; nothing at the end.
    ///
    /// Ruby may raise an interrupt as late as when a method returns, and loses the return value then. So the batch goes
    /// into an Array of the caller's, in one step with advancing the position.
    fn next_batch(ruby: &Ruby, this: Obj<Self>, to: RArray) -> Result<(), Error> {
        Self::take_batch(ruby, this, to, None).map(|_| ())
    }

    /// `next_batch_within(to, seconds)` -> whether the wait ended because the time had passed. As `next_batch`; then it
    /// adds what has arrived of a batch, if anything has, with nil as the position.
    fn next_batch_within(ruby: &Ruby, this: Obj<Self>, to: RArray, limit: f64) -> Result<bool, Error> {
        Self::take_batch(ruby, this, to, Some(seconds(ruby, "limit", limit)?))
    }

    fn take_batch(ruby: &Ruby, this: Obj<Self>, to: RArray, limit: Option<Duration>) -> Result<bool, Error> {
        let mut passed = false;
        this.with_lock(ruby, |mut lock| {
            if let Some(limit) = limit {
                lock.limit = Some(Timer::start(limit).map_err(|error| errors::raise(ruby, error))?);
            }
            let (mut batch, mut units) = (BatchBuilder::new(ruby, this.kind), Units(0));
            // Converting items takes long and overlaps with receiving the next ones. Bytes are only copied.
            let least = if this.kind == ContentKind::Items {
                ITEMS_BATCH_BYTES
            } else {
                BYTES_BATCH_BYTES
            };
            loop {
                let step;
                (step, lock) = this.next_step(ruby, lock, least)?;
                match step {
                    ReadStep::End => return Ok((lock, None)),
                    ReadStep::Limit => {
                        passed = true;
                        if !units.is_zero() {
                            to.cat(&[batch.finish(ruby)?, ruby.qnil().as_value()])?;
                            this.advance_within_batch(units);
                        }
                        return Ok((lock, None));
                    }
                    ReadStep::Length(bytes) => batch.expect(bytes)?,
                    ReadStep::Part(part) => {
                        units += part.units();
                        this.add(ruby, &mut batch, &part)?;
                    }
                    ReadStep::Rest(last, progress) => {
                        if let Some(part) = last {
                            units += part.units();
                            this.add(ruby, &mut batch, &part)?;
                        }
                        to.cat(&[batch.finish(ruby)?, meta(ruby, &progress)?.as_value()])?;
                        return Ok((lock, this.advance(ruby, progress, units)));
                    }
                }
            }
        })?;
        Ok(passed)
    }

    /// `next_items(to)`: as `next_batch`, but with the part of a batch that has arrived. The position is nil except for
    /// the last part.
    fn next_items(ruby: &Ruby, this: Obj<Self>, to: RArray) -> Result<(), Error> {
        this.with_lock(ruby, |mut lock| {
            let mut batch = BatchBuilder::new(ruby, this.kind);
            let (part, progress) = loop {
                let step;
                (step, lock) = this.next_step(ruby, lock, 1)?;
                match step {
                    ReadStep::End | ReadStep::Limit => return Ok((lock, None)),
                    // The size of a whole batch; this returns a part.
                    ReadStep::Length(_) => {}
                    ReadStep::Part(part) => break (Some(part), None),
                    ReadStep::Rest(last, progress) => break (last, Some(progress)),
                }
            };
            if let Some(part) = &part {
                this.add(ruby, &mut batch, part)?;
            }
            let (items, units) = (batch.finish(ruby)?, part.map_or(Units(0), |part| part.units()));
            let event = match progress {
                Some(progress) => {
                    to.cat(&[items, meta(ruby, &progress)?.as_value()])?;
                    this.advance(ruby, progress, units)
                }
                None => {
                    to.cat(&[items, ruby.qnil().as_value()])?;
                    this.advance_within_batch(units);
                    None
                }
            };
            Ok((lock, event))
        })
    }

    /// Runs `body` with the reader lock. Then delivers the event that it returns, after those of the requests.
    fn with_lock(
        &self,
        ruby: &Ruby,
        body: impl FnOnce(ReaderLock) -> Result<(ReaderLock, Option<Event>), Error>,
    ) -> Result<(), Error> {
        guard(ruby, || {
            events::keep_served(ruby)?;
            if is_wanted(EventName::Read) {
                self.state.lock().batch_began.get_or_insert_with(Instant::now);
            }
            let lock = loop {
                let Some(session) = self.session(ruby)? else {
                    return Ok(());
                };
                self.report(ruby);
                let caller = Caller::current(ruby)?;
                if is_within(&session, caller) {
                    return Err(errors::deadlock(ruby, WITHIN_ITSELF));
                }
                let lock = wait(ruby, ReaderLock::acquire(session, caller, Arc::clone(&self.state)))?;
                let Some(lock) = lock.filter(ReaderLock::is_current) else {
                    continue;
                };
                match lock.run_inline(ruby, &self.closing)? {
                    Some(lock) => break lock,
                    // The read starts again on the runtime's threads.
                    None => ruby
                        .get_inner(self.stream)
                        .reads_are_small
                        .store(false, Ordering::Relaxed),
                }
            };
            let taken = body(lock).map(|(lock, event)| (lock.complete(), event));
            self.report(ruby);
            let (mut events, event) = taken?;
            events.extend(event);
            events::deliver(ruby, events)
        })
    }

    /// Reports to the GC how much memory the session uses.
    fn report(&self, ruby: &Ruby) {
        let bytes = match &self.state.lock().session {
            Some(session) => session.get().map_or(0, |active| active.session.memory()),
            None => 0,
        };
        self.memory.set(ruby, bytes);
    }

    fn add(&self, ruby: &Ruby, batch: &mut BatchBuilder, part: &Part) -> Result<(), Error> {
        let stream = ruby.get_inner(self.stream);
        batch.add(ruby, part, stream.endpoint.about(Operation::Read))
    }

    /// Stores that Ruby has so much more of a batch.
    fn advance_within_batch(&self, units: Units) {
        let mut state = self.state.lock();
        state.position.skip += units;
        state.of_batch += units;
    }

    /// Stores that Ruby has a whole batch. `units` is how much of it Ruby got now. Returns the event of that, if
    /// somebody wants it.
    fn advance(&self, ruby: &Ruby, progress: Progress, units: Units) -> Option<Event> {
        let mut state = self.state.lock();
        state.of_batch += units;
        let of_batch = std::mem::take(&mut state.of_batch);
        let event = state.batch_began.take().map(|began| {
            let details = EventDetails::Read {
                url: ruby.get_inner(self.stream).endpoint.display().to_owned(),
                mode: progress.mode,
                count: match self.kind {
                    ContentKind::Items => ReadCount::Items(of_batch.0),
                    ContentKind::Bytes | ContentKind::Text => ReadCount::Bytes(of_batch.0),
                },
                next_offset: progress.next_offset.clone(),
                up_to_date: progress.up_to_date,
            };
            Event::since(began, details)
        });
        state.stream_closed = progress.closed;
        state.status = Some(progress.status);
        state.position = Position {
            offset: progress.next_offset,
            cursor: progress.cursor,
            skip: progress.skip,
        };
        event
    }

    /// Cancels the current request. The position remains, and the next call continues there. If the read had ended,
    /// that call sends a request again, except at the end of a closed stream. When called within a read, it leaves that
    /// read's session alone, since the failed call had not begun to use it.
    fn cancel(ruby: &Ruby, this: &Self) {
        let caller = Caller::current(ruby).ok();
        let session = {
            let mut state = this.state.lock();
            state.ended &= state.stream_closed;
            state
                .session
                .take_if(|session| caller.is_none_or(|caller| !is_within(session, caller)))
        };
        drop(session);
        this.report(ruby);
    }

    /// Closes the reader. A waiting call returns nil.
    fn close(ruby: &Ruby, this: &Self) {
        this.closing.close();
        Self::cancel(ruby, this);
    }

    /// `status` -> the status of the last response that Ruby got, or nil.
    fn status(&self) -> Option<u16> {
        self.state.lock().status
    }
}

fn meta(ruby: &Ruby, progress: &Progress) -> Result<RArray, Error> {
    let array = ruby.ary_new_capa(4);
    array.push(frozen(ruby, &progress.next_offset))?;
    array.push(progress.cursor.as_deref().map(|cursor| frozen(ruby, cursor)))?;
    array.push(progress.up_to_date)?;
    array.push(progress.closed)?;
    Ok(array)
}

/// Defines the class.
pub(crate) fn init(ruby: &Ruby, native: RModule) -> Result<(), Error> {
    let class = define::<Reader>(ruby, native, "Reader")?;
    class.define_singleton_method("new", function!(Reader::new, 2))?;
    class.define_method("next_batch", method!(Reader::next_batch, 1))?;
    class.define_method("next_batch_within", method!(Reader::next_batch_within, 2))?;
    class.define_method("next_items", method!(Reader::next_items, 1))?;
    class.define_method("cancel", method!(Reader::cancel, 0))?;
    class.define_method("close", method!(Reader::close, 0))?;
    class.define_method("status", method!(Reader::status, 0))?;
    Ok(())
}
