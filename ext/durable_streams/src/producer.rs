//! `DurableStreams::Native::Producer`: appends copy into the producer's buffer; only full buffers, flushes and ends wait.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use durable_streams_client::fork::ProcessBound;
use durable_streams_client::producer::{
    self, Message, Producer as CoreProducer, ProducerError, Refused, drain_all, has_warnings, next_warning,
};
use durable_streams_protocol::producer::{BodyKind, ClaimLimits, ProducerConfig};
use magnus::encoding::{Coderange, EncodingCapable};
use magnus::r_hash::ForEach;
use magnus::rb_sys::AsRawValue;
use magnus::typed_data::Obj;
use magnus::value::{Opaque, ReprValue};
use magnus::{
    Class, DataTypeFunctions, Error, Module, Object, RArray, RHash, RModule, RString, Ruby, TypedData, Value, function,
    gc, method,
};

use crate::client::{RetryPolicyOptions, policy, seconds};
use crate::dispatch;
use crate::errors::{self, guard};
use crate::handles::WorkHandle;
use crate::memory::ReportedMemory;
use crate::options::options;
use crate::pinned_string::pin;
use crate::stream::{Stream, frozen};
use crate::wait::wait;

mod appends;
mod exceptions;
mod exit;

/// A producer, which belongs to the process that made it.
#[derive(TypedData)]
#[magnus(class = "DurableStreams::Native::Producer", free_immediately, mark, size)]
pub(crate) struct Producer {
    running: ProcessBound<CoreProducer>,
    json: bool,
    /// From this size on (bytes) messages are not copied.
    pin_from: usize,
    block_when_full: bool,
    /// What was appended and does not come back from its bytes, by its token, so that `undelivered` gives it back as it was
    /// passed. Entries go with a flush, or some appends after their message was acknowledged.
    originals: Opaque<RHash>,
    /// What its requests ask, and its callbacks.
    stream: Opaque<Obj<Stream>>,
    listener: Option<Opaque<Value>>,
    /// What of these its work refers to.
    handles: Vec<WorkHandle>,
    /// At how many originals an append drops those that were acknowledged.
    sweep_at: Cell<usize>,
    /// How many bytes were appended since the GC was last told.
    unreported: Cell<usize>,
    memory: ReportedMemory,
}

/// After how many new originals an append drops the acknowledged ones; a flush does so too.
const SWEEP: usize = 1_024;
/// After how many bytes the GC is told what the buffer holds.
const REPORT_EVERY: usize = 256 * 1024;

