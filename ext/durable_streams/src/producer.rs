//! `DurableStreams::Native::Producer`: an append copies its message into the producer's buffer. Only flush, close, and
//! appends to a full buffer wait.
//!
//! Read [`Producer`] first. `start` has its options.

use std::cell::Cell;

use durable_streams_client::fork::ProcessBound;
use durable_streams_client::producer::{Message, Producer as CoreProducer, ProducerError, Refused};
use magnus::typed_data::Obj;
use magnus::value::Opaque;
use magnus::{
    DataTypeFunctions, Error, Module, Object, RArray, RModule, RString, Ruby, TypedData, Value, function, gc, method,
};

use crate::callback_threads;
use crate::class::define;
use crate::client::seconds;
use crate::errors::{self, guard};
use crate::events;
use crate::handles::WorkHandle;
use crate::log::{wait_and_log, write_log};
use crate::memory::ReportedMemory;
use crate::pinned_string::pin;
use crate::stream::{Stream, frozen};

mod appends;
mod exceptions;
mod exit;
mod originals;
mod start;

use originals::Originals;

/// A producer. It belongs to the process that made it.
#[derive(TypedData)]
#[magnus(class = "DurableStreams::Native::Producer", free_immediately, mark, size)]
pub(crate) struct Producer {
    running: ProcessBound<CoreProducer>,
    json: bool,
    /// Messages of this size (bytes) and more are sent from pinned strings.
    pin_from: usize,
    block_when_full: bool,
    originals: Originals,
    /// The stream handle, whose application code the requests run.
    stream: Opaque<Obj<Stream>>,
    /// Gets the notices for callbacks.
    listener: Option<Opaque<Value>>,
    /// The handles of the Ruby objects above that native work refers to.
    handles: Vec<WorkHandle>,
    /// How many bytes were appended since the buffer's size was last reported to the GC.
    unreported: Cell<usize>,
    memory: ReportedMemory,
}

/// After how many appended bytes the buffer's size is reported to the GC.
const REPORT_EVERY: usize = 256 * 1024;

impl DataTypeFunctions for Producer {
    fn mark(&self, marker: &gc::Marker) {
        self.originals.mark(marker);
        marker.mark(self.stream);
        if let Some(listener) = self.listener {
            marker.mark(listener);
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        // From here on nothing can be appended, so no work can start.
        for handle in &self.handles {
            handle.release();
        }
    }
}

impl Producer {
    /// `append(text, original, no_wait_reason)` -> nil. Text for a JSON stream is one value and is checked. `original`
    /// is what the text was made from, or the text itself. Waits while the buffer is full; with a reason, raises it
    /// instead.
    fn append(
        ruby: &Ruby,
        this: &Self,
        text: RString,
        original: Value,
        no_wait_reason: Option<String>,
    ) -> Result<(), Error> {
        guard(ruby, || {
            let token = this.accept(ruby, text, no_wait_reason.as_deref(), |running, message| {
                running.append(message)
            })?;
            this.originals.store(ruby, this.running(ruby)?, token, text, original)
        })
    }

    /// `append_acknowledged(text, original)` -> `[next_offset, duplicate, epoch, seq]` of the batch with that message.
    fn append_acknowledged(ruby: &Ruby, this: &Self, text: RString, original: Value) -> Result<RArray, Error> {
        guard(ruby, || {
            let accepted = this.accept(ruby, text, None, |running, message| {
                running.append_acknowledged(message)
            })?;
            this.originals
                .store(ruby, this.running(ruby)?, accepted.token, text, original)?;
            let delivery = this.settled(ruby, wait_and_log(ruby, accepted.outcome)?)?;
            let array = ruby.ary_new_capa(4);
            if let Some(delivery) = delivery {
                array.push(delivery.next_offset.as_deref().map(|offset| frozen(ruby, offset)))?;
                array.push(delivery.duplicate)?;
                array.push(delivery.epoch)?;
                array.push(delivery.seq)?;
            }
            Ok(array)
        })
    }

