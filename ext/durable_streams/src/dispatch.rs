//! Work that only a Ruby thread can do while no caller waits: values for a producer's requests, and what its callbacks
//! are told. One Ruby thread (`lib/durable_streams/dispatcher.rb`) serves this queue.

use std::sync::Arc;

use durable_streams_core::endpoint::{DynamicValues, Resolving};
use durable_streams_core::process::ProcessLocal;
use durable_streams_core::producing::Notice;
use magnus::typed_data::Obj;
use magnus::{Error, RArray, RModule, Ruby, TryConvert, Value, function};
use tokio::sync::{Mutex, mpsc};

use crate::errors::{self, guard};
use crate::held::Held;
use crate::stream::Stream;
use crate::values::{self, Question};
use crate::wait::wait;

enum Work {
    /// A request asks for the values of this stream handle.
    Values(Held, Question),
    /// Something happened that this listener is to be told.
    Notice(Held, Notice),
}

/// This process's queue.
struct Queue {
    work: mpsc::UnboundedSender<Work>,
    taken: Arc<Mutex<mpsc::UnboundedReceiver<Work>>>,
}

fn queue() -> Arc<Queue> {
    static QUEUE: ProcessLocal<Queue> = ProcessLocal::new();
    QUEUE.get_or_make(|| {
        let (work, taken) = mpsc::unbounded_channel();
        Queue {
            work,
            taken: Arc::new(Mutex::new(taken)),
        }
    })
}

/// Asks the dispatcher for the values of a stream handle, which it keeps alive.
pub(crate) fn source(stream: Held) -> Arc<dyn DynamicValues> {
    struct Source(Held, Arc<Queue>);
    impl DynamicValues for Source {
        fn resolve(&self) -> Resolving {
            let (question, told) = values::question();
            values::asked(self.1.work.send(Work::Values(self.0.clone(), question)).is_ok(), told)
        }
    }
    Arc::new(Source(stream, queue()))
}

/// Has the dispatcher tell `listener`, which is kept alive, what a producer tells.
pub(crate) fn listener(listener: Held) -> Box<dyn Fn(Notice) + Send> {
    let queue = queue();
    Box::new(move |notice| {
        // The receiving end lives in the queue itself.
        let _never = queue.work.send(Work::Notice(listener.clone(), notice));
    })
}

/// `Native.next_notice` -> `[listener, :delivered, next_offset, duplicate, epoch, seq, count]`,
/// `[listener, :failed, error, undelivered]` or `[listener, :claimed, from, to]`. Waits for it, and meanwhile answers
/// requests that ask for values.
fn next_notice(ruby: &Ruby) -> Result<RArray, Error> {
    guard(ruby, || {
        loop {
            let taken = Arc::clone(&queue().taken);
            let next = wait(ruby, async move { taken.lock_owned().await.recv().await })?;
            match next {
                Some(Work::Values(stream, question)) => answer(ruby, &stream, question)?,
                Some(Work::Notice(listener, notice)) => {
                    if let Some(listener) = listener.get(ruby) {
                        return notice_array(ruby, listener, notice);
                    }
                }
                None => return Err(errors::internal(ruby, "the dispatcher's queue has ended")),
            }
        }
    })
}

fn answer(ruby: &Ruby, stream: &Held, question: Question) -> Result<(), Error> {
    let Some(stream) = stream.get(ruby) else { return Ok(()) };
    let stream = Obj::<Stream>::try_convert(stream)?;
    match &stream.callables {
        Some(callables) => callables.answer(ruby, question),
        None => Ok(()),
    }
}

fn notice_array(ruby: &Ruby, listener: Value, notice: Notice) -> Result<RArray, Error> {
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
            array.push(errors::exception(ruby, failed.error())?)?;
            array.push(crate::producer::undelivered(ruby, &failed)?)?;
        }
        Notice::Claimed { from, to } => {
            array.push(ruby.to_symbol("claimed"))?;
            array.push(from)?;
            array.push(to)?;
        }
    }
    Ok(array)
}

/// Defines the module function.
pub(crate) fn init(native: RModule) -> Result<(), Error> {
    magnus::Object::define_singleton_method(native, "next_notice", function!(next_notice, 0))
}
