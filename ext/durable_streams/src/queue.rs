//! A queue that is filled on any thread and served on Ruby threads. It belongs to one process.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};

/// A queue without end or limit.
pub(crate) struct Queue<T> {
    put: mpsc::UnboundedSender<T>,
    taken: Arc<Mutex<mpsc::UnboundedReceiver<T>>>,
}

impl<T> Queue<T> {
    /// An empty queue.
    pub(crate) fn new() -> Queue<T> {
        let (put, taken) = mpsc::unbounded_channel();
        Queue {
            put,
            taken: Arc::new(Mutex::new(taken)),
        }
    }

    /// Adds a piece of work.
    pub(crate) fn put(&self, work: T) {
        // The receiving end lives as long as this one.
        let _never = self.put.send(work);
    }

    /// The next piece of work. Waiting can be given up at any time, and nothing is lost.
    pub(crate) fn next(&self) -> impl Future<Output = Option<T>> + use<T> {
        let taken = Arc::clone(&self.taken);
        async move { taken.lock_owned().await.recv().await }
    }
}
