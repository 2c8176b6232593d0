//! `DurableStreams::Native::Reader`: hands Ruby what a read session brings, and remembers how far Ruby has got.
//!
//! The position is plain data and belongs to no process: after a fork, an interrupt or a cancelled iteration a new
//! session starts from it, and neither misses nor repeats anything.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use durable_streams_client::fork::ProcessBound;
use durable_streams_client::lock::Mutex;
use durable_streams_client::reader::Session;
use durable_streams_protocol::error::{Operation, Result as CoreResult};
use durable_streams_protocol::protocol::Media;
use durable_streams_protocol::read::cursor::{Live, Position, Progress};
use durable_streams_protocol::read::event::ReadEvent;
use durable_streams_protocol::read::machine::ReadOptions;
use durable_streams_protocol::read::payload::{Format, Part};
use magnus::typed_data::Obj;
use magnus::value::{Opaque, ReprValue};
use magnus::{
    Class, DataTypeFunctions, Error, Module, Object, RArray, RModule, Ruby, Symbol, TryConvert, TypedData, Value,
    function, gc, method,
};

use crate::caller::Caller;
use crate::convert::{self, Buffer};
use crate::errors::{self, ErrorContext, guard};
use crate::memory::ReportedMemory;
use crate::options::options;
use crate::ruby_calls::wait_with_calls;
use crate::stream::{Stream, frozen};
use crate::wait::{may_run_inline, wait};

mod lock;
mod state;

use lock::{ReaderLock, is_within};
use state::{ActiveSession, CloseSignal, ITEMS_BATCH_BYTES, ReaderState};

/// A reader's settings, and how far it has got.
#[derive(TypedData)]
#[magnus(class = "DurableStreams::Native::Reader", free_immediately, mark, size)]
pub(crate) struct Reader {
    stream: Opaque<Obj<Stream>>,
    kind: ContentKind,
    live: Live,
    /// Never locked while Ruby allocates: the GC may drop a lock, which locks it. And with the GVL alone: a fork takes place
    /// on the thread that has it, so that no child inherits it locked.
    state: Arc<Mutex<ReaderState>>,
    closing: Arc<CloseSignal>,
    memory: ReportedMemory,
}

impl DataTypeFunctions for Reader {
    fn mark(&self, marker: &gc::Marker) {
        marker.mark(self.stream);
    }
}

/// What Ruby gets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ContentKind {
    Items,
    Bytes,
    Text,
}

/// As `ITEMS_BATCH_BYTES`, for plain bytes.
const BYTES_BATCH_BYTES: usize = 512 * 1024;

/// What a server's system sends at once, about, before it waits for an acknowledgement: a response of this size is as good as
/// there when its beginning is.
const SMALL_READ_BYTES: usize = 14 * 1024;

/// What is said to a read that would wait for itself.
const WITHIN_ITSELF: &str = "a reader cannot be read from within its own read, which waits for this one: from the callable \
    of a header, a trap handler, or another fiber of the thread";

/// What one wait brought.
enum ReadStep {
    /// So many bytes are to come.
    Length(usize),
    Part(Part),
    Rest(Option<Part>, Progress),
    End,
}

options! {
    /// What is read, and from where on.
    pub(crate) struct ReaderOptions {
        /// `:json`, `:bytes` or `:text`.
        format: Symbol,
        /// `:off`, `:long_poll`, `:sse` or `:auto`.
        live: Symbol,
        offset: String,
        cursor: Option<String>,
    }
}

