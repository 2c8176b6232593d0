//! Queues of events that wait for the thread that delivers them.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::event::{Event, EventDetails};
use crate::fork::{ProcessBound, ProcessLocal};
use crate::lock::Mutex;
use crate::log::{self, LogLine};

/// How many events a queue has at most. Then the oldest are dropped.
const LIMIT: usize = 1_000;

/// A call delivers its events when it ends, but those before a pause of this length at once. An append that has
/// followers would let another append send their request meanwhile, because subscribers may wait for one of them.
const LONG_PAUSE: Duration = Duration::from_secs(1);

/// What owns events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Owner {
    /// A call that waits for a request.
    #[default]
    Call,
    /// A reader, which may wait for data for hours. It delivers all events at once.
    Reader,
}

/// The events of one owner.
#[derive(Debug, Default)]
pub struct EventQueue(Mutex<QueueState>);

#[derive(Debug, Default)]
struct QueueState {
    owner: Owner,
    events: VecDeque<Event>,
    /// How many events were dropped since the log last said so.
    dropped: u64,
    /// The owner, if it waits for events.
    waker: Option<Waker>,
    /// Whether the owner has gone.
    is_abandoned: bool,
}

impl QueueState {
    fn push(&mut self, event: Event) {
        if self.events.len() >= LIMIT {
            self.events.pop_front();
            self.dropped += 1;
        }
        self.events.push_back(event);
    }

    /// Says in the log how many events were dropped.
    fn report_dropped(&mut self) {
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            log::add(LogLine::warning(format!(
                "{dropped} events were dropped, because more than {LIMIT} waited for the subscribers"
            )));
        }
    }
}

