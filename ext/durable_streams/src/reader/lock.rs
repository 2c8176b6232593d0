//! The reader lock: only the call that has it may take from a session.

use std::future::{Future, pending};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use durable_streams_client::close_signal::CloseSignal;
use durable_streams_client::events::Event;
use durable_streams_client::fork::ProcessBound;
use durable_streams_client::inline::job::Job;
use durable_streams_client::lock::Mutex;
use durable_streams_client::reader::EventsLock;
use durable_streams_client::runtime::Timer;
use durable_streams_protocol::error::Result as CoreResult;
use durable_streams_protocol::read::event::ReadEvent;
use magnus::{Error, Ruby};
use tokio::sync::OwnedMutexGuard;

use super::state::{ActiveSession, ReaderState};
use crate::caller::Caller;
use crate::caller_work::{CallerWork, deliver_during};
use crate::errors;
use crate::wait::{InlineOutcome, start_inline};

/// Whether `caller` is inside a call that has the reader lock or waits for it. Waiting for the lock would be a
/// deadlock.
pub(super) fn is_within(session: &ProcessBound<ActiveSession>, caller: Caller) -> bool {
    let holds_up = |session: &ActiveSession| session.callers.lock().iter().any(|other| caller.holds_up(*other));
    session.get().is_some_and(holds_up)
}

/// What a wait for the next event brings.
pub(super) enum Awaited {
    Event(CoreResult<ReadEvent>),
    /// The read ended, or the reader was closed.
    End,
    /// The call's time limit passed.
    Limit,
}

/// The entry of a caller in [`ActiveSession::callers`]. Dropping it removes the entry.
struct CallerEntry {
    session: Arc<ProcessBound<ActiveSession>>,
    caller: Caller,
}

impl Drop for CallerEntry {
    fn drop(&mut self) {
        if let Some(session) = self.session.get() {
            session.callers.lock().retain(|other| *other != self.caller);
        }
    }
}

/// The reader lock. If it is dropped before [`ReaderLock::complete`], because of an error or with its fiber, it
/// discards the session and what was taken of an incomplete batch: the next call reads again from the position.
pub(super) struct ReaderLock {
    events: EventsLock,
    pub(super) work: Option<OwnedMutexGuard<CallerWork>>,
    /// Completes when the call that has the lock is to stop waiting.
    pub(super) limit: Option<Timer>,
    entry: CallerEntry,
    state: Arc<Mutex<ReaderState>>,
    completed: bool,
}

impl ReaderLock {
    /// Waits for the reader lock; `None` in a forked child. The previous owner may have discarded the session: see
    /// [`ReaderLock::is_current`].
    pub(super) async fn acquire(
        session: Arc<ProcessBound<ActiveSession>>,
        caller: Caller,
        state: Arc<Mutex<ReaderState>>,
    ) -> Option<Self> {
        let entry = CallerEntry { session, caller };
        let mine = entry.session.get()?;
        mine.callers.lock().push(caller);
        let (events, work) = (mine.session.lock_events(), mine.work.clone());
        let events = events.await;
        let work = match work {
            Some(work) => Some(work.lock_owned().await),
            None => None,
        };
        Some(Self {
            events,
            work,
            limit: None,
            entry,
            state,
            completed: false,
        })
    }

    /// Runs the session's read as an inline job, if there is one. That saves two thread switches, which are a sixth
    /// (over TLS) to a third of the processor time of a small read. `None` if the read turned out not to be small or
    /// cannot run inline: the session ends with this lock, before anything was taken from it.
    pub(super) fn run_inline(mut self, ruby: &Ruby, closing: &CloseSignal) -> Result<Option<Self>, Error> {
        let job = self.entry.session.get().and_then(|session| session.job.lock().take());
        let Some(job) = job else {
            return Ok(Some(self));
        };
        let Ok(mut inline) = start_inline(job.into_any()).map_err(|error| errors::raise(ruby, error))? else {
            return Ok(None);
        };
        let mut closed = pin!(closing.closed());
        loop {
            // `None`: the reader was closed.
            let poll_other = |context: &mut Context<'_>| match (closed.as_mut().poll(context), &mut self.work) {
                (Poll::Ready(()), _) => Poll::Ready(None),
                (Poll::Pending, Some(work)) => work.poll_events(context).map(Some),
                (Poll::Pending, None) => Poll::Pending,
            };
            match inline.run(ruby, poll_other)? {
                InlineOutcome::Done(outcome) => {
                    let is_whole = Job::<bool>::result(outcome).map_err(|error| errors::raise(ruby, error))?;
                    return Ok(is_whole.then_some(self));
                }
                InlineOutcome::Other(None) => return Ok(None),
                InlineOutcome::Other(Some(events)) => {
                    (self, inline) = deliver_during(ruby, events, (self, inline))?;
                }
            }
        }
    }

    /// Waits for the next event. Parts of a response are delivered once they have `least` bytes together.
    pub(super) async fn next(mut self, closing: Arc<CloseSignal>, least: usize) -> (Awaited, Self) {
        let passed = async {
            match &mut self.limit {
                Some(limit) => limit.await,
                None => pending().await,
            }
        };
        let awaited = tokio::select! {
            biased;
            () = closing.closed() => Awaited::End,
            event = self.events.next(least) => event.map_or(Awaited::End, Awaited::Event),
            () = passed => Awaited::Limit,
        };
        (awaited, self)
    }

    /// Releases the lock after Ruby got everything that was taken. Returns the events that are left to deliver.
    pub(super) fn complete(mut self) -> Vec<Event> {
        self.completed = true;
        self.take_events()
    }

    /// The events that were not delivered yet.
    pub(super) fn take_events(&mut self) -> Vec<Event> {
        let work = self.work.as_mut();
        work.map(|work| work.take_events()).unwrap_or_default()
    }

    /// Whether the reader still uses this session.
    pub(super) fn is_current(&self) -> bool {
        let session = &self.state.lock().session;
        session
            .as_ref()
            .is_some_and(|session| Arc::ptr_eq(session, &self.entry.session))
    }
}

impl Drop for ReaderLock {
    fn drop(&mut self) {
        if !self.completed && self.is_current() {
            self.state.lock().session = None;
        }
    }
}
