//! State that a reader and the calls that read from it share.

use std::sync::Arc;
use std::time::Instant;

use durable_streams_client::fork::ProcessBound;
use durable_streams_client::inline::job::Job;
use durable_streams_client::lock::Mutex;
use durable_streams_client::reader::Session;
use durable_streams_protocol::read::cursor::{Position, Progress};
use durable_streams_protocol::read::payload::{Part, Units};
use tokio::sync::Mutex as AsyncMutex;

use crate::caller::Caller;
use crate::caller_work::CallerWork;

/// A call that wants a whole batch of items is woken when this many bytes are there.
pub(super) const ITEMS_BATCH_BYTES: usize = 64 * 1024;

/// What one wait returned.
pub(super) enum ReadStep {
    /// The response has so many bytes.
    Length(usize),
    Part(Part),
    /// The last part of the batch, if there is one, and the position after it.
    Rest(Option<Part>, Progress),
    /// The read ended, or the reader was closed.
    End,
    /// The call's time limit passed.
    Limit,
}

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
    /// How much of the batch in the making Ruby has.
    pub(super) of_batch: Units,
    /// When a call began to wait for that batch, if somebody wants its event.
    pub(super) batch_began: Option<Instant>,
}

/// A session, and its work, which the call with the reader lock does.
pub(super) struct ActiveSession {
    pub(super) session: Session,
    pub(super) work: Option<Arc<AsyncMutex<CallerWork>>>,
    /// The read as an inline job, for the first call that has the reader lock.
    pub(super) job: Mutex<Option<Job<bool>>>,
    /// The callers that have the reader lock or wait for it.
    pub(super) callers: Mutex<Vec<Caller>>,
}

impl ActiveSession {
    pub(super) fn new(session: Session, work: Option<CallerWork>, job: Option<Job<bool>>) -> Self {
        Self {
            session,
            work: work.map(|work| Arc::new(AsyncMutex::new(work))),
            job: Mutex::new(job),
            callers: Mutex::default(),
        }
    }
}
