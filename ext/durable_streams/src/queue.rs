//! A queue that is filled on any thread and served on Ruby threads, and which threads serve it. It belongs to one process.
//!
//! A thread that serves is known by a number that no other has, in this process or in one that it was forked from: so a
//! thread that forks is, in the child, none of the child's queues'.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Poll, Waker};

use durable_streams_client::lock::Mutex;

/// A thread that has nothing to do ends where so many others have nothing to do.
const SPARE: usize = 4;

/// A queue without end or limit.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    /// What `State::is_short` gives, to be looked at without the lock.
    short: AtomicBool,
}

struct State<T> {
    items: VecDeque<T>,
    /// The threads that serve, by their numbers.
    threads: BTreeMap<u64, Doing>,
    /// More threads than this have no use.
    most: usize,
}

enum Doing {
    /// It is on its way to the queue, or waits for what is put there.
    Idle(Option<Waker>),
    /// It has taken something.
    Busy,
}

impl<T> State<T> {
    fn idle(&self) -> usize {
        self.threads
            .values()
            .filter(|doing| matches!(doing, Doing::Idle(_)))
            .count()
    }

    fn is_short(&self) -> bool {
        self.threads.len() < self.most && self.idle() == 0
    }

    /// Who is to take what was put there. The oldest: then as few threads as possible have anything to do.
    fn wake(&mut self) -> Option<Waker> {
        self.threads.values_mut().find_map(|doing| match doing {
            Doing::Idle(waker) => waker.take(),
            Doing::Busy => None,
        })
    }
}

impl<T> Queue<T> {
    /// An empty queue, for which `most` threads are enough.
    pub(crate) fn new(most: usize) -> Queue<T> {
        let state = State {
            items: VecDeque::new(),
            threads: BTreeMap::new(),
            most,
        };
        Queue {
            short: AtomicBool::new(state.is_short()),
            state: Mutex::new(state),
        }
    }

    fn change<R>(&self, change: impl FnOnce(&mut State<T>) -> R) -> R {
        let mut state = self.state.lock();
        let changed = change(&mut state);
        self.short.store(state.is_short(), Ordering::Release);
        changed
    }

    /// Adds a piece of work.
    pub(crate) fn put(&self, work: T) {
        let woken = self.change(|state| {
            state.items.push_back(work);
            state.wake()
        });
        if let Some(waker) = woken {
            waker.wake();
        }
    }

    /// The next piece of work for this thread; `None` if the thread is to end: it is not one of the queue's, or not needed.
    /// Waiting can be given up at any time, and nothing is lost.
    pub(crate) fn next(self: Arc<Self>, thread: u64) -> impl Future<Output = Option<T>> {
        poll_fn(move |context| {
            self.change(|state| {
                let Some(doing) = state.threads.get_mut(&thread) else {
                    return Poll::Ready(None);
                };
                if let Some(work) = state.items.pop_front() {
                    *doing = Doing::Busy;
                    return Poll::Ready(Some(work));
                }
                *doing = Doing::Idle(Some(context.waker().clone()));
                if state.idle() > SPARE {
                    return Poll::Ready(None);
                }
                Poll::Pending
            })
        })
    }

    /// Takes a piece of work where no thread serves.
    pub(crate) fn next_unserved(&self) -> Option<T> {
        self.change(|state| match state.threads.is_empty() {
            true => state.items.pop_front(),
            false => None,
        })
    }

    /// Has one more thread, or one less, be of use.
    pub(crate) fn resize(&self, change: impl FnOnce(usize) -> usize) {
        self.change(|state| state.most = change(state.most));
    }

    /// Whether there is work that nobody has taken.
    pub(crate) fn has_work(&self) -> bool {
        !self.state.lock().items.is_empty()
    }
}

/// The threads of a queue.
pub(crate) trait Threads: Send + Sync {
    /// Whether another thread is of use: every one that there is has something to do, for however long.
    fn is_short(&self) -> bool;

