//! Work that only a Ruby thread can do while no caller waits: what producers' requests ask, and what their callbacks are
//! told. The Ruby threads of `lib/durable_streams/dispatcher.rb` serve a queue for each, so that a callback may be slow, or
//! wait for the producer itself, while requests go on.

use std::sync::Arc;
use std::time::Duration;

use durable_streams_client::fork::{ProcessBound, ProcessLocal};
use durable_streams_client::producer::{Listener, Notice, is_busy};
use durable_streams_client::runtime::Task;
use magnus::value::ReprValue;
use magnus::{Error, Module, Object, RArray, RHash, RModule, Ruby, Symbol, TryConvert, Value, function};
use tokio::sync::oneshot;

use crate::client::seconds;
use crate::errors::{self, guard};
use crate::failed;
use crate::handles::{GcHandle, UseGuard, WorkHandle};
use crate::questions::Asking;
use crate::queue::{Queue, Threads};
use crate::wait::wait;

mod line;

use line::lines;

/// What the thread that calls callbacks is to do.
enum Due {
    /// Tell something that happened to a producer: whom to tell, what the producer keeps as it was appended, and what it is.
    Tell(UseGuard, UseGuard, Notice),
    /// Say that all that was due before has been told.
    Confirm(oneshot::Sender<()>),
}

fn notices() -> Arc<Queue<Due>> {
    static QUEUE: ProcessLocal<Queue<Due>> = ProcessLocal::new();
    // One thread, which tells them in order.
    QUEUE.get_or_make(|| Queue::new(1))
}

/// Has the dispatcher answer what the requests of a producer ask, which are for a stream handle.
pub(crate) fn asking(stream: WorkHandle) -> Arc<Asking> {
    line::asking(stream)
}

/// Has the dispatcher tell `listener` of a producer's failure, and of `deliveries` if asked to.
pub(crate) fn listener(listener: WorkHandle, originals: WorkHandle, deliveries: bool) -> Listener {
    let queue = notices();
    Box::new(move |notice| {
        if deliveries || matches!(notice, Notice::Failed(_)) {
            queue.put(Due::Tell(listener.use_guard(), originals.use_guard(), notice));
        }
    })
}

/// Makes sure that a producer is served whose requests ask for values, or which has callbacks: threads may have died. To be
/// called before what needs them, and with nothing in between that gives up the GVL: a thread that dies later is replaced.
///
/// # Errors
/// If a thread cannot be started, and no other serves.
pub(crate) fn keep_served(ruby: &Ruby, values: bool, callbacks: bool) -> Result<(), Error> {
    // Once another thread could not be started, those that serve are enough.
    let mut another = true;
    loop {
        let lacks = |threads: &dyn Threads| threads.is_short() && (another || threads.is_unserved());
        let kind = if values && lacks(&*lines()) {
            "values"
        } else if callbacks && lacks(&*notices()) {
            "notices"
        } else {
            return Ok(());
        };
        another &= keep_running(ruby, kind)?;
    }
}

/// Starts a thread of a kind if one is of use. False if it cannot be started, and others serve.
///
/// # Errors
/// If it cannot be started, and no other serves.
fn keep_running(ruby: &Ruby, kind: &str) -> Result<bool, Error> {
    let library: RModule = ruby.class_object().const_get("DurableStreams")?;
    let dispatcher: Value = library.const_get("Dispatcher")?;
    dispatcher.funcall("keep_running", (ruby.to_symbol(kind),))
}

/// The queue of a kind: `:values` or `:notices`.
fn threads(kind: Symbol) -> Result<Arc<dyn Threads>, Error> {
    Ok(match &*kind.name()? {
        "values" => lines(),
        _ => notices(),
    })
}

/// `Native.join(kind)` -> the number of a thread that is to be started now, or nil if none is of use.
fn join(kind: Symbol) -> Result<Option<u64>, Error> {
    Ok(threads(kind)?.join())
}

