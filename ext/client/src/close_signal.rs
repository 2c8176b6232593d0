//! [`CloseSignal`]: whether something is closed, and a notification of those who wait meanwhile.

use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use crate::fork::ProcessLocal;

/// Whether a client or a reader is closed, and a notification of waiting calls and requests.
#[derive(Default)]
pub struct CloseSignal {
    closed: AtomicBool,
    /// One for each process, so that a forked child does not wait for threads of its parent.
    notify: ProcessLocal<Notify>,
}

impl CloseSignal {
    /// Closes it.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.notify.get_or_make(Notify::new).notify_waiters();
    }

    /// Whether `close` was called.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Waits for `close`.
    pub async fn closed(&self) {
        let notify = self.notify.get_or_make(Notify::new);
        let mut notified = pin!(notify.notified());
        // Registered before the check, so that no close in between is missed.
        notified.as_mut().enable();
        if !self.is_closed() {
            notified.await;
        }
    }
}

impl fmt::Debug for CloseSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloseSignal")
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
