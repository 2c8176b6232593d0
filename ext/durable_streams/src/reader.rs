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
use crate::errors::{self, About, guard};
use crate::memory::Reported;
use crate::options::options;
use crate::ruby_calls::wait_with_calls;
use crate::stream::{Stream, frozen};
use crate::wait::{may_be_here, wait};

mod state;
mod turn;

use state::{Closing, Running, SOME, State};
use turn::{Turn, is_within};

/// A reader's settings, and how far it has got.
#[derive(TypedData)]
#[magnus(class = "DurableStreams::Native::Reader", free_immediately, mark, size)]
pub(crate) struct Reader {
    stream: Opaque<Obj<Stream>>,
    shape: Shape,
    live: Live,
    /// Never locked while Ruby allocates: the GC may drop a turn, which locks it. And with the GVL alone: a fork takes place
    /// on the thread that has it, so that no child inherits it locked.
    state: Arc<Mutex<State>>,
    closing: Arc<Closing>,
    memory: Reported,
}

impl DataTypeFunctions for Reader {
    fn mark(&self, marker: &gc::Marker) {
        marker.mark(self.stream);
    }
}

/// What Ruby gets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Items,
    Bytes,
    Text,
}

/// As `SOME`, for plain bytes.
const MANY: usize = 512 * 1024;

/// What a server's system sends at once, about, before it waits for an acknowledgement: a response of this size is as good as
/// there when its beginning is.
const FLIGHT: usize = 14 * 1024;

/// What is said to a read that would wait for itself.
const WITHIN_ITSELF: &str = "a reader cannot be read from within its own read, which waits for this one: from the callable \
    of a header, a trap handler, or another fiber of the thread";

/// What one wait brought.
enum Taken {
    /// So many bytes are to come.
    Length(usize),
    Part(Part),
    Rest(Option<Part>, Progress),
    End,
}

options! {
    /// What is read, and from where on.
    pub(crate) struct Start {
        /// `:json`, `:bytes` or `:text`.
        format: Symbol,
        /// `:off`, `:long_poll`, `:sse` or `:auto`.
        live: Symbol,
        offset: String,
        cursor: Option<String>,
    }
}

impl Reader {
    /// `Native::Reader.new(stream, **start)`: see [`Start`]. Nothing is requested before something is asked for.
    fn new(ruby: &Ruby, stream: Obj<Stream>, start: Start) -> Result<Obj<Reader>, Error> {
        let shape = match start.format.name()?.as_ref() {
            "json" => Shape::Items,
            "text" => Shape::Text,
            "bytes" => Shape::Bytes,
            other => {
                return Err(errors::argument(
                    ruby,
                    format!("format must be :json, :bytes or :text, got :{other}"),
                ));
            }
        };
        let live = match start.live.name()?.as_ref() {
            "off" => Live::Off,
            "long_poll" => Live::LongPoll,
            "sse" => Live::Sse,
            "auto" => Live::Auto,
            other => {
                let message = format!("live must be :off, :long_poll, :sse or :auto, got :{other}");
                return Err(errors::argument(ruby, message));
            }
        };
        let state = State {
            position: Position::new(&start.offset, start.cursor),
            stream_closed: false,
            status: None,
            ended: false,
            session: None,
            taken: 0,
        };
        Ok(ruby.obj_wrap(Reader {
            stream: stream.into(),
            shape,
            live,
            state: Arc::new(Mutex::new(state)),
            closing: Arc::default(),
            memory: Reported::default(),
        }))
    }

