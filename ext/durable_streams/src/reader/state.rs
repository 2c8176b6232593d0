//! What a reader and the calls that read from it share.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use durable_streams_client::fork::{ProcessBound, ProcessLocal};
use durable_streams_client::inline::job::Work;
use durable_streams_client::lock::Mutex;
use durable_streams_client::reader::Session;
use durable_streams_protocol::read::cursor::Position;
use tokio::sync::{Mutex as TurnLock, Notify};

use crate::caller::Caller;
use crate::ruby_calls::CallReceiver;

/// From how many bytes of items on the thread is woken that wants all of them.
pub(super) const SOME: usize = 64 * 1024;

/// Whether the reader is closed, and who is to be told when it is.
#[derive(Default)]
pub(super) struct Closing {
    closed: AtomicBool,
    /// Per process, so that a forked child does not wait for threads of its parent.
    told: ProcessLocal<Notify>,
}

impl Closing {
    /// Closes it.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.told.get_or_make(Notify::new).notify_waiters();
    }

    /// Whether `close` was called.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Waits for `close`.
    pub(super) async fn closed(&self) {
        let told = self.told.get_or_make(Notify::new);
        let mut telling = pin!(told.notified());
        // Enlisted before the look, so that a close in between is not missed.
        telling.as_mut().enable();
        if !self.is_closed() {
            telling.await;
        }
    }
}

/// How far Ruby has got, and the session that it goes on with.
pub(super) struct State {
    pub(super) position: Position,
    pub(super) stream_closed: bool,
    pub(super) status: Option<u16>,
    /// The read came to its end by itself.
    pub(super) ended: bool,
    pub(super) session: Option<Arc<ProcessBound<Running>>>,
    /// How many bytes were taken of it.
    pub(super) taken: usize,
}

/// A session, and what its requests ask of whoever has the turn.
pub(super) struct Running {
    pub(super) session: Session,
    pub(super) calls: Option<Arc<TurnLock<CallReceiver>>>,
    /// The read itself, if it is for whoever has the turn first.
    pub(super) work: Mutex<Option<Work<bool>>>,
    /// Who has the turn or waits for it.
    pub(super) line: Mutex<Vec<Caller>>,
}

impl Running {
    pub(super) fn new(session: Session, calls: Option<CallReceiver>, work: Option<Work<bool>>) -> Running {
        Running {
            session,
            calls: calls.map(|calls| Arc::new(TurnLock::new(calls))),
            work: Mutex::new(work),
            line: Mutex::default(),
        }
    }
}