impl EventQueue {
    /// Adds an event, and wakes the owner if it waits for such an event. If the owner has gone, the event becomes
    /// unowned.
    pub(crate) fn put(&self, event: Event) {
        let mut state = self.0.lock();
        if state.is_abandoned {
            drop(state);
            return put_unowned(event);
        }
        let wakes = state.owner == Owner::Reader || is_before_long_pause(&event);
        state.push(event);
        let waker = if wakes { state.waker.take() } else { None };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The owner of a queue's events: a call that waits, or a reader. When it is dropped, its events become unowned. In a
/// forked child it has none.
pub struct EventOwner(ProcessBound<Arc<EventQueue>>);

impl EventOwner {
    /// Makes an owner, and the queue for its requests.
    pub fn new(owner: Owner) -> (Self, Arc<EventQueue>) {
        let queue = Arc::new(EventQueue(Mutex::new(QueueState {
            owner,
            ..QueueState::default()
        })));
        (Self(ProcessBound::new(Arc::clone(&queue))), queue)
    }

    /// Takes the events.
    pub fn take(&mut self) -> Vec<Event> {
        let Some(queue) = self.0.get() else { return Vec::new() };
        let mut state = queue.0.lock();
        state.report_dropped();
        std::mem::take(&mut state.events).into()
    }

    /// Takes the events if the owner should deliver them now. If not, the task is woken when it should.
    pub fn poll_take(&mut self, context: &mut Context<'_>) -> Poll<Vec<Event>> {
        let Some(queue) = self.0.get() else {
            return Poll::Pending;
        };
        let mut state = queue.0.lock();
        let is_due = match state.owner {
            Owner::Reader => !state.events.is_empty(),
            Owner::Call => state.events.iter().any(is_before_long_pause),
        };
        if !is_due {
            state.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        drop(state);
        Poll::Ready(self.take())
    }
}

impl Drop for EventOwner {
    fn drop(&mut self) {
        let Some(queue) = self.0.get() else { return };
        let mut state = queue.0.lock();
        state.is_abandoned = true;
        state.report_dropped();
        let events = std::mem::take(&mut state.events);
        drop(state);
        events.into_iter().for_each(put_unowned);
    }
}

fn is_before_long_pause(event: &Event) -> bool {
    matches!(event.details, EventDetails::Retry { delay, .. } if delay >= LONG_PAUSE)
}

static UNOWNED: ProcessLocal<EventQueue> = ProcessLocal::new();
static LISTENER: OnceLock<fn()> = OnceLock::new();

/// Has `listener` called when there are unowned events, and there were none before. It is called on any thread, so it
/// must be quick. Only the first call has an effect.
pub fn on_unowned(listener: fn()) {
    let _set_before = LISTENER.set(listener);
}

/// Puts an event into the queue of its owner, if it has one.
pub(crate) fn put(owner: Option<&Arc<EventQueue>>, event: Event) {
    match owner {
        Some(queue) => queue.put(event),
        None => put_unowned(event),
    }
}

/// Adds an event without an owner.
pub fn put_unowned(event: Event) {
    let queue = UNOWNED.get_or_make(EventQueue::default);
    let mut state = queue.0.lock();
    let was_empty = state.events.is_empty();
    state.push(event);
    drop(state);
    if let (true, Some(listener)) = (was_empty, LISTENER.get()) {
        listener();
    }
}

/// Takes the oldest unowned event, and says whether there are more.
pub fn next_unowned() -> Option<(Event, bool)> {
    let queue = UNOWNED.get()?;
    let mut state = queue.0.lock();
    state.report_dropped();
    let event = state.events.pop_front()?;
    Some((event, !state.events.is_empty()))
}

/// Whether there are unowned events.
pub fn has_unowned() -> bool {
    UNOWNED.get().is_some_and(|queue| !queue.0.lock().events.is_empty())
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use durable_streams_protocol::error::Operation;
    use futures_util::FutureExt;

    use super::*;

    fn event(number: usize) -> Event {
        Event::now(EventDetails::Application(Arc::new(number)))
    }

    fn number(event: &Event) -> usize {
        match &event.details {
            EventDetails::Application(number) => *number.downcast_ref().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn retry(delay: Duration) -> Event {
        Event::now(EventDetails::Retry {
            operation: Operation::Append,
            url: String::new(),
            attempt: 1,
            delay,
            reason: String::new(),
        })
    }

    #[tokio::test]
    async fn wakes_a_reader_for_every_event() {
        let (mut owner, queue) = EventOwner::new(Owner::Reader);
        let waiting = tokio::spawn(async move { poll_fn(|context| owner.poll_take(context)).await });
        tokio::task::yield_now().await;
        queue.put(event(1));
        assert_eq!(waiting.await.unwrap().iter().map(number).collect::<Vec<_>>(), [1]);
    }

    #[tokio::test]
    async fn wakes_a_call_only_before_a_long_pause() {
        let (mut owner, queue) = EventOwner::new(Owner::Call);
        queue.put(event(1));
        queue.put(retry(LONG_PAUSE / 2));
        let mut waiting = tokio::spawn(async move { poll_fn(|context| owner.poll_take(context)).await });
        tokio::task::yield_now().await;
        queue.put(event(2));
        assert!((&mut waiting).now_or_never().is_none());
        queue.put(retry(LONG_PAUSE));
        assert_eq!(waiting.await.unwrap().len(), 4);
    }

    #[test]
    fn the_events_of_an_owner_that_has_gone_are_unowned() {
        let (owner, queue) = EventOwner::new(Owner::Call);
        queue.put(event(1));
        drop(owner);
        queue.put(event(2));
        let unowned = std::iter::from_fn(next_unowned).map(|(event, more)| (number(&event), more));
        assert_eq!(unowned.collect::<Vec<_>>(), [(1, true), (2, false)]);
    }

    #[test]
    fn drops_the_oldest_events_beyond_the_limit() {
        let mut state = QueueState::default();
        (0..LIMIT + 3).for_each(|number| state.push(event(number)));
        assert_eq!((state.events.len(), state.dropped), (LIMIT, 3));
        assert_eq!(state.events.front().map(number), Some(3));
    }
}