    /// Checks the message and appends it as soon as there is room. With a reason not to wait, raises it if there is
    /// none.
    fn accept<T>(
        &self,
        ruby: &Ruby,
        text: RString,
        no_wait_reason: Option<&str>,
        append: impl Fn(&CoreProducer, Message<'_>) -> Result<T, Refused>,
    ) -> Result<T, Error> {
        write_log(ruby)?;
        let running = self.running(ruby)?;
        loop {
            self.keep_served(ruby)?;
            // SAFETY: the bytes are read while this thread has the GVL, before any Ruby code can run; after a wait
            // for room they are read anew.
            let message = unsafe { text.as_slice() };
            if self.json {
                self.check_json(ruby, message)?;
            }
            match append(running, self.message(text, message)) {
                Ok(appended) => {
                    self.report(ruby, running, message.len());
                    return Ok(appended);
                }
                Err(refused) => self.wait_after(ruby, running, refused, no_wait_reason)?,
            }
        }
    }

    /// Waits until a refused message may be accepted, if waiting helps.
    fn wait_after(
        &self,
        ruby: &Ruby,
        running: &CoreProducer,
        refused: Refused,
        no_wait_reason: Option<&str>,
    ) -> Result<(), Error> {
        let full = match refused {
            Refused::Full(since) if self.block_when_full => Some(since),
            Refused::Failing => None,
            refused => return Err(self.refusal(ruby, &refused)),
        };
        if let Some(reason) = no_wait_reason {
            return Err(errors::deadlock(ruby, reason.to_owned()));
        }
        let waited = match full {
            Some(since) => wait_and_log(ruby, running.wait_for_space(since))?,
            None => wait_and_log(ruby, running.ended())?,
        };
        waited.map_err(|failed| self.failure(ruby, &failed))
    }

    /// The message for `text`, whose bytes are `bytes`. A message as large as a batch is pinned instead of copied,
    /// except JSON, which is put into an array.
    fn message<'a>(&self, text: RString, bytes: &'a [u8]) -> Message<'a> {
        let pinned = if bytes.len() >= self.pin_from { pin(text) } else { None };
        pinned.map_or(Message::Copied(bytes), Message::Shared)
    }

    /// Reports the buffer's size to the GC now and then. `appended` bytes were just added.
    fn report(&self, ruby: &Ruby, running: &CoreProducer, appended: usize) {
        let since = self.unreported.get() + appended;
        if since < REPORT_EVERY {
            return self.unreported.set(since);
        }
        self.unreported.set(0);
        self.memory.set(ruby, running.buffered());
    }

    /// To be called after waiting for acknowledgements: the buffer is smaller now. Returns the outcome, or raises the
    /// failure.
    fn settled<T>(&self, ruby: &Ruby, outcome: Result<T, ProducerError>) -> Result<T, Error> {
        self.memory.set(ruby, self.running(ruby)?.buffered());
        // Loggers cannot raise into it (`DurableStreams.report`). After an interrupt, the failure is not yet reported.
        write_log(ruby)?;
        outcome.map_err(|failed| self.failure(ruby, &failed))
    }

    /// `flush` -> nil, when everything appended before is acknowledged.
    fn flush(ruby: &Ruby, this: &Self) -> Result<(), Error> {
        guard(ruby, || {
            let running = this.running(ruby)?;
            this.keep_served(ruby)?;
            let flushed = wait_and_log(ruby, running.flush())?;
            this.originals.sweep(ruby, running)?;
            this.settled(ruby, flushed)
        })
    }

    /// `close(timeout)` -> nil: flushes and ends the producer; gives up after `timeout` seconds unless it is nil.
    fn close(ruby: &Ruby, this: &Self, timeout: Option<f64>) -> Result<(), Error> {
        guard(ruby, || {
            let running = this.running(ruby)?;
            this.keep_served(ruby)?;
            let closed = match timeout {
                None => wait_and_log(ruby, running.close())?,
                Some(limit) => {
                    let limit = seconds(ruby, "timeout", limit)?;
                    let closing = running
                        .close_within(limit)
                        .map_err(|error| errors::raise(ruby, error))?;
                    wait_and_log(ruby, closing)?.map_err(|error| errors::raise(ruby, error))?
                }
            };
            this.settled(ruby, closed)
        })
    }

