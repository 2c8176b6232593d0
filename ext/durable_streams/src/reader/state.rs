//! What a reader and the calls that read from it share.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use durable_streams_client::fork::{ProcessBound, ProcessLocal};
use durable_streams_client::inline::job::Job;
use durable_streams_client::lock::Mutex;
use durable_streams_client::reader::Session;
use durable_streams_protocol::read::cursor::Position;
use tokio::sync::{Mutex as AsyncMutex, Notify};

use crate::caller::Caller;
use crate::ruby_calls::CallReceiver;

/// From how many bytes of items on the thread is woken that wants all of them.
pub(super) const ITEMS_BATCH_BYTES: usize = 64 * 1024;

/// Whether the reader is closed, and who is to be closed_notify when it is.
#[derive(Default)]
pub(super) struct CloseSignal {
    closed: AtomicBool,
    /// Per process, so that a forked child does not wait for threads of its parent.
    closed_notify: ProcessLocal<Notify>,
}

impl CloseSignal {
    /// Closes it.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.closed_notify.get_or_make(Notify::new).notify_waiters();
    }

    /// Whether `close` was called.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Waits for `close`.
    pub(super) async fn closed(&self) {
        let closed_notify = self.closed_notify.get_or_make(Notify::new);
        let mut notified = pin!(closed_notify.notified());
        // Enlisted before the look, so that a close in between is not missed.
        notified.as_mut().enable();
        if !self.is_closed() {
            notified.await;
        }
    }
}

/// How far Ruby has got, and the session that it goes on with.
pub(super) struct ReaderState {
    pub(super) position: Position,
    pub(super) stream_closed: bool,
    pub(super) status: Option<u16>,
    /// The read came to its end by itself.
    pub(super) ended: bool,
    pub(super) session: Option<Arc<ProcessBound<ActiveSession>>>,
    /// How many bytes were taken of it.
    pub(super) taken: usize,
}

/// A session, and what its requests ask of whoever has the turn.
pub(super) struct ActiveSession {
    pub(super) session: Session,
    pub(super) calls: Option<Arc<AsyncMutex<CallReceiver>>>,
    /// The read itself, if it is for whoever has the turn first.
    pub(super) job: Mutex<Option<Job<bool>>>,
    /// Who has the turn or waits for it.
    pub(super) callers: Mutex<Vec<Caller>>,
}

impl ActiveSession {
    pub(super) fn new(session: Session, calls: Option<CallReceiver>, job: Option<Job<bool>>) -> ActiveSession {
        ActiveSession {
            session,
            calls: calls.map(|calls| Arc::new(AsyncMutex::new(calls))),
            job: Mutex::new(job),
            callers: Mutex::default(),
        }
    }
}