    /// The number of a thread that is about to be started, if another one is of use.
    fn join(&self) -> Option<u64>;

    /// The thread serves no more, or could not be started.
    fn leave(&self, thread: u64);

    /// Whether no thread serves.
    fn is_unserved(&self) -> bool;

    /// Whether the thread serves this queue.
    fn includes(&self, thread: u64) -> bool;
}

impl<T: Send> Threads for Queue<T> {
    fn is_short(&self) -> bool {
        self.short.load(Ordering::Acquire)
    }

    fn join(&self) -> Option<u64> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        self.change(|state| {
            state.is_short().then(|| {
                let number = LAST.fetch_add(1, Ordering::Relaxed);
                state.threads.insert(number, Doing::Idle(None));
                number
            })
        })
    }

    fn leave(&self, thread: u64) {
        let woken = self.change(|state| {
            state.threads.remove(&thread);
            // What it was woken for is for another.
            if state.items.is_empty() { None } else { state.wake() }
        });
        if let Some(waker) = woken {
            waker.wake();
        }
    }

    fn is_unserved(&self) -> bool {
        self.state.lock().threads.is_empty()
    }

    fn includes(&self, thread: u64) -> bool {
        self.state.lock().threads.contains_key(&thread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::Context;

    fn poll<T>(queue: &Arc<Queue<T>>, thread: u64) -> Poll<Option<T>> {
        pin!(Arc::clone(queue).next(thread)).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn is_short_while_all_its_threads_are_busy_and_more_are_of_use() {
        let queue = Arc::new(Queue::new(2));
        let first = queue.join().unwrap();
        assert!(queue.join().is_none(), "the first one is idle");
        queue.put('a');
        assert_eq!(poll(&queue, first), Poll::Ready(Some('a')));
        assert!(queue.is_short());
        let second = queue.join().unwrap();
        queue.put('b');
        assert_eq!(poll(&queue, second), Poll::Ready(Some('b')));
        assert!(!queue.is_short(), "two are enough");
        queue.leave(first);
        assert!(queue.is_short());
    }

    #[test]
    fn wakes_another_thread_where_the_one_that_was_woken_is_gone() {
        struct Woken(AtomicBool);
        impl std::task::Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let queue = Arc::new(Queue::new(2));
        let first = queue.join().unwrap();
        queue.put('a');
        assert_eq!(poll(&queue, first), Poll::Ready(Some('a')));
        let second = queue.join().unwrap();
        assert_eq!(poll(&queue, first), Poll::Pending);
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&woken));
        let mut waiting = pin!(Arc::clone(&queue).next(second));
        assert_eq!(waiting.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Pending);
        queue.put('b');
        assert!(!woken.0.load(Ordering::Relaxed), "the oldest is woken");
        queue.leave(first);
        assert!(woken.0.load(Ordering::Relaxed));
        assert_eq!(poll(&queue, second), Poll::Ready(Some('b')));
    }

    #[test]
    fn has_a_thread_end_that_is_not_one_of_its_own() {
        let queue = Arc::new(Queue::new(1));
        queue.put('a');
        assert_eq!(poll(&queue, u64::MAX), Poll::Ready(None));
        assert!(queue.has_work());
    }

    #[test]
    fn has_threads_end_where_many_have_nothing_to_do() {
        let queue = Arc::new(Queue::<char>::new(100));
        let threads: Vec<u64> = (0..=SPARE + 1)
            .map(|_| {
                let thread = queue.join().unwrap();
                queue.put('a');
                assert!(poll(&queue, thread).is_ready());
                thread
            })
            .collect();
        let ended = threads.into_iter().filter(|thread| {
            let ended = poll(&queue, *thread) == Poll::Ready(None);
            if ended {
                queue.leave(*thread);
            }
            ended
        });
        assert_eq!(ended.count(), 2);
    }
}