    /// `close_stream(text, original)` -> the final offset, or nil if the server did not send it. The arguments are as
    /// for `append`, or nil.
    fn close_stream(
        ruby: &Ruby,
        this: &Self,
        text: Option<RString>,
        original: Value,
    ) -> Result<Option<RString>, Error> {
        guard(ruby, || {
            let running = this.running(ruby)?;
            this.keep_served(ruby)?;
            // SAFETY: the bytes are read while this thread has the GVL, before any Ruby code can run.
            let last = text.as_ref().map(|text| unsafe { text.as_slice() });
            if let (Some(last), true) = (last, this.json) {
                this.check_json(ruby, last)?;
            }
            let closing = running.close_stream(last);
            let accepted = closing.map_err(|refused| this.refusal(ruby, &refused))?;
            if let (Some(token), Some(text)) = (accepted.token, text) {
                this.originals.store(ruby, running, token, text, original)?;
            }
            let offset = this.settled(ruby, wait_and_log(ruby, accepted.outcome)?)?;
            Ok(offset.map(|offset| frozen(ruby, &offset)))
        })
    }

    fn epoch(ruby: &Ruby, this: &Self) -> Result<u64, Error> {
        write_log(ruby)?;
        Ok(this.running(ruby)?.epoch())
    }

    fn seq(ruby: &Ruby, this: &Self) -> Result<i64, Error> {
        write_log(ruby)?;
        Ok(this.running(ruby)?.seq())
    }

    fn pending(ruby: &Ruby, this: &Self) -> Result<u64, Error> {
        write_log(ruby)?;
        Ok(this.running(ruby)?.pending())
    }

    /// `ending?`: whether `close` or `close_stream` was called, so that nothing more is accepted.
    fn ending(&self) -> bool {
        self.running.get().is_some_and(CoreProducer::ending)
    }

    /// Makes sure that the threads it needs exist, and that the end of the process sends what is pending.
    fn keep_served(&self, ruby: &Ruby) -> Result<(), Error> {
        exit::send_at_exit(ruby)?;
        events::keep_served(ruby)?;
        match self.handles.is_empty() {
            true => Ok(()),
            false => callback_threads::keep_served(
                ruby,
                ruby.get_inner(self.stream).application.is_some(),
                self.listener.is_some(),
            ),
        }
    }

    fn running(&self, ruby: &Ruby) -> Result<&CoreProducer, Error> {
        self.running.get().ok_or_else(|| {
            let message =
                "this producer was made before the process forked and belongs to the parent: make another one";
            self.refuse(ruby, "ProducerError", message)
        })
    }
}

/// Defines the class and the module functions.
pub(crate) fn init(ruby: &Ruby, native: RModule) -> Result<(), Error> {
    let class = define::<Producer>(ruby, native, "Producer")?;
    class.define_singleton_method("new", function!(Producer::new, 2))?;
    class.define_method("take", method!(Producer::take, 1))?;
    class.define_method("append", method!(Producer::append, 3))?;
    class.define_method("append_acknowledged", method!(Producer::append_acknowledged, 2))?;
    class.define_method("flush", method!(Producer::flush, 0))?;
    class.define_method("close", method!(Producer::close, 1))?;
    class.define_method("close_stream", method!(Producer::close_stream, 2))?;
    class.define_method("epoch", method!(Producer::epoch, 0))?;
    class.define_method("seq", method!(Producer::seq, 0))?;
    class.define_method("pending", method!(Producer::pending, 0))?;
    class.define_method("ending?", method!(Producer::ending, 0))?;
    exit::init(native)
}