impl Reader {
    /// `Native::Reader.new(stream, **start)`: see [`ReaderOptions`]. Nothing is requested before something is asked for.
    fn new(ruby: &Ruby, stream: Obj<Stream>, options: ReaderOptions) -> Result<Obj<Reader>, Error> {
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
            ended: false,
            session: None,
            taken: 0,
        };
        Ok(ruby.obj_wrap(Reader {
            stream: stream.into(),
            kind,
            live,
            state: Arc::new(Mutex::new(state)),
            closing: Arc::default(),
            memory: ReportedMemory::default(),
        }))
    }

    /// `next_batch(to)`: the rest of a response. Adds to `to` what it brings, which is a payload and the position after it,
    /// `[next_offset, cursor, up_to_date, stream_closed]`; nothing at the end.
    ///
    /// Ruby raises what interrupts a thread as late as when a method returns, and what it returns is lost then. So what is
    /// handed out is added to what the caller has, in one step with noting that it was.
    fn next_batch(ruby: &Ruby, this: Obj<Reader>, to: RArray) -> Result<(), Error> {
        this.with_lock(ruby, |mut lock| {
            let mut batch = BatchBuilder::new(ruby, this.kind);
            // Items are made while others are still on their way; bytes are only copied, which need not be done at once.
            let least = if this.kind == ContentKind::Items {
                ITEMS_BATCH_BYTES
            } else {
                BYTES_BATCH_BYTES
            };
            loop {
                let step;
                (step, lock) = this.next_step(ruby, lock, least)?;
                match step {
                    ReadStep::End => return Ok(lock),
                    ReadStep::Length(bytes) => batch.expect(bytes)?,
                    ReadStep::Part(part) => this.add(ruby, &mut batch, &part)?,
                    ReadStep::Rest(last, progress) => {
                        if let Some(part) = last {
                            this.add(ruby, &mut batch, &part)?;
                        }
                        to.cat(&[batch.finish(ruby)?, meta(ruby, &progress)?.as_value()])?;
                        this.advance(progress);
                        return Ok(lock);
                    }
                }
            }
        })
    }

    /// `next_items(to)`: as `next_batch`, but no more of a response than is there; the position is nil before its last part.
    fn next_items(ruby: &Ruby, this: Obj<Reader>, to: RArray) -> Result<(), Error> {
        this.with_lock(ruby, |mut lock| {
            let mut batch = BatchBuilder::new(ruby, this.kind);
            let (part, progress) = loop {
                let step;
                (step, lock) = this.next_step(ruby, lock, 1)?;
                match step {
                    ReadStep::End => return Ok(lock),
                    // Of a batch, and this takes parts of one.
                    ReadStep::Length(_) => {}
                    ReadStep::Part(part) => break (Some(part), None),
                    ReadStep::Rest(last, progress) => break (last, Some(progress)),
                }
            };
            if let Some(part) = &part {
                this.add(ruby, &mut batch, part)?;
            }
            let items = batch.finish(ruby)?;
            match progress {
                Some(progress) => {
                    to.cat(&[items, meta(ruby, &progress)?.as_value()])?;
                    this.advance(progress);
                }
                None => {
                    to.cat(&[items, ruby.qnil().as_value()])?;
                    this.state.lock().position.skip += part.map_or(0, |part| part.count());
                }
            }
            Ok(lock)
        })
    }

    /// Runs `body` with the lock to take events.
    fn with_lock(&self, ruby: &Ruby, body: impl FnOnce(ReaderLock) -> Result<ReaderLock, Error>) -> Result<(), Error> {
        guard(ruby, || {
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
                    // It begins again on the runtime's threads.
                    None => ruby
                        .get_inner(self.stream)
                        .reads_are_small
                        .store(false, Ordering::Relaxed),
                }
            };
            let taken = body(lock).map(ReaderLock::complete);
            self.report(ruby);
            taken
        })
    }

    /// Tells the GC what the session holds.
    fn report(&self, ruby: &Ruby) {
        let bytes = match &self.state.lock().session {
            Some(session) => session.get().map_or(0, |running| running.session.memory()),
            None => 0,
        };
        self.memory.set(ruby, bytes);
    }

    /// Waits for the next event, or for `close`. Parts of an answer are worth waking for when they are `least` bytes together.
    fn next_step(&self, ruby: &Ruby, mut lock: ReaderLock, least: usize) -> Result<(ReadStep, ReaderLock), Error> {
        loop {
            let event;
            (event, lock) = self.next_event(ruby, lock, least)?;
            let step = match event {
                Some(ReadEvent::Position(position)) => {
                    self.state.lock().position = position;
                    continue;
                }
                Some(ReadEvent::Length(bytes)) => ReadStep::Length(bytes),
                Some(ReadEvent::Part(part)) => {
                    self.state.lock().taken += part.bytes().len();
                    ReadStep::Part(part)
                }
                Some(ReadEvent::End(last, progress)) => {
                    self.state.lock().taken += last.as_ref().map_or(0, |part| part.bytes().len());
                    ReadStep::Rest(last, progress)
                }
                None => {
                    let mut state = self.state.lock();
                    if !self.closing.is_closed() {
                        state.ended = true;
                        let reads_are_small = &ruby.get_inner(self.stream).reads_are_small;
                        reads_are_small.store(state.taken < SMALL_READ_BYTES, Ordering::Relaxed);
                    }
                    state.session = None;
                    ReadStep::End
                }
            };
            return Ok((step, lock));
        }
    }

    fn next_event(
        &self,
        ruby: &Ruby,
        mut lock: ReaderLock,
        least: usize,
    ) -> Result<(Option<ReadEvent>, ReaderLock), Error> {
        let calls = lock.calls.take();
        let next = lock.next(Arc::clone(&self.closing), least);
        let stream = ruby.get_inner(self.stream);
        let ((event, mut lock), calls) = wait_with_calls(ruby, stream.application.as_ref(), calls, next)?;
        lock.calls = calls;
        let event = event.transpose().map_err(|error| errors::raise(ruby, error))?;
        Ok((event, lock))
    }

    /// This process's session, started if there is none; `None` if there is nothing more to read.
    fn session(&self, ruby: &Ruby) -> Result<Option<Arc<ProcessBound<ActiveSession>>>, Error> {
        let stream = ruby.get_inner(self.stream);
        let started: CoreResult<_> = {
            let mut state = self.state.lock();
            if self.closing.is_closed() || state.ended {
                return Ok(None);
            }
            match &state.session {
                Some(session) if session.get().is_some() => Ok(Arc::clone(session)),
                _ => {
                    let (format, media) = match self.kind {
                        ContentKind::Items => (Format::Json, Some(Media::Json)),
                        ContentKind::Text => (Format::Bytes, Some(Media::Text)),
                        ContentKind::Bytes => (Format::Bytes, None),
                    };
                    let options = ReadOptions {
                        live: self.live,
                        position: state.position.clone(),
                        format,
                        media,
                        no_cache: false,
                        max_bytes: usize::MAX,
                    };
                    let (endpoint, calls) = stream.call_endpoint();
                    // Without callables: what they do may take long, and is no reason to hold a place.
                    let is_small = self.live == Live::Off && stream.reads_are_small.load(Ordering::Relaxed);
                    let started = if is_small && calls.is_none() && may_run_inline() {
                        let (session, job) = Session::inline(&endpoint, options);
                        Ok((session, Some(job)))
                    } else {
                        Session::start(&endpoint, options).map(|session| (session, None))
                    };
                    started.map(|(session, job)| {
                        let running = Arc::new(ProcessBound::new(ActiveSession::new(session, calls, job)));
                        state.session = Some(Arc::clone(&running));
                        state.taken = 0;
                        running
                    })
                }
            }
        };
        started.map(Some).map_err(|error| errors::raise(ruby, error))
    }

    fn add(&self, ruby: &Ruby, batch: &mut BatchBuilder, part: &Part) -> Result<(), Error> {
        let stream = ruby.get_inner(self.stream);
        batch.add(ruby, part, ErrorContext(Operation::Read, stream.endpoint.display()))
    }

    /// Notes that Ruby has a whole batch.
    fn advance(&self, progress: Progress) {
        let mut state = self.state.lock();
        state.stream_closed = progress.closed;
        state.status = Some(progress.status);
        state.position = Position {
            offset: progress.next_offset,
            cursor: progress.cursor,
            skip: progress.skip,
        };
    }

    /// Cancels the running request; the position stays, and the next call goes on from there, which is to ask the
    /// server anew where the read had come to its end (but not past the end of a closed stream). From within a read it
    /// leaves that alone: what failed there had not begun.
    fn cancel(ruby: &Ruby, this: &Reader) {
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

    /// Ends the reader. A call that waits returns nil.
    fn close(ruby: &Ruby, this: &Reader) {
        this.closing.close();
        Reader::cancel(ruby, this);
    }

    /// `status` -> of the last response that was handed out, or nil.
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

/// What came of one answer so far, as Ruby objects. It lives on the stack of the thread that collects it.
enum BatchBuilder {
    /// The items of each part, in an array of its own, and how many they are together. One array that grew would be old
    /// to the GC after a while, and looked through whole at every minor collection from then on.
    Items(RArray, usize),
    Bytes(Buffer, bool),
}

impl BatchBuilder {
    fn new(ruby: &Ruby, kind: ContentKind) -> BatchBuilder {
        match kind {
            ContentKind::Items => BatchBuilder::Items(ruby.ary_new(), 0),
            ContentKind::Bytes => BatchBuilder::Bytes(Buffer::new(ruby), false),
            ContentKind::Text => BatchBuilder::Bytes(Buffer::new(ruby), true),
        }
    }

    fn add(&mut self, ruby: &Ruby, part: &Part, context: ErrorContext<'_>) -> Result<(), Error> {
        match (self, part) {
            (BatchBuilder::Items(parts, total), Part::Items { text, count }) => {
                let items = convert::parse_items(ruby, text, *count, Some(context))?;
                *total += items.len();
                parts.push(items)
            }
            (BatchBuilder::Bytes(buffer, _), part) => buffer.append(part.bytes()),
            (BatchBuilder::Items(..), Part::Bytes(_)) => Err(errors::internal(ruby, "bytes where items were expected")),
        }
    }

    /// So many bytes are to come.
    fn expect(&mut self, bytes: usize) -> Result<(), Error> {
        match self {
            BatchBuilder::Items(..) => Ok(()),
            BatchBuilder::Bytes(buffer, _) => buffer.expect(bytes),
        }
    }

    fn finish(self, ruby: &Ruby) -> Result<Value, Error> {
        match self {
            BatchBuilder::Items(parts, total) => match parts.len() {
                1 => parts.entry(0),
                _ => {
                    let items = ruby.ary_new_capa(total);
                    for part in parts.into_iter() {
                        items.concat(RArray::try_convert(part)?)?;
                    }
                    Ok(items.as_value())
                }
            },
            BatchBuilder::Bytes(buffer, text) => Ok(convert::label(ruby, buffer.finish(), text)),
        }
    }
}

/// Defines the class.
pub(crate) fn init(ruby: &Ruby, native: RModule) -> Result<(), Error> {
    let class = native.define_class("Reader", ruby.class_object())?;
    class.undef_default_alloc_func();
    class.define_singleton_method("new", function!(Reader::new, 2))?;
    class.define_method("next_batch", method!(Reader::next_batch, 1))?;
    class.define_method("next_items", method!(Reader::next_items, 1))?;
    class.define_method("cancel", method!(Reader::cancel, 0))?;
    class.define_method("close", method!(Reader::close, 0))?;
    class.define_method("status", method!(Reader::status, 0))?;
    Ok(())
}
