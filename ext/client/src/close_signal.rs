//! [`CloseSignal`]: whether something is closed, and a notification of those who wait meanwhile.

use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use durable_streams_protocol::error::Result;
use tokio::sync::Notify;

use crate::fork::ProcessLocal;
use crate::runtime::Task;

/// Whether a client, a reader or a consumer is closed, and a notification of waiting calls and requests.
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

    /// Waits for `close`, no longer than `limit`.
    ///
    /// # Errors
    /// If the runtime cannot be started, which measures the time.
    pub async fn closed_within(&self, limit: Duration) -> Result<()> {
        let timer = Task::spawn(async move {
            tokio::time::sleep(limit).await;
            Ok(())
        })?;
        tokio::select! {
            biased;
            () = self.closed() => Ok(()),
            elapsed = timer => elapsed,
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