/// `Native.fail_to_join(kind, number, exception)` -> whether other threads serve: this one could not be started.
fn fail_to_join(kind: Symbol, number: u64, exception: Value) -> Result<bool, Error> {
    let threads = threads(kind)?;
    threads.leave(number);
    line::refuse_unserved(&GcHandle::new(exception));
    Ok(!threads.is_unserved())
}

/// `Native.leave(kind, number)` -> whether something is left that may need a thread: this one is at its end.
fn leave(kind: Symbol, number: u64) -> Result<bool, Error> {
    threads(kind)?.leave(number);
    Ok(is_busy() || lines().has_work() || notices().has_work())
}

/// `Native.serves?(kind, number)`: whether it is the number of a thread of this process that serves.
fn serves(kind: Symbol, number: u64) -> Result<bool, Error> {
    Ok(threads(kind)?.includes(number))
}

/// `Native.serve_requests(number)`: answers what requests ask, until the thread is ended or not needed.
fn serve_requests(ruby: &Ruby, number: u64) -> Result<(), Error> {
    guard(ruby, || {
        line::accept();
        while let Some(turn) = wait(ruby, lines().next(number))? {
            // A callable may fork: the child leaves alone what its parent is answering.
            let turn = ProcessBound::new(turn);
            if lines().is_short() {
                keep_running(ruby, "values")?;
            }
            line::answer_next(ruby, &turn)?;
        }
        Ok(())
    })
}

/// `Native.next_notice(number)` -> `[listener, :delivered, next_offset, duplicate, epoch, seq, count]` or
/// `[listener, :failed, error]`, for which it waits; nil if the thread is to end, as one of another process.
fn next_notice(ruby: &Ruby, number: u64) -> Result<Option<RArray>, Error> {
    guard(ruby, || {
        while let Some(due) = wait(ruby, notices().next(number))? {
            match due {
                Due::Tell(listener, originals, notice) => {
                    if let (Some(listener), Some(originals)) = (listener.get(ruby), originals.get(ruby)) {
                        return notice_array(ruby, listener, RHash::try_convert(originals)?, notice).map(Some);
                    }
                }
                Due::Confirm(told) => {
                    // Who waited for it may have given up.
                    let _gone = told.send(());
                }
            }
        }
        Ok(None)
    })
}

/// `Native.finish_notices(limit)` -> nil, when all that is to be told now has been, or the time (seconds) is over.
fn finish_notices(ruby: &Ruby, limit: f64) -> Result<(), Error> {
    guard(ruby, || {
        let limit: Duration = seconds(ruby, "limit", limit)?;
        if notices().is_short() {
            // No thread tells anything.
            return Ok(());
        }
        let (told, all_told) = oneshot::channel();
        notices().put(Due::Confirm(told));
        let finishing = Task::spawn(async move {
            // Whether time ran out shows nowhere: whoever was not told may have got it otherwise.
            let _late = tokio::time::timeout(limit, all_told).await;
            Ok(())
        });
        let finishing = finishing.map_err(|error| errors::raise(ruby, error))?;
        wait(ruby, finishing)?.map_err(|error| errors::raise(ruby, error))
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
            array.push(failed::exception(ruby, &failed, originals)?)?;
        }
    }
    Ok(array)
}

/// Defines the module functions.
pub(crate) fn init(native: RModule) -> Result<(), Error> {
    native.define_singleton_method("join", function!(join, 1))?;
    native.define_singleton_method("fail_to_join", function!(fail_to_join, 3))?;
    native.define_singleton_method("leave", function!(leave, 2))?;
    native.define_singleton_method("serves?", function!(serves, 2))?;
    native.define_singleton_method("serve_requests", function!(serve_requests, 1))?;
    native.define_singleton_method("next_notice", function!(next_notice, 1))?;
    native.define_singleton_method("finish_notices", function!(finish_notices, 1))
}