    /// `next_batch(to)`: the rest of a response. Adds to `to` what it brings, which is a payload and the position after it,
    /// `[next_offset, cursor, up_to_date, stream_closed]`; nothing at the end.
    ///
    /// Ruby raises what interrupts a thread as late as when a method returns, and what it returns is lost then. So what is
    /// handed out is added to what the caller has, in one step with noting that it was.
    fn next_batch(ruby: &Ruby, this: Obj<Reader>, to: RArray) -> Result<(), Error> {
        this.taking(ruby, |mut turn| {
            let mut batch = Batch::new(ruby, this.shape);
            // Items are made while others are still on their way; bytes are only copied, which need not be done at once.
            let least = if this.shape == Shape::Items { SOME } else { MANY };
            loop {
                let taken;
                (taken, turn) = this.take(ruby, turn, least)?;
                match taken {
                    Taken::End => return Ok(turn),
                    Taken::Length(bytes) => batch.expect(bytes)?,
                    Taken::Part(part) => this.add(ruby, &mut batch, &part)?,
                    Taken::Rest(last, progress) => {
                        if let Some(part) = last {
                            this.add(ruby, &mut batch, &part)?;
                        }
                        to.cat(&[batch.finish(ruby)?, meta(ruby, &progress)?.as_value()])?;
                        this.advance(progress);
                        return Ok(turn);
                    }
                }
            }
        })
    }

