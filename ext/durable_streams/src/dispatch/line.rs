//! What the requests of one producer ask: one question after the other, in order, since requests whose values come in another
//! order overtake one another, and callables need not be made for several threads at a time. The queue that Ruby threads
//! serve has those producers whose requests ask something. So a callable that is slow or stuck keeps one thread busy, and
//! other producers have others.

use std::collections::VecDeque;
use std::sync::Arc;

use durable_streams_client::fork::{ProcessBound, ProcessLocal, generation};
use durable_streams_client::lock::Mutex;
use magnus::typed_data::Obj;
use magnus::{Error, Ruby, TryConvert};

use crate::handles::{GcHandle, UseGuard, WorkHandle};
use crate::questions::{Asking, Question};
use crate::queue::{Queue, Threads};
use crate::stream::Stream;

/// The producers whose requests ask something, each once. There are no more threads than producers.
pub(super) fn lines() -> Arc<Queue<Turn>> {
    static QUEUE: ProcessLocal<Queue<Turn>> = ProcessLocal::new();
    QUEUE.get_or_make(|| Queue::new(0))
}

/// What questions that come now fail with: no thread serves, and none can be started.
fn refusal() -> Arc<Mutex<Option<GcHandle>>> {
    static REFUSAL: ProcessLocal<Mutex<Option<GcHandle>>> = ProcessLocal::new();
    REFUSAL.get_or_make(Mutex::default)
}

/// A way for the requests of a producer on this stream handle to ask.
pub(super) fn asking(stream: WorkHandle) -> Arc<Asking> {
    lines().resize(|most| most + 1);
    let line = Arc::new(Line {
        stream,
        state: Mutex::default(),
        generation: generation(),
    });
    Asking::new(move |question| line.put(question))
}

struct Line {
    stream: WorkHandle,
    state: Mutex<State>,
    generation: u64,
}

#[derive(Default)]
struct State {
    questions: VecDeque<Asked>,
    /// Whether it is in the queue or with a thread.
    is_queued: bool,
}

struct Asked {
    stream: UseGuard,
    question: Question,
    /// Whether a thread has ended over it.
    before: bool,
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.generation == generation() {
            lines().resize(|most| most.saturating_sub(1));
        }
    }
}

impl Line {
    fn put(self: &Arc<Self>, question: Question) {
        let refused = refusal().lock().clone();
        if let Some(why) = refused {
            return question.fail(why);
        }
        let mut state = self.state.lock();
        state.questions.push_back(Asked {
            stream: self.stream.use_guard(),
            question,
            before: false,
        });
        if !std::mem::replace(&mut state.is_queued, true) {
            drop(state);
            lines().put(Turn(Arc::clone(self)));
        }
    }
}

/// A producer whose requests ask something. Dropped, it goes to the queue's end if there are more questions.
pub(super) struct Turn(Arc<Line>);

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.is_queued = !state.questions.is_empty();
        if state.is_queued {
            drop(state);
            lines().put(Turn(Arc::clone(&self.0)));
        }
    }
}

impl Turn {
    fn next(&self) -> Option<Asked> {
        self.0.state.lock().questions.pop_front()
    }

    fn put_back(&self, asked: Asked) {
        self.0.state.lock().questions.push_front(asked);
    }
}

/// Answers the next question of a producer.
///
/// # Errors
/// What ends the thread. The question is then asked once more: a thread that is killed may have nothing to do with it. A
/// callable that ends its thread would do so for ever.
pub(super) fn answer_next(ruby: &Ruby, turn: &ProcessBound<Turn>) -> Result<(), Error> {
    let Some(Asked {
        stream,
        question,
        before,
    }) = turn.get().and_then(Turn::next)
    else {
        return Ok(());
    };
    let Some(handle) = stream.get(ruby) else { return Ok(()) };
    let handle = Obj::<Stream>::try_convert(handle)?;
    let Some(application) = &handle.application else {
        return Ok(());
    };
    application.answer(ruby, question, |question| match turn.get() {
        Some(turn) if !before => {
            turn.put_back(Asked {
                stream,
                question,
                before: true,
            });
            Ok(())
        }
        _ => {
            question.fail(thread_error(ruby, "a callable has ended the thread that called it")?);
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

/// A thread could not be started, which `why` tells. If none serves, requests that ask something fail by it, now and until
/// one does: nobody would answer them.
pub(super) fn refuse_unserved(why: &GcHandle) {
    if !lines().is_unserved() {
        return;
    }
    *refusal().lock() = Some(why.clone());
    while let Some(turn) = lines().next_unserved() {
        while let Some(asked) = turn.next() {
            asked.question.fail(why.clone());
        }
    }
}

/// A thread serves.
pub(super) fn accept() {
    refusal().lock().take();
}