impl DataTypeFunctions for Producer {
    fn mark(&self, marker: &gc::Marker) {
        marker.mark(self.originals);
        marker.mark(self.stream);
        if let Some(listener) = self.listener {
            marker.mark(listener);
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        // Nothing can be appended any more.
        for handle in &self.handles {
            handle.release();
        }
    }
}

options! {
    /// A producer's options. What they mean is said where Ruby takes them, and at the fields of [`ProducerConfig`].
    pub(crate) struct ProducerOptions {
        producer_id: String,
        content_type: String,
        /// Whether messages are JSON values.
        json: bool,
        epoch: u64,
        next_seq: Option<u64>,
        auto_claim: bool,
        max_batch_bytes: usize,
        /// nil: no limit.
        max_batch_items: Option<usize>,
        /// Seconds.
        linger: f64,
        max_in_flight: usize,
        max_buffered_bytes: usize,
        /// Whether an append waits while the buffer is full.
        block_when_full: bool,
        /// nil: the client's.
        retry_policy: Option<RetryPolicyOptions>,
        /// What is told of deliveries and failures, if anything is.
        listener: Option<Value>,
    }
}

impl Producer {
    /// `Native::Producer.new(stream, **options)`: see [`ProducerOptions`].
    fn new(ruby: &Ruby, stream: Obj<Stream>, options: ProducerOptions) -> Result<Obj<Producer>, Error> {
        guard(ruby, || {
            let (json, listener) = (options.json, options.listener);
            let asked = stream.application.as_ref().map(|_| WorkHandle::new(stream));
            let endpoint = match &asked {
                None => Arc::clone(&stream.endpoint),
                Some(asked) => Arc::new(stream.endpoint.with_application(&dispatch::call_sender(asked.clone()))),
            };
            let retry = match options.retry_policy {
                Some(retry) => policy(ruby, retry)?,
                None => stream.endpoint.client().config().retry.clone(),
            };
            let config = ProducerConfig {
                body: if json { BodyKind::Json } else { BodyKind::Bytes },
                epoch: options.epoch,
                next_seq: options.next_seq,
                auto_claim: options.auto_claim,
                claims: ClaimLimits::default(),
                max_batch_bytes: options.max_batch_bytes,
                max_batch_items: options.max_batch_items.unwrap_or(usize::MAX),
                linger: seconds(ruby, "linger_ms", options.linger)?,
                max_in_flight: options.max_in_flight,
                max_buffered_bytes: options.max_buffered_bytes,
                retry,
            };
            let originals = ruby.hash_new();
            let mut handles: Vec<WorkHandle> = asked.into_iter().collect();
            let told = match listener {
                None => None,
                Some(listener) => {
                    let deliveries: bool = listener.funcall("deliveries?", ())?;
                    let (listener, originals) = (WorkHandle::new(listener), WorkHandle::new(originals));
                    handles.extend([listener.clone(), originals.clone()]);
                    Some(dispatch::listener(listener, originals, deliveries))
                }
            };
            let pin_from = if json { usize::MAX } else { config.max_batch_bytes };
            dispatch::keep_served(ruby, stream.application.is_some(), listener.is_some())?;
            let started = CoreProducer::start(&endpoint, &options.producer_id, &options.content_type, config, told);
            let started = started.map_err(|error| errors::raise(ruby, error))?;
            for handle in &handles {
                handle.keep_alive_while(started.has_work());
            }
            let running = ProcessBound::new(started);
            let producer = ruby.obj_wrap(Producer {
                running,
                json,
                pin_from,
                block_when_full: options.block_when_full,
                originals: originals.into(),
                stream: stream.into(),
                listener: listener.map(Opaque::from),
                handles,
                sweep_at: Cell::new(SWEEP),
                unreported: Cell::new(0),
                memory: ReportedMemory::default(),
            });
            // Until the object is there, nothing but the caller's frames and this one refer to them.
            std::hint::black_box((originals, stream, listener));
            Ok(producer)
        })
    }

    /// `append(text, original, unwaiting)` -> nil. Text of a JSON stream is one value and is checked; original is what it
    /// was made of, or the text itself. Waits while the buffer is full, unless told why it must not.
    fn append(
        ruby: &Ruby,
        this: &Producer,
        text: RString,
        original: Value,
        unwaiting: Option<String>,
    ) -> Result<(), Error> {
        guard(ruby, || {
            let token = this.accept(ruby, text, unwaiting.as_deref(), |running, message| {
                running.append(message)
            })?;
            this.keep(ruby, token, text, original)
        })
    }

