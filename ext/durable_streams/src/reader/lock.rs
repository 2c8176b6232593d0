//! The turn to take what a session brings: one call's at a time, of all that read by one reader.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use durable_streams_client::fork::ProcessBound;
use durable_streams_client::lock::Mutex;
use durable_streams_client::reader::EventsLock;
use durable_streams_protocol::error::Result as CoreResult;
use durable_streams_protocol::read::event::ReadEvent;
use magnus::{Error, Ruby};
use tokio::sync::OwnedMutexGuard;

use super::state::{ActiveSession, CloseSignal, ReaderState};
use crate::caller::Caller;
use crate::errors;
use crate::ruby_calls::CallReceiver;
use crate::wait::{InlineOutcome, start_inline};

/// Whether `caller` is within a call that has the turn or waits for it: to wait for the turn would be to wait for itself.
pub(super) fn is_within(running: &ProcessBound<ActiveSession>, caller: Caller) -> bool {
    let before = |running: &ActiveSession| running.callers.lock().iter().any(|other| caller.holds_up(*other));
    running.get().is_some_and(before)
}

/// A entry in the line for the turn.
struct CallerEntry {
    running: Arc<ProcessBound<ActiveSession>>,
    caller: Caller,
}

impl Drop for CallerEntry {
    fn drop(&mut self) {
        if let Some(running) = self.running.get() {
            running.callers.lock().retain(|other| *other != self.caller);
        }
    }
}

/// The turn. Dropped before it is completed, by a failure or with its fiber, it takes the session along, and with it whatever was
/// half taken: the next call reads again from the position.
pub(super) struct ReaderLock {
    events: EventsLock,
    pub(super) calls: Option<OwnedMutexGuard<CallReceiver>>,
    entry: CallerEntry,
    state: Arc<Mutex<ReaderState>>,
    completed: bool,
}

impl ReaderLock {
    /// Waits for the turn; `None` in a forked child. Whoever had it before may have given the session up: see
    /// [`ReaderLock::is_current`].
    pub(super) async fn acquire(
        running: Arc<ProcessBound<ActiveSession>>,
        caller: Caller,
        state: Arc<Mutex<ReaderState>>,
    ) -> Option<ReaderLock> {
        let entry = CallerEntry { running, caller };
        let mine = entry.running.get()?;
        mine.callers.lock().push(caller);
        let (events, calls) = (mine.session.lock_events(), mine.calls.clone());
        let events = events.await;
        let calls = match calls {
            Some(calls) => Some(calls.lock_owned().await),
            None => None,
        };
        Some(ReaderLock {
            events,
            calls,
            entry,
            state,
            completed: false,
        })
    }

    /// Carries out the session's read, if that is for the caller: it saves two switches between threads, which are a sixth
    /// (over TLS) to a third of the processor time of a small read. `None` if the read has turned out not to be small, or
    /// cannot be carried out here: the session ends with the turn then, before anything of it was taken.
    pub(super) fn run_inline(self, ruby: &Ruby, closing: &CloseSignal) -> Result<Option<ReaderLock>, Error> {
        let job = self.entry.running.get().and_then(|running| running.job.lock().take());
        let Some(job) = job else {
            return Ok(Some(self));
        };
        let Ok(mut inline) = start_inline(job).map_err(|error| errors::raise(ruby, error))? else {
            return Ok(None);
        };
        let mut closed = pin!(closing.closed());
        match inline.run(ruby, |context| closed.as_mut().poll(context))? {
            InlineOutcome::Done(outcome) => {
                let is_whole = outcome.map_err(|error| errors::raise(ruby, error))?;
                Ok(is_whole.then_some(self))
            }
            InlineOutcome::Other(()) => Ok(None),
        }
    }

    /// Waits for the next event, or for the reader to be closed: `None` then, and at the end. Parts of an answer are worth
    /// waking for when they are `least` bytes together.
    pub(super) async fn next(
        mut self,
        closing: Arc<CloseSignal>,
        least: usize,
    ) -> (Option<CoreResult<ReadEvent>>, ReaderLock) {
        let event = tokio::select! {
            biased;
            () = closing.closed() => None,
            event = self.events.next(least) => event,
        };
        (event, self)
    }

    /// All that was taken has been handed out.
    pub(super) fn complete(mut self) {
        self.completed = true;
    }

    /// Whether the reader goes on with this session.
    pub(super) fn is_current(&self) -> bool {
        let session = &self.state.lock().session;
        session
            .as_ref()
            .is_some_and(|session| Arc::ptr_eq(session, &self.entry.running))
    }
}

impl Drop for ReaderLock {
    fn drop(&mut self) {
        if !self.completed && self.is_current() {
            self.state.lock().session = None;
        }
    }
}
