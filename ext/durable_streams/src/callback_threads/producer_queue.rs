//! The Ruby calls of producers' requests, in one queue for each producer.
//!
//! A producer's calls run one after another, in order: requests whose values come in another order overtake one
//! another, and value callables need not be thread-safe. Producers that have calls are in one queue, which the callback
//! threads serve. So a slow or stuck callable occupies one thread, and other producers use other threads.

use std::collections::VecDeque;
use std::sync::Arc;

use durable_streams_client::fork::{ProcessBound, ProcessLocal, generation};
use durable_streams_client::lock::Mutex;
use magnus::typed_data::Obj;
use magnus::{Error, Ruby, TryConvert};

use crate::handles::{GcHandle, UseGuard, WorkHandle};
use crate::queue::{Queue, QueueThreads};
use crate::ruby_calls::{CallSender, RubyCall};
use crate::stream::Stream;

/// The producers that have Ruby calls, each of them once. There are no more threads than producers.
pub(super) fn ready_producers() -> Arc<Queue<ReadyProducer>> {
    static QUEUE: ProcessLocal<Queue<ReadyProducer>> = ProcessLocal::new();
    QUEUE.get_or_make(|| Queue::new(0))
}

/// The exception that new calls fail with: no thread serves, and none can be started.
fn refusal() -> Arc<Mutex<Option<GcHandle>>> {
    static REFUSAL: ProcessLocal<Mutex<Option<GcHandle>>> = ProcessLocal::new();
    REFUSAL.get_or_make(Mutex::default)
}

/// Sends the Ruby calls of a new producer's requests to callback threads. The code to run is that of this stream handle.
pub(crate) fn call_sender(stream: WorkHandle) -> Arc<CallSender> {
    ready_producers().resize(|most| most + 1);
    let queue = Arc::new(ProducerQueue {
        stream,
        state: Mutex::default(),
        generation: generation(),
    });
    CallSender::new(move |call| queue.put(call))
}

struct ProducerQueue {
    stream: WorkHandle,
    state: Mutex<ProducerQueueState>,
    generation: u64,
}

#[derive(Default)]
struct ProducerQueueState {
    calls: VecDeque<QueuedCall>,
    /// Whether the producer is in the queue or a thread has it.
    is_queued: bool,
}

struct QueuedCall {
    stream: UseGuard,
    call: RubyCall,
    /// Whether this is the second run: a thread ended during the first one.
    was_retried: bool,
}

impl Drop for ProducerQueue {
    fn drop(&mut self) {
        if self.generation == generation() {
            ready_producers().resize(|most| most.saturating_sub(1));
        }
    }
}

impl ProducerQueue {
    fn put(self: &Arc<Self>, call: RubyCall) {
        let refused = refusal().lock().clone();
        if let Some(reason) = refused {
            return call.fail(reason);
        }
        let mut state = self.state.lock();
        state.calls.push_back(QueuedCall {
            stream: self.stream.use_guard(),
            call,
            was_retried: false,
        });
        if !std::mem::replace(&mut state.is_queued, true) {
            drop(state);
            ready_producers().put(ReadyProducer(Arc::clone(self)));
        }
    }
}

/// A producer that has Ruby calls. Dropping it puts it at the queue's end if there are more calls.
pub(super) struct ReadyProducer(Arc<ProducerQueue>);

impl Drop for ReadyProducer {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.is_queued = !state.calls.is_empty();
        if state.is_queued {
            drop(state);
            ready_producers().put(Self(Arc::clone(&self.0)));
        }
    }
}

impl ReadyProducer {
    fn next(&self) -> Option<QueuedCall> {
        self.0.state.lock().calls.pop_front()
    }

    fn put_back(&self, queued: QueuedCall) {
        self.0.state.lock().calls.push_front(queued);
    }
}

/// Runs the next Ruby call of a producer.
///
/// # Errors
/// What ends the thread. The call is then run once more, since the thread may have been killed for a reason of its own.
/// It is not run a third time: a callable that ends its thread would do so for ever.
pub(super) fn run_next(ruby: &Ruby, producer: &ProcessBound<ReadyProducer>) -> Result<(), Error> {
    let Some(QueuedCall {
        stream,
        call,
        was_retried,
    }) = producer.get().and_then(ReadyProducer::next)
    else {
        return Ok(());
    };
    let Some(handle) = stream.get(ruby) else { return Ok(()) };
    let handle = Obj::<Stream>::try_convert(handle)?;
    let Some(application) = &handle.application else {
        return Ok(());
    };
    application.run_on_callback_thread(ruby, call, |call| match producer.get() {
        Some(producer) if !was_retried => {
            producer.put_back(QueuedCall {
                stream,
                call,
                was_retried: true,
            });
            Ok(())
        }
        _ => {
            call.fail(thread_error(
                ruby,
                "a value callable ended the callback thread that ran it",
            )?);
            Ok(())
        }
    })
}

fn thread_error(ruby: &Ruby, message: &str) -> Result<GcHandle, Error> {
    use magnus::Class;
    ruby.exception_thread_error()
        .new_instance((message,))
        .map(GcHandle::new)
}

/// Call it with the reason when a thread could not be started. If no thread serves, nobody would run the calls: those
/// in the queues fail with the reason, and so do new ones until a thread is added.
pub(super) fn refuse_unserved(reason: &GcHandle) {
    if !ready_producers().is_unserved() {
        return;
    }
    *refusal().lock() = Some(reason.clone());
    while let Some(producer) = ready_producers().next_unserved() {
        while let Some(queued) = producer.next() {
            queued.call.fail(reason.clone());
        }
    }
}

/// Call it when a thread is added: calls are accepted again.
pub(super) fn accept() {
    refusal().lock().take();
}
