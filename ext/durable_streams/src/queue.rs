//! A queue that any thread fills and Ruby threads serve, and the list of the threads that serve it. It belongs to one
//! process.
//!
//! Each serving thread has a number that is unique in this process and in all processes that it was forked from. So a
//! thread that forks serves none of the child's queues.

use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Poll, Waker};

use durable_streams_client::lock::Mutex;

/// An idle thread ends if so many others are idle too.
const SPARE: usize = 4;

/// An unbounded queue.
pub(crate) struct Queue<T> {
    state: Mutex<QueueState<T>>,
    /// A copy of `QueueState::is_short`, readable without the lock.
    short: AtomicBool,
}

struct QueueState<T> {
    items: VecDeque<T>,
    /// The serving threads by number.
    threads: BTreeMap<u64, ThreadStatus>,
    /// More threads than this are not needed.
    most: usize,
}

enum ThreadStatus {
    /// It was just started, or waits for an item.
    Idle(Option<Waker>),
    /// It has taken an item.
    Busy,
}

impl<T> QueueState<T> {
    fn idle(&self) -> usize {
        self.threads
            .values()
            .filter(|status| matches!(status, ThreadStatus::Idle(_)))
            .count()
    }

    fn is_short(&self) -> bool {
        self.threads.len() < self.most && self.idle() == 0
    }

    /// Picks a thread to wake for a new item: the oldest idle one, so that as few threads as possible are in use.
    fn wake(&mut self) -> Option<Waker> {
        self.threads.values_mut().find_map(|status| match status {
            ThreadStatus::Idle(waker) => waker.take(),
            ThreadStatus::Busy => None,
        })
    }
}

impl<T> Queue<T> {
    /// An empty queue that needs `most` threads at most.
    pub(crate) fn new(most: usize) -> Self {
        let state = QueueState {
            items: VecDeque::new(),
            threads: BTreeMap::new(),
            most,
        };
        Self {
            short: AtomicBool::new(state.is_short()),
            state: Mutex::new(state),
        }
    }

    fn change<R>(&self, change: impl FnOnce(&mut QueueState<T>) -> R) -> R {
        let mut state = self.state.lock();
        let changed = change(&mut state);
        self.short.store(state.is_short(), Ordering::Release);
        changed
    }

    /// Adds an item.
    pub(crate) fn put(&self, item: T) {
        let woken = self.change(|state| {
            state.items.push_back(item);
            state.wake()
        });
        if let Some(waker) = woken {
            waker.wake();
        }
    }

    /// The next item for this thread; `None` if the thread has to end, since it does not serve this queue or is not
    /// needed. Dropping the future loses no item.
    pub(crate) fn next(self: Arc<Self>, thread: u64) -> impl Future<Output = Option<T>> {
        poll_fn(move |context| {
            self.change(|state| {
                let Some(status) = state.threads.get_mut(&thread) else {
                    return Poll::Ready(None);
                };
                if let Some(item) = state.items.pop_front() {
                    *status = ThreadStatus::Busy;
                    return Poll::Ready(Some(item));
                }
                *status = ThreadStatus::Idle(Some(context.waker().clone()));
                if state.idle() > SPARE {
                    return Poll::Ready(None);
                }
                Poll::Pending
            })
        })
    }

    /// Takes an item if no thread serves the queue.
    pub(crate) fn next_unserved(&self) -> Option<T> {
        self.change(|state| match state.threads.is_empty() {
            true => state.items.pop_front(),
            false => None,
        })
    }

    /// Changes how many threads are needed at most.
    pub(crate) fn resize(&self, change: impl FnOnce(usize) -> usize) {
        self.change(|state| state.most = change(state.most));
    }

    /// Whether there are items that no thread has taken.
    pub(crate) fn has_work(&self) -> bool {
        !self.state.lock().items.is_empty()
    }
}

/// The threads of a queue, whatever its items are.
pub(crate) trait QueueThreads: Send + Sync {
    /// Whether another thread is needed: all existing ones are busy.
    fn is_short(&self) -> bool;

    /// If another thread is needed, adds one and returns its number. The caller starts it.
    fn add(&self) -> Option<u64>;

    /// Removes a thread that ended or could not be started.
    fn remove(&self, thread: u64);

    /// Whether no thread serves.
    fn is_unserved(&self) -> bool;

    /// Whether the thread serves this queue.
    fn includes(&self, thread: u64) -> bool;
}

impl<T: Send> QueueThreads for Queue<T> {
    fn is_short(&self) -> bool {
        self.short.load(Ordering::Acquire)
    }

    fn add(&self) -> Option<u64> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        self.change(|state| {
            state.is_short().then(|| {
                let number = LAST.fetch_add(1, Ordering::Relaxed);
                state.threads.insert(number, ThreadStatus::Idle(None));
                number
            })
        })
    }

    fn remove(&self, thread: u64) {
        let woken = self.change(|state| {
            state.threads.remove(&thread);
            // It may have been woken for an item: wake another thread for it.
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
    fn is_short_while_all_threads_are_busy_and_more_are_allowed() {
        let queue = Arc::new(Queue::new(2));
        let first = queue.add().unwrap();
        assert!(queue.add().is_none(), "the first one is idle");
        queue.put('a');
        assert_eq!(poll(&queue, first), Poll::Ready(Some('a')));
        assert!(queue.is_short());
        let second = queue.add().unwrap();
        queue.put('b');
        assert_eq!(poll(&queue, second), Poll::Ready(Some('b')));
        assert!(!queue.is_short(), "two are enough");
        queue.remove(first);
        assert!(queue.is_short());
    }

    #[test]
    fn wakes_another_thread_if_the_woken_one_leaves() {
        struct WakeFlag(AtomicBool);
        impl std::task::Wake for WakeFlag {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let queue = Arc::new(Queue::new(2));
        let first = queue.add().unwrap();
        queue.put('a');
        assert_eq!(poll(&queue, first), Poll::Ready(Some('a')));
        let second = queue.add().unwrap();
        assert_eq!(poll(&queue, first), Poll::Pending);
        let woken = Arc::new(WakeFlag(AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&woken));
        let mut waiting = pin!(Arc::clone(&queue).next(second));
        assert_eq!(waiting.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Pending);
        queue.put('b');
        assert!(!woken.0.load(Ordering::Relaxed), "the oldest is woken");
        queue.remove(first);
        assert!(woken.0.load(Ordering::Relaxed));
        assert_eq!(poll(&queue, second), Poll::Ready(Some('b')));
    }

    #[test]
    fn ends_a_thread_that_does_not_serve_the_queue() {
        let queue = Arc::new(Queue::new(1));
        queue.put('a');
        assert_eq!(poll(&queue, u64::MAX), Poll::Ready(None));
        assert!(queue.has_work());
    }

    #[test]
    fn ends_idle_threads_beyond_the_spare_ones() {
        let queue = Arc::new(Queue::<char>::new(100));
        let threads: Vec<u64> = (0..=SPARE + 1)
            .map(|_| {
                let thread = queue.add().unwrap();
                queue.put('a');
                assert!(poll(&queue, thread).is_ready());
                thread
            })
            .collect();
        let ended = threads.into_iter().filter(|thread| {
            let ended = poll(&queue, *thread) == Poll::Ready(None);
            if ended {
                queue.remove(*thread);
            }
            ended
        });
        assert_eq!(ended.count(), 2);
    }
}
