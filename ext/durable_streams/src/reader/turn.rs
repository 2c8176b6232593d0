//! The turn to take what a session brings: one call's at a time, of all that read by one reader.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use durable_streams_client::fork::ProcessBound;
use durable_streams_client::lock::Mutex;
use durable_streams_client::reader::Events;
use durable_streams_protocol::error::Result as CoreResult;
use durable_streams_protocol::read::event::ReadEvent;
use magnus::{Error, Ruby};
use tokio::sync::OwnedMutexGuard;

use super::state::{Closing, Running, State};
use crate::caller::Caller;
use crate::errors;
use crate::ruby_calls::CallReceiver;
use crate::wait::{Went, here};

/// Whether `caller` is within a call that has the turn or waits for it: to wait for the turn would be to wait for itself.
pub(super) fn is_within(running: &ProcessBound<Running>, caller: Caller) -> bool {
    let before = |running: &Running| running.line.lock().iter().any(|other| caller.holds_up(*other));
    running.get().is_some_and(before)
}

/// A place in the line for the turn.
struct Place {
    running: Arc<ProcessBound<Running>>,
    caller: Caller,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(running) = self.running.get() {
            running.line.lock().retain(|other| *other != self.caller);
        }
    }
}

/// The turn. Dropped before it is over, by a failure or with its fiber, it takes the session along, and with it whatever was
/// half taken: the next call reads again from the position.
pub(super) struct Turn {
    events: Events,
    pub(super) calls: Option<OwnedMutexGuard<CallReceiver>>,
    place: Place,
    state: Arc<Mutex<State>>,
    over: bool,
}

impl Turn {
    /// Waits for the turn; `None` in a forked child. Whoever had it before may have given the session up: see
    /// [`Turn::is_current`].
    pub(super) async fn begin(
        running: Arc<ProcessBound<Running>>,
        caller: Caller,
        state: Arc<Mutex<State>>,
    ) -> Option<Turn> {
        let place = Place { running, caller };
        let mine = place.running.get()?;
        mine.line.lock().push(caller);
        let (events, calls) = (mine.session.events(), mine.calls.clone());
        let events = events.await;
        let calls = match calls {
            Some(calls) => Some(calls.lock_owned().await),
            None => None,
        };
        Some(Turn {
            events,
            calls,
            place,
            state,
            over: false,
        })
    }

    /// Carries out the session's read, if that is for the caller: it saves two switches between threads, which are a sixth
    /// (over TLS) to a third of the processor time of a small read. `None` if the read has turned out not to be small, or
    /// cannot be carried out here: the session ends with the turn then, before anything of it was taken.
    pub(super) fn carry_out(self, ruby: &Ruby, closing: &Closing) -> Result<Option<Turn>, Error> {
        let work = self.place.running.get().and_then(|running| running.work.lock().take());
        let Some(work) = work else {
            return Ok(Some(self));
        };
        let Ok(mut here) = here(work).map_err(|error| errors::raise(ruby, error))? else {
            return Ok(None);
        };
        let mut closed = pin!(closing.closed());
        match here.go_on(ruby, |context| closed.as_mut().poll(context))? {
            Went::Done(outcome) => {
                let is_whole = outcome.map_err(|error| errors::raise(ruby, error))?;
                Ok(is_whole.then_some(self))
            }
            Went::Aside(()) => Ok(None),
        }
    }

    /// Waits for the next event, or for the reader to be closed: `None` then, and at the end. Parts of an answer are worth
    /// waking for when they are `least` bytes together.
    pub(super) async fn next(mut self, closing: Arc<Closing>, least: usize) -> (Option<CoreResult<ReadEvent>>, Turn) {
        let event = tokio::select! {
            biased;
            () = closing.closed() => None,
            event = self.events.next(least) => event,
        };
        (event, self)
    }

    /// All that was taken has been handed out.
    pub(super) fn over(mut self) {
        self.over = true;
    }

    /// Whether the reader goes on with this session.
    pub(super) fn is_current(&self) -> bool {
        let session = &self.state.lock().session;
        session
            .as_ref()
            .is_some_and(|held| Arc::ptr_eq(held, &self.place.running))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.over && self.is_current() {
            self.state.lock().session = None;
        }
    }
}
