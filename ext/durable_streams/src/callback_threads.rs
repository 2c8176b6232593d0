//! Work of callback threads: the Ruby calls of producers' requests, the callbacks of producers, and the delivery of
//! events that belong to no caller.
//!
//! No caller waits for any of them. There is one queue for each kind, served by the Ruby threads of
//! `lib/durable_streams/callback_threads.rb`. So a callback may be slow, or wait for its producer, while requests go
//! on.
//!
//! Read [`QueuedNotice`] and [`Queue`] first.

use std::sync::Arc;
use std::time::Duration;

use durable_streams_client::events::has_unowned;
use durable_streams_client::fork::ProcessBound;
use durable_streams_client::producer::{Notice, NoticeListener, is_busy};
use durable_streams_client::runtime::Task;
use magnus::value::ReprValue;
use magnus::{Error, Module, Object, RArray, RHash, RModule, Ruby, Symbol, TryConvert, Value, function};
use tokio::sync::oneshot;

use crate::client::seconds;
use crate::errors::{self, guard};
use crate::events;
use crate::handles::{GcHandle, WorkHandle};
use crate::library;
use crate::producer_error;
use crate::queue::QueueThreads;
use crate::wait::{self, wait};

pub(crate) mod notices;
mod producer_queue;

use notices::{QueuedNotice, notices};
pub(crate) use producer_queue::call_sender;
use producer_queue::ready_producers;

/// Passes a producer's failure to `listener` on the callback thread, and deliveries too if `deliveries` is true.
pub(crate) fn listener(listener: WorkHandle, originals: WorkHandle, deliveries: bool) -> NoticeListener {
    let queue = notices();
    Box::new(move |notice| {
        if deliveries || matches!(notice, Notice::Failed(_)) {
            queue.put(QueuedNotice::Notice(
                listener.use_guard(),
                originals.use_guard(),
                notice,
            ));
        }
    })
}

/// Starts the threads that a producer needs, if they died or were never started: `values` if its requests have Ruby
/// calls, `callbacks` if it has a listener. Call it right before the work that needs the threads, and keep the GVL in
/// between: a thread that dies later starts its successor.
///
/// # Errors
/// If a thread cannot be started and no other thread serves.
pub(crate) fn keep_served(ruby: &Ruby, values: bool, callbacks: bool) -> Result<(), Error> {
    // After a thread could not be started, the existing ones have to do.
    let mut another = true;
    loop {
        let lacks = |threads: &dyn QueueThreads| threads.is_short() && (another || threads.is_unserved());
        let kind = if values && lacks(&*ready_producers()) {
            "values"
        } else if callbacks && lacks(&*notices()) {
            "notices"
        } else {
            return Ok(());
        };
        another &= keep_running(ruby, kind)?;
    }
}

/// Starts a thread of a kind if one is needed. Returns false if it cannot be started but other threads serve.
///
/// # Errors
/// If it cannot be started and no other thread serves.
fn keep_running(ruby: &Ruby, kind: &str) -> Result<bool, Error> {
    let callback_threads: Value = library(ruby)?.const_get("CallbackThreads")?;
    callback_threads.funcall("keep_running", (ruby.to_symbol(kind),))
}

/// The queue of a kind: `:values` or `:notices`.
fn threads(kind: Symbol) -> Result<Arc<dyn QueueThreads>, Error> {
    Ok(match is_values(kind)? {
        true => ready_producers(),
        false => notices(),
    })
}

fn is_values(kind: Symbol) -> Result<bool, Error> {
    Ok(kind.name()? == "values")
}

/// `Native.add_thread(kind)` -> the number of a thread that the caller starts now, or nil if none is needed.
fn add_thread(kind: Symbol) -> Result<Option<u64>, Error> {
    let number = threads(kind)?.add();
    if number.is_some() && is_values(kind)? {
        // Calls may come before the thread runs.
        producer_queue::accept();
    }
    Ok(number)
}

/// `Native.thread_not_started(kind, number, exception)` -> whether other threads of this kind serve.
fn thread_not_started(kind: Symbol, number: u64, exception: Value) -> Result<bool, Error> {
    let threads = threads(kind)?;
    threads.remove(number);
    producer_queue::refuse_unserved(&GcHandle::new(exception));
    Ok(!threads.is_unserved())
}