    /// `append_acknowledged(text, original)` -> `[next_offset, duplicate, epoch, seq]` of the batch with that message.
    fn append_acknowledged(ruby: &Ruby, this: &Producer, text: RString, original: Value) -> Result<RArray, Error> {
        guard(ruby, || {
            let accepted = this.accept(ruby, text, None, |running, message| {
                running.append_acknowledged(message)
            })?;
            this.keep(ruby, accepted.token, text, original)?;
            let delivery = this.settled(ruby, wait(ruby, accepted.outcome)?)?;
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

    /// Checks the message and has `append` take it, as soon as there is room: now, where there is a reason not to wait.
    fn accept<T>(
        &self,
        ruby: &Ruby,
        text: RString,
        unwaiting: Option<&str>,
        append: impl Fn(&CoreProducer, Message<'_>) -> Result<T, Refused>,
    ) -> Result<T, Error> {
        report_warnings(ruby)?;
        let running = self.running(ruby)?;
        loop {
            self.keep_served(ruby)?;
            // SAFETY: the bytes are read while this thread holds the GVL, before any Ruby code can run; after a wait
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
                Err(refused) => self.wait_after(ruby, running, refused, unwaiting)?,
            }
        }
    }

    /// Waits until what was refused may be accepted, if waiting helps.
    fn wait_after(
        &self,
        ruby: &Ruby,
        running: &CoreProducer,
        refused: Refused,
        unwaiting: Option<&str>,
    ) -> Result<(), Error> {
        let full = match refused {
            Refused::Full(since) if self.block_when_full => Some(since),
            Refused::Failing => None,
            refused => return Err(self.refusal(ruby, &refused)),
        };
        if let Some(reason) = unwaiting {
            return Err(errors::deadlock(ruby, reason.to_owned()));
        }
        let waited = match full {
            Some(since) => wait(ruby, running.wait_for_space(since))?,
            None => wait(ruby, running.ended())?,
        };
        waited.map_err(|failed| self.failure(ruby, &failed))
    }

    /// `text`, whose bytes are `bytes`, as it is appended: what is as large as a batch is not copied. (JSON is: something
    /// comes around it.)
    fn message<'a>(&self, text: RString, bytes: &'a [u8]) -> Message<'a> {
        let shared = if bytes.len() >= self.pin_from { pin(text) } else { None };
        shared.map_or(Message::Copied(bytes), Message::Shared)
    }

    /// Now and then tells the GC how much the buffer holds; `appended` bytes have just come to it.
    fn report(&self, ruby: &Ruby, running: &CoreProducer, appended: usize) {
        let since = self.unreported.get() + appended;
        if since < REPORT_EVERY {
            return self.unreported.set(since);
        }
        self.unreported.set(0);
        self.memory.set(ruby, running.buffered());
    }

    /// The end of a wait for acknowledgements, after which the buffer holds less.
    fn settled<T>(&self, ruby: &Ruby, outcome: Result<T, ProducerError>) -> Result<T, Error> {
        self.memory.set(ruby, self.running(ruby)?.buffered());
        report_warnings(ruby)?;
        outcome.map_err(|failed| self.failure(ruby, &failed))
    }

    /// Keeps what a message was made of, where it does not come back from its bytes. Nothing else of Ruby runs between
    /// its being accepted and this.
    fn keep(&self, ruby: &Ruby, token: u64, text: RString, original: Value) -> Result<(), Error> {
        let original = if original.as_raw() != text.as_raw() {
            original
        } else if comes_back(ruby, text) {
            return Ok(());
        } else {
            RString::new_frozen(text).as_value()
        };
        let originals = ruby.get_inner(self.originals);
        originals.aset(token, original)?;
        if originals.len() >= self.sweep_at.get() {
            self.sweep(ruby, self.running(ruby)?)?;
        }
        Ok(())
    }

    /// Forgets the originals of what was acknowledged: they are the oldest, so this looks at no more than it drops.
    fn sweep(&self, ruby: &Ruby, running: &CoreProducer) -> Result<(), Error> {
        let originals = ruby.get_inner(self.originals);
        let delivered = running.delivered();
        originals.foreach(|token: u64, _: Value| {
            Ok(if token < delivered {
                ForEach::Delete
            } else {
                ForEach::Stop
            })
        })?;
        self.sweep_at.set(originals.len() + SWEEP);
        Ok(())
    }

    /// `flush` -> nil, when all that was appended before is acknowledged.
    fn flush(ruby: &Ruby, this: &Producer) -> Result<(), Error> {
        guard(ruby, || {
            let running = this.running(ruby)?;
            this.keep_served(ruby)?;
            let flushed = wait(ruby, running.flush())?;
            this.sweep(ruby, running)?;
            this.settled(ruby, flushed)
        })
    }

    /// `close(timeout)` -> nil: flushes and ends; with a timeout (seconds) gives up after it.
    fn close(ruby: &Ruby, this: &Producer, timeout: Option<f64>) -> Result<(), Error> {
        guard(ruby, || {
            let running = this.running(ruby)?;
            this.keep_served(ruby)?;
            let closed = match timeout {
                None => wait(ruby, running.close())?,
                Some(limit) => {
                    let limit = seconds(ruby, "timeout", limit)?;
                    let closing = running
                        .close_within(limit)
                        .map_err(|error| errors::raise(ruby, error))?;
                    wait(ruby, closing)?.map_err(|error| errors::raise(ruby, error))?
                }
            };
            this.settled(ruby, closed)
        })
    }

    /// `close_stream(text, original)` -> the final offset, if the server told. Both as `append` takes them, or nil.
    fn close_stream(
        ruby: &Ruby,
        this: &Producer,
        text: Option<RString>,
        original: Value,
    ) -> Result<Option<RString>, Error> {
        guard(ruby, || {
            let running = this.running(ruby)?;
            this.keep_served(ruby)?;
            // SAFETY: the bytes are read while this thread holds the GVL, before any Ruby code can run.
            let last = text.as_ref().map(|text| unsafe { text.as_slice() });
            if let (Some(last), true) = (last, this.json) {
                this.check_json(ruby, last)?;
            }
            let closing = running.close_stream(last);
            let accepted = closing.map_err(|refused| this.refusal(ruby, &refused))?;
            if let (Some(token), Some(text)) = (accepted.token, text) {
                this.keep(ruby, token, text, original)?;
            }
            let offset = this.settled(ruby, wait(ruby, accepted.outcome)?)?;
            Ok(offset.map(|offset| frozen(ruby, &offset)))
        })
    }

    fn epoch(ruby: &Ruby, this: &Producer) -> Result<u64, Error> {
        report_warnings(ruby)?;
        Ok(this.running(ruby)?.epoch())
    }

    fn seq(ruby: &Ruby, this: &Producer) -> Result<i64, Error> {
        report_warnings(ruby)?;
        Ok(this.running(ruby)?.seq())
    }

    fn pending(ruby: &Ruby, this: &Producer) -> Result<u64, Error> {
        report_warnings(ruby)?;
        Ok(this.running(ruby)?.pending())
    }

    /// `ending?`: whether it was asked to end and accepts nothing more for that.
    fn ending(&self) -> bool {
        self.running.get().is_some_and(CoreProducer::ending)
    }

    /// Makes sure that threads serve it, where it needs some, and that the end of the process waits for it.
    fn keep_served(&self, ruby: &Ruby) -> Result<(), Error> {
        exit::send_at_exit(ruby)?;
        match self.handles.is_empty() {
            true => Ok(()),
            false => dispatch::keep_served(
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

/// Whether `text` is what `exception` makes of its bytes: UTF-8 where they are that, else binary.
fn comes_back(ruby: &Ruby, text: RString) -> bool {
    let encoding = text.enc_get();
    match text.enc_coderange_scan() {
        Coderange::SevenBit => true,
        Coderange::Valid if encoding == ruby.utf8_encindex() => true,
        // SAFETY: the bytes are read while this thread holds the GVL, before any Ruby code can run.
        _ => encoding == ruby.ascii8bit_encindex() && std::str::from_utf8(unsafe { text.as_slice() }).is_err(),
    }
}

/// `Native.drain_producers(seconds)` -> nil, when all of this process's producers have sent what they had, or have failed,
/// or the time is over.
fn drain_producers(ruby: &Ruby, limit: f64) -> Result<(), Error> {
    guard(ruby, || {
        let limit: Duration = seconds(ruby, "limit", limit)?;
        if let Some(draining) = drain_all(limit).map_err(|error| errors::raise(ruby, error))? {
            wait(ruby, draining)?.map_err(|error| errors::raise(ruby, error))?;
        }
        report_warnings(ruby)
    })
}

/// Has the log tell what producers have to warn of. May run Ruby code: not to be called while the bytes of a string are read.
#[inline]
fn report_warnings(ruby: &Ruby) -> Result<(), Error> {
    if has_warnings() {
        let library: RModule = ruby.class_object().const_get("DurableStreams")?;
        let _nil: Value = library.funcall("report_warnings", ())?;
    }
    Ok(())
}

/// `Native.lost_messages` -> `[[url, count, reason | nil], …]`: what is lost if the process ends now, and nobody was told.
fn lost_messages(ruby: &Ruby) -> Result<RArray, Error> {
    guard(ruby, || {
        let lost = ruby.ary_new();
        for messages in producer::lost_messages() {
            lost.push((messages.url, messages.count, messages.reason))?;
        }
        Ok(lost)
    })
}

/// Defines the class and the module function.
pub(crate) fn init(ruby: &Ruby, native: RModule) -> Result<(), Error> {
    native.define_singleton_method("drain_producers", function!(drain_producers, 1))?;
    native.define_singleton_method("lost_messages", function!(lost_messages, 0))?;
    native.define_singleton_method("next_warning", function!(next_warning, 0))?;
    let class = native.define_class("Producer", ruby.class_object())?;
    class.undef_default_alloc_func();
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
