//! State that a reader and the calls that read from it share.

use std::sync::Arc;

use durable_streams_client::fork::ProcessBound;
use durable_streams_client::inline::job::Job;
use durable_streams_client::lock::Mutex;
use durable_streams_client::reader::Session;
use durable_streams_protocol::read::cursor::Position;
use tokio::sync::Mutex as AsyncMutex;

use crate::caller::Caller;
use crate::ruby_calls::CallReceiver;

/// A call that wants a whole batch of items is woken when this many bytes are there.
pub(super) const ITEMS_BATCH_BYTES: usize = 64 * 1024;

/// How far Ruby has read, and the session that it continues.
pub(super) struct ReaderState {
    pub(super) position: Position,
    pub(super) stream_closed: bool,
    pub(super) status: Option<u16>,
    /// Whether a request of this or an earlier session has succeeded.
    pub(super) has_succeeded: bool,
    /// The read ended by itself.
    pub(super) ended: bool,
    pub(super) session: Option<Arc<ProcessBound<ActiveSession>>>,
    /// How many bytes were taken from the session.
    pub(super) taken: usize,
}

/// A session, and the Ruby calls of its requests, which the call with the reader lock runs.
pub(super) struct ActiveSession {
    pub(super) session: Session,
    pub(super) calls: Option<Arc<AsyncMutex<CallReceiver>>>,
    /// The read as an inline job, for the first call that has the reader lock.
    pub(super) job: Mutex<Option<Job<bool>>>,
    /// The callers that have the reader lock or wait for it.
    pub(super) callers: Mutex<Vec<Caller>>,
}

impl ActiveSession {
    pub(super) fn new(session: Session, calls: Option<CallReceiver>, job: Option<Job<bool>>) -> Self {
        Self {
            session,
            calls: calls.map(|calls| Arc::new(AsyncMutex::new(calls))),
            job: Mutex::new(job),
            callers: Mutex::default(),
        }
    }
}
