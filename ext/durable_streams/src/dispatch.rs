//! Work that only a Ruby thread can do while no caller waits: what a producer's requests ask, and what its callbacks are
//! told. Two Ruby threads (`lib/durable_streams/dispatcher.rb`) serve one queue each, so that a callback may be
//! slow, or wait for the producer itself, while requests go on.

use std::sync::Arc;

use durable_streams_client::fork::ProcessLocal;
use durable_streams_client::producer::{Listener, Notice};
use magnus::typed_data::Obj;
use magnus::{Error, RArray, RHash, RModule, Ruby, TryConvert, Value, function};

use crate::errors::{self, guard};
use crate::held::{Lent, Used};
use crate::producer;
use crate::questions::{Asking, Question};
use crate::queue::Queue;
use crate::stream::Stream;
use crate::wait::wait;

/// What a request of this stream handle asks.
type Asked = (Used, Question);

/// Something that happened to a producer: whom to tell, what the producer keeps as it was appended, and what it is.
type Told = (Used, Used, Notice);

/// `None` ends the thread that serves the queue.
type Notices = Queue<Option<Told>>;

fn questions() -> Arc<Queue<Asked>> {
    static QUEUE: ProcessLocal<Queue<Asked>> = ProcessLocal::new();
    QUEUE.get_or_make(Queue::new)
}

fn notices() -> Arc<Notices> {
    static QUEUE: ProcessLocal<Notices> = ProcessLocal::new();
    QUEUE.get_or_make(Queue::new)
}

/// Has the dispatcher answer what the requests of a stream handle ask.
pub(crate) fn asking(stream: Lent) -> Arc<Asking> {
    let queue = questions();
    Asking::new(move |question| queue.put((stream.to_use(), question)))
}

/// Has the dispatcher tell `listener` of a producer's failure, and of `deliveries` if asked to.
pub(crate) fn listener(listener: Lent, originals: Lent, deliveries: bool) -> Listener {
    let queue = notices();
    Box::new(move |notice| {
        if deliveries || matches!(notice, Notice::Failed(_)) {
            queue.put(Some((listener.to_use(), originals.to_use(), notice)));
        }
    })
}

/// `Native.serve_requests`: answers what requests ask, until the thread is ended.
fn serve_requests(ruby: &Ruby) -> Result<(), Error> {
    guard(ruby, || {
        loop {
            let queue = questions();
            let (used, question) = next(ruby, &queue)?;
            let Some(stream) = used.get(ruby) else { continue };
            let stream = Obj::<Stream>::try_convert(stream)?;
            if let Some(application) = &stream.application {
                application.answer(ruby, question, |question| queue.put((used, question)))?;
            }
        }
    })
}

fn next<T: Send + 'static>(ruby: &Ruby, queue: &Queue<T>) -> Result<T, Error> {
    wait(ruby, queue.next())?.ok_or_else(|| errors::internal(ruby, "a dispatcher's queue has ended"))
}

/// `Native.next_notice` -> `[listener, :delivered, next_offset, duplicate, epoch, seq, count]` or
/// `[listener, :failed, error]`, or nil after `end_notices`. Waits for it.
fn next_notice(ruby: &Ruby) -> Result<Option<RArray>, Error> {
    guard(ruby, || {
        loop {
            let Some((listener, originals, notice)) = next(ruby, &notices())? else {
                return Ok(None);
            };
            if let (Some(listener), Some(originals)) = (listener.get(ruby), originals.get(ruby)) {
                return notice_array(ruby, listener, RHash::try_convert(originals)?, notice).map(Some);
            }
        }
    })
}

/// `Native.end_notices` -> nil: has `next_notice` give nil after all that there is to tell now.
fn end_notices() {
    notices().put(None);
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
    magnus::Object::define_singleton_method(native, "serve_requests", function!(serve_requests, 0))?;
    magnus::Object::define_singleton_method(native, "next_notice", function!(next_notice, 0))?;
    magnus::Object::define_singleton_method(native, "end_notices", function!(end_notices, 0))
}
