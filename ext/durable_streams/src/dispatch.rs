//! Work that only a Ruby thread can do while no caller waits: values for a producer's requests, and what its callbacks
//! are told. Two Ruby threads (`lib/durable_streams/dispatcher.rb`) serve one queue each, so that a callback may be
//! slow, or wait for the producer itself, while requests go on.

use std::sync::Arc;

use durable_streams_core::endpoint::{DynamicValues, Resolving};
use durable_streams_core::process::ProcessLocal;
use durable_streams_core::producing::{Listener, Notice};
use magnus::typed_data::Obj;
use magnus::{Error, RArray, RHash, RModule, Ruby, TryConvert, Value, function};
use tokio::sync::{Mutex, mpsc};

use crate::errors::{self, guard};
use crate::held::Held;
use crate::producer;
use crate::stream::Stream;
use crate::values::{self, Question};
use crate::wait::wait;

/// A queue of this process, filled on any thread and served on a Ruby thread.
struct Queue<T> {
    work: mpsc::UnboundedSender<T>,
    taken: Arc<Mutex<mpsc::UnboundedReceiver<T>>>,
}

impl<T: Send> Queue<T> {
    fn new() -> Queue<T> {
        let (work, taken) = mpsc::unbounded_channel();
        Queue {
            work,
            taken: Arc::new(Mutex::new(taken)),
        }
    }

    /// Waits for the next piece of work.
    fn next(&self, ruby: &Ruby) -> Result<T, Error> {
        let taken = Arc::clone(&self.taken);
        wait(ruby, async move { taken.lock_owned().await.recv().await })?
            .ok_or_else(|| errors::internal(ruby, "a dispatcher's queue has ended"))
    }
}

/// A request that asks for the values of this stream handle.
type Asked = (Held, Question);

/// Something that happened to a producer: whom to tell, what the producer keeps as it was appended, and what it is.
type Told = (Held, Held, Notice);

fn values_queue() -> Arc<Queue<Asked>> {
    static QUEUE: ProcessLocal<Queue<Asked>> = ProcessLocal::new();
    QUEUE.get_or_make(Queue::new)
}

fn notices() -> Arc<Queue<Told>> {
    static QUEUE: ProcessLocal<Queue<Told>> = ProcessLocal::new();
    QUEUE.get_or_make(Queue::new)
}

/// Asks the dispatcher for the values of a stream handle, which it keeps alive.
pub(crate) fn source(stream: Held) -> Arc<dyn DynamicValues> {
    struct Source(Held, Arc<Queue<Asked>>);
    impl DynamicValues for Source {
        fn resolve(&self) -> Resolving {
            let (question, told) = values::question();
            values::asked(self.1.work.send((self.0.clone(), question)).is_ok(), told)
        }
    }
    Arc::new(Source(stream, values_queue()))
}

/// Has the dispatcher tell `listener`, which is kept alive, of a producer's failure, and of `deliveries` if asked to.
pub(crate) fn listener(listener: Held, originals: Held, deliveries: bool) -> Listener {
    let queue = notices();
    Box::new(move |notice| {
        if deliveries || matches!(notice, Notice::Failed(_)) {
            // The receiving end lives in the queue itself.
            let _never = queue.work.send((listener.clone(), originals.clone(), notice));
        }
    })
}

/// `Native.serve_values`: answers requests that ask for values, until the thread is ended.
fn serve_values(ruby: &Ruby) -> Result<(), Error> {
    guard(ruby, || {
        loop {
            let (stream, question) = values_queue().next(ruby)?;
            let Some(stream) = stream.get(ruby) else { continue };
            let stream = Obj::<Stream>::try_convert(stream)?;
            if let Some(callables) = &stream.callables {
                callables.answer(ruby, question)?;
            }
        }
    })
}

/// `Native.next_notice` -> `[listener, :delivered, next_offset, duplicate, epoch, seq, count]` or
/// `[listener, :failed, error]`. Waits for it.
fn next_notice(ruby: &Ruby) -> Result<RArray, Error> {
    guard(ruby, || {
        loop {
            let (listener, originals, notice) = notices().next(ruby)?;
            if let (Some(listener), Some(originals)) = (listener.get(ruby), originals.get(ruby)) {
                return notice_array(ruby, listener, RHash::try_convert(originals)?, notice);
            }
        }
    })
}

fn notice_array(ruby: &Ruby, listener: Value, originals: RHash, notice: Notice) -> Result<RArray, Error> {
    let array = ruby.ary_new_capa(7);
    array.push(listener)?;
    match notice {
        Notice::Delivered(delivery) => {
            array.push(ruby.to_symbol("delivered"))?;
            array.push(delivery.next_offset)?;
            array.push(delivery.duplicate)?;
            array.push(delivery.epoch)?;
            array.push(delivery.seq)?;
            array.push(delivery.count)?;
        }
        Notice::Failed(failed) => {
            array.push(ruby.to_symbol("failed"))?;
            array.push(producer::exception(ruby, &failed, originals)?)?;
        }
    }
    Ok(array)
}

/// Defines the module functions.
pub(crate) fn init(native: RModule) -> Result<(), Error> {
    magnus::Object::define_singleton_method(native, "serve_values", function!(serve_values, 0))?;
    magnus::Object::define_singleton_method(native, "next_notice", function!(next_notice, 0))
}