    /// `next_items(to)`: as `next_batch`, but no more of a response than is there; the position is nil before its last part.
    fn next_items(ruby: &Ruby, this: Obj<Reader>, to: RArray) -> Result<(), Error> {
        this.taking(ruby, |mut turn| {
            let mut batch = Batch::new(ruby, this.shape);
            let (part, progress) = loop {
                let taken;
                (taken, turn) = this.take(ruby, turn, 1)?;
                match taken {
                    Taken::End => return Ok(turn),
                    // Of a batch, and this takes parts of one.
                    Taken::Length(_) => {}
                    Taken::Part(part) => break (Some(part), None),
                    Taken::Rest(last, progress) => break (last, Some(progress)),
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
            Ok(turn)
        })
    }

    /// Runs `body` with the turn to take events.
    fn taking(&self, ruby: &Ruby, body: impl FnOnce(Turn) -> Result<Turn, Error>) -> Result<(), Error> {
        guard(ruby, || {
            let turn = loop {
                let Some(session) = self.session(ruby)? else {
                    return Ok(());
                };
                self.report(ruby);
                let caller = Caller::current(ruby)?;
                if is_within(&session, caller) {
                    return Err(errors::deadlock(ruby, WITHIN_ITSELF));
                }
                let turn = wait(ruby, Turn::begin(session, caller, Arc::clone(&self.state)))?;
                let Some(turn) = turn.filter(Turn::is_current) else {
                    continue;
                };
                match turn.carry_out(ruby, &self.closing)? {
                    Some(turn) => break turn,
                    // It begins again on the runtime's threads.
                    None => ruby.get_inner(self.stream).reads_little.store(false, Ordering::Relaxed),
                }
            };
            let taken = body(turn).map(Turn::over);
            self.report(ruby);
            taken
        })
    }

    /// Tells the GC what the session holds.
    fn report(&self, ruby: &Ruby) {
        let held = match &self.state.lock().session {
            Some(session) => session.get().map_or(0, |running| running.session.memory()),
            None => 0,
        };
        self.memory.set(ruby, held);
    }

    /// Waits for the next event, or for `close`. Parts of an answer are worth waking for when they are `least` bytes together.
    fn take(&self, ruby: &Ruby, mut turn: Turn, least: usize) -> Result<(Taken, Turn), Error> {
        loop {
            let event;
            (event, turn) = self.next_event(ruby, turn, least)?;
            let taken = match event {
                Some(ReadEvent::Position(position)) => {
                    self.state.lock().position = position;
                    continue;
                }
                Some(ReadEvent::Length(bytes)) => Taken::Length(bytes),
                Some(ReadEvent::Part(part)) => {
                    self.state.lock().taken += part.bytes().len();
                    Taken::Part(part)
                }
                Some(ReadEvent::End(last, progress)) => {
                    self.state.lock().taken += last.as_ref().map_or(0, |part| part.bytes().len());
                    Taken::Rest(last, progress)
                }
                None => {
                    let mut state = self.state.lock();
                    if !self.closing.is_closed() {
                        state.ended = true;
                        let reads_little = &ruby.get_inner(self.stream).reads_little;
                        reads_little.store(state.taken < FLIGHT, Ordering::Relaxed);
                    }
                    state.session = None;
                    Taken::End
                }
            };
            return Ok((taken, turn));
        }
    }

    fn next_event(&self, ruby: &Ruby, mut turn: Turn, least: usize) -> Result<(Option<ReadEvent>, Turn), Error> {
        let calls = turn.calls.take();
        let next = turn.next(Arc::clone(&self.closing), least);
        let stream = ruby.get_inner(self.stream);
        let ((event, mut turn), calls) = wait_with_calls(ruby, stream.application.as_ref(), calls, next)?;
        turn.calls = calls;
        let event = event.transpose().map_err(|error| errors::raise(ruby, error))?;
        Ok((event, turn))
    }

    /// This process's session, started if there is none; `None` if there is nothing more to read.
    fn session(&self, ruby: &Ruby) -> Result<Option<Arc<ProcessBound<Running>>>, Error> {
        let stream = ruby.get_inner(self.stream);
        let started: CoreResult<_> = {
            let mut state = self.state.lock();
            if self.closing.is_closed() || state.ended {
                return Ok(None);
            }
            match &state.session {
                Some(session) if session.get().is_some() => Ok(Arc::clone(session)),
                _ => {
                    let (format, media) = match self.shape {
                        Shape::Items => (Format::Json, Some(Media::Json)),
                        Shape::Text => (Format::Bytes, Some(Media::Text)),
                        Shape::Bytes => (Format::Bytes, None),
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
                    let is_little = self.live == Live::Off && stream.reads_little.load(Ordering::Relaxed);
                    let started = if is_little && calls.is_none() && may_be_here() {
                        let (session, work) = Session::inline(&endpoint, options);
                        Ok((session, Some(work)))
                    } else {
                        Session::start(&endpoint, options).map(|session| (session, None))
                    };
                    started.map(|(session, work)| {
                        let running = Arc::new(ProcessBound::new(Running::new(session, calls, work)));
                        state.session = Some(Arc::clone(&running));
                        state.taken = 0;
                        running
                    })
                }
            }
        };
        started.map(Some).map_err(|error| errors::raise(ruby, error))
    }

    fn add(&self, ruby: &Ruby, batch: &mut Batch, part: &Part) -> Result<(), Error> {
        let stream = ruby.get_inner(self.stream);
        batch.add(ruby, part, About(Operation::Read, stream.endpoint.display()))
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
enum Batch {
    /// The items of each part, in an array of its own, and how many they are together. One array that grew would be old
    /// to the GC after a while, and looked through whole at every minor collection from then on.
    Items(RArray, usize),
    Bytes(Buffer, bool),
}

impl Batch {
    fn new(ruby: &Ruby, shape: Shape) -> Batch {
        match shape {
            Shape::Items => Batch::Items(ruby.ary_new(), 0),
            Shape::Bytes => Batch::Bytes(Buffer::new(ruby), false),
            Shape::Text => Batch::Bytes(Buffer::new(ruby), true),
        }
    }

    fn add(&mut self, ruby: &Ruby, part: &Part, about: About<'_>) -> Result<(), Error> {
        match (self, part) {
            (Batch::Items(parts, total), Part::Items { text, count }) => {
                let items = convert::parse_items(ruby, text, *count, Some(about))?;
                *total += items.len();
                parts.push(items)
            }
            (Batch::Bytes(buffer, _), part) => buffer.append(part.bytes()),
            (Batch::Items(..), Part::Bytes(_)) => Err(errors::internal(ruby, "bytes where items were expected")),
        }
    }

    /// So many bytes are to come.
    fn expect(&mut self, bytes: usize) -> Result<(), Error> {
        match self {
            Batch::Items(..) => Ok(()),
            Batch::Bytes(buffer, _) => buffer.expect(bytes),
        }
    }

    fn finish(self, ruby: &Ruby) -> Result<Value, Error> {
        match self {
            Batch::Items(parts, total) => match parts.len() {
                1 => parts.entry(0),
                _ => {
                    let items = ruby.ary_new_capa(total);
                    for part in parts.into_iter() {
                        items.concat(RArray::try_convert(part)?)?;
                    }
                    Ok(items.as_value())
                }
            },
            Batch::Bytes(buffer, text) => Ok(convert::label(ruby, buffer.finish(), text)),
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