/// `Native.remove_thread(kind, number)`: the thread ends. -> whether there is or may be more work for a thread.
fn remove_thread(kind: Symbol, number: u64) -> Result<bool, Error> {
    threads(kind)?.remove(number);
    Ok(is_busy() || ready_producers().has_work() || notices().has_work())
}

/// `Native.serves?(kind, number)`: whether a thread of this process serves under this number.
fn serves(kind: Symbol, number: u64) -> Result<bool, Error> {
    Ok(threads(kind)?.includes(number))
}

/// `Native.serve_requests(number)`: runs the Ruby calls of requests until the thread is ended or not needed.
fn serve_requests(ruby: &Ruby, number: u64) -> Result<(), Error> {
    guard(ruby, || {
        while let Some(producer) = wait(ruby, ready_producers().next(number))? {
            // A callable may fork. The child must not touch the call that its parent is running.
            let producer = ProcessBound::new(producer);
            if ready_producers().is_short() {
                keep_running(ruby, "values")?;
            }
            producer_queue::run_next(ruby, &producer)?;
        }
        Ok(())
    })
}

/// `Native.next_notice(number)`: waits for a notice. ->
/// `[listener, :delivered, next_offset, duplicate, epoch, seq, count]`, `[listener, :failed, error]`, or an event as
/// `events` has it; nil if the thread has to end, for instance because it belongs to another process.
fn next_notice(ruby: &Ruby, number: u64) -> Result<Option<RArray>, Error> {
    guard(ruby, || {
        while let Some(queued) = wait(ruby, notices().next(number))? {
            match queued {
                QueuedNotice::Notice(listener, originals, notice) => {
                    if let (Some(listener), Some(originals)) = (listener.get(ruby), originals.get(ruby)) {
                        return notice_array(ruby, listener, RHash::try_convert(originals)?, notice).map(Some);
                    }
                }
                QueuedNotice::Events => {
                    if let Some(event) = events::next_notice(ruby)? {
                        return Ok(Some(event));
                    }
                }
                // An item for events goes to the end of the queue after each event, so it may be behind the barrier.
                QueuedNotice::Barrier(reached) if has_unowned() => notices().put(QueuedNotice::Barrier(reached)),
                QueuedNotice::Barrier(reached) => {
                    // The waiter may have given up.
                    let _gone = reached.send(());
                }
            }
        }
        Ok(None)
    })
}

/// `Native.check_interrupts`: runs the interrupts of this thread that its mask allows.
fn check_interrupts() -> Result<(), Error> {
    wait::check_interrupts()
}

/// `Native.finish_notices(limit)` -> nil, when all notices so far, and all events without an owner, have been passed on,
/// or after `limit` seconds.
fn finish_notices(ruby: &Ruby, limit: f64) -> Result<(), Error> {
    guard(ruby, || {
        let limit: Duration = seconds(ruby, "limit", limit)?;
        if notices().is_short() {
            // No thread runs callbacks.
            return Ok(());
        }
        let (reached, barrier) = oneshot::channel();
        notices().put(QueuedNotice::Barrier(reached));
        let finishing = Task::spawn(async move {
            // The result does not matter: the caller goes on in both cases.
            let _timed_out = tokio::time::timeout(limit, barrier).await;
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
            array.push(producer_error::exception(ruby, &failed, originals)?)?;
        }
    }
    Ok(array)
}

/// Defines the module functions.
pub(crate) fn init(native: RModule) -> Result<(), Error> {
    native.define_singleton_method("add_thread", function!(add_thread, 1))?;
    native.define_singleton_method("thread_not_started", function!(thread_not_started, 3))?;
    native.define_singleton_method("remove_thread", function!(remove_thread, 2))?;
    native.define_singleton_method("serves?", function!(serves, 2))?;
    native.define_singleton_method("serve_requests", function!(serve_requests, 1))?;
    native.define_singleton_method("next_notice", function!(next_notice, 1))?;
    native.define_singleton_method("check_interrupts", function!(check_interrupts, 0))?;
    native.define_singleton_method("finish_notices", function!(finish_notices, 1))
}
