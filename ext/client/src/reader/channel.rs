//! The way from a read under way to the application: events in order, a bounded number of bytes at a time, and for parts of
//! an answer a wake-up when there are as many as whoever waits thinks worth one.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use durable_streams_protocol::error::{Error, Kind, Result};
use durable_streams_protocol::read::event::ReadEvent;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use crate::lock::Mutex;

/// How many bytes may lie between the network and the application.
const WINDOW: u32 = 1024 * 1024;
/// What an event costs beside its bytes, so that empty ones are bounded too.
const OVERHEAD: usize = 512;

/// A new way; nothing is on it.
pub(crate) fn outlet() -> (Outlet, Inlet) {
    let way = Arc::new(Way {
        state: Mutex::new(State::default()),
        room: Arc::new(Semaphore::new(WINDOW as usize)),
    });
    let outlet = Outlet {
        way: Arc::clone(&way),
        turns: Arc::new(Semaphore::new(1)),
    };
    (outlet, Inlet(way))
}

/// What both ends share.
struct Way {
    state: Mutex<State>,
    room: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Queued>,
    /// The bytes of the parts in the queue.
    bytes: usize,
    /// What is in the queue is to be taken now, however little it is.
    ripe: bool,
    /// Nothing more is to come.
    ended: bool,
    /// Who waits, and from how many bytes on it is to be woken.
    waiting: Option<(Waker, usize)>,
}

impl State {
    /// Whether what is in the queue, if anything, is worth taking for whoever wants `least` bytes.
    fn is_ripe(&self, least: usize) -> bool {
        self.ripe || self.ended || self.bytes >= least
    }
}

struct Queued {
    event: Result<ReadEvent>,
    bytes: usize,
    _room: Option<OwnedSemaphorePermit>,
    _turn: Option<OwnedSemaphorePermit>,
}

impl Way {
    /// Changes the state, and wakes who waits if it has something to wait for no longer.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        let woken = match state.waiting {
            Some((_, least)) if state.is_ripe(least) => state.waiting.take(),
            _ => None,
        };
        drop(state);
        if let Some((waker, _)) = woken {
            waker.wake();
        }
    }
}

/// The network's end. Dropped before [`Outlet::end`], it is a failure: what ends by accident is no end of a stream.
pub(crate) struct Outlet {
    way: Arc<Way>,
    turns: Arc<Semaphore>,
}

impl Drop for Outlet {
    fn drop(&mut self) {
        let declared = self.way.state.lock().ended;
        if !declared {
            let reason = "internal error: the read ended without saying why".to_owned();
            self.tell(Err(Error::plain(Kind::Internal, reason)));
            self.way.change(|state| state.ended = true);
        }
    }
}

impl Outlet {
    /// Hands out what does not count: the beginning of an answer, or what the read has failed by.
    pub(crate) fn tell(&self, event: Result<ReadEvent>) {
        self.send(event, 0, None, None);
    }

    /// Hands out an event as soon as there is room. `turn` is given back when it was taken.
    pub(crate) async fn hand_out(&self, event: ReadEvent, turn: Option<OwnedSemaphorePermit>) {
        let bytes = match &event {
            ReadEvent::Part(part) | ReadEvent::End(Some(part), _) => part.bytes().len(),
            ReadEvent::End(None, _) | ReadEvent::Position(_) | ReadEvent::Length(_) => 0,
        };
        let weight = u32::try_from(bytes + OVERHEAD).unwrap_or(WINDOW).min(WINDOW);
        let room = match Arc::clone(&self.way.room).try_acquire_many_owned(weight) {
            Ok(room) => Some(room),
            // The semaphore is never closed; without a permit the event is only not counted.
            Err(TryAcquireError::Closed) => None,
            Err(TryAcquireError::NoPermits) => {
                self.way.change(|state| state.ripe = true);
                Arc::clone(&self.way.room).acquire_many_owned(weight).await.ok()
            }
        };
        self.send(Ok(event), bytes, room, turn);
    }

    /// There is nothing more to come.
    pub(crate) fn end(self) {
        self.way.change(|state| state.ended = true);
    }

    /// Waits until the application has taken the end of the last answer.
    pub(crate) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.turns).acquire_owned().await.ok()
    }

    fn send(
        &self,
        event: Result<ReadEvent>,
        bytes: usize,
        room: Option<OwnedSemaphorePermit>,
        turn: Option<OwnedSemaphorePermit>,
    ) {
        self.way.change(|state| {
            state.ripe |= !matches!(event, Ok(ReadEvent::Part(_) | ReadEvent::Length(_)));
            state.bytes += bytes;
            state.queue.push_back(Queued {
                event,
                bytes,
                _room: room,
                _turn: turn,
            });
        });
    }
}

/// The application's end.
pub(crate) struct Inlet(Arc<Way>);

impl Inlet {
    /// The next event, `None` after the last one. Where parts of an answer are all there is, it waits until they are
    /// `least` bytes together, or there is no room for more. Given up at any time, nothing is lost.
    pub(crate) async fn next(&mut self, least: usize) -> Option<Result<ReadEvent>> {
        poll_fn(|context| self.poll_next(context, least)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>, least: usize) -> Poll<Option<Result<ReadEvent>>> {
        let mut state = self.0.state.lock();
        state.ripe = state.is_ripe(least);
        let next = if state.ripe { state.queue.pop_front() } else { None };
        match next {
            Some(queued) => {
                state.bytes -= queued.bytes;
                // Else there is more to be taken without waiting.
                state.ripe = !state.queue.is_empty();
                drop(state);
                Poll::Ready(Some(queued.event))
            }
            None if state.ended => Poll::Ready(None),
            None => {
                state.ripe = false;
                state.waiting = Some((context.waker().clone(), least));
                Poll::Pending
            }
        }
    }

    /// What tells how much is on the way.
    pub(crate) fn gauge(&self) -> Gauge {
        Gauge(Arc::clone(&self.0))
    }
}

/// Tells how much is on the way.
pub(crate) struct Gauge(Arc<Way>);

impl Gauge {
    /// How many bytes, about.
    pub(crate) fn bytes(&self) -> usize {
        (WINDOW as usize).saturating_sub(self.0.room.available_permits())
    }

    /// Waits until [`Inlet::next`] would not. For use while nobody is in there: one alone is woken.
    pub(crate) async fn reached(&mut self, least: usize) {
        poll_fn(|context| {
            let mut state = self.0.state.lock();
            if state.ended || state.is_ripe(least) && !state.queue.is_empty() {
                return Poll::Ready(());
            }
            state.waiting = Some((context.waker().clone(), least));
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use durable_streams_protocol::read::payload::Part;
    use futures_util::FutureExt;
    use futures_util::future::join;

    fn part(bytes: usize) -> ReadEvent {
        ReadEvent::Part(Part::Bytes(Bytes::from(vec![0; bytes])))
    }

    async fn size(inlet: &mut Inlet, least: usize) -> Option<usize> {
        match inlet.next(least).await?.unwrap() {
            ReadEvent::Part(part) => Some(part.bytes().len()),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn wakes_the_receiver_when_enough_parts_are_there_and_gives_it_all() {
        let (outlet, mut inlet) = outlet();
        outlet.hand_out(part(3), None).await;
        assert!(inlet.next(10).now_or_never().is_none());
        assert_eq!(size(&mut inlet, 3).await, Some(3));
        outlet.hand_out(part(6), None).await;
        let (first, ()) = join(size(&mut inlet, 10), outlet.hand_out(part(4), None)).await;
        assert_eq!(first, Some(6));
        assert!(inlet.next(10).now_or_never().is_some());
        assert!(inlet.next(1).now_or_never().is_none());
    }

    #[tokio::test]
    async fn wakes_the_receiver_when_the_channel_is_full() {
        let (outlet, mut inlet) = outlet();
        outlet.hand_out(part(100), None).await;
        let many = WINDOW as usize;
        let (first, ()) = join(size(&mut inlet, many), outlet.hand_out(part(2 * many), None)).await;
        assert_eq!((first, size(&mut inlet, many).await), (Some(100), Some(2 * many)));
    }

    #[tokio::test]
    async fn wakes_the_receiver_at_the_end() {
        let (outlet, mut inlet) = outlet();
        outlet.hand_out(part(1), None).await;
        outlet.tell(Err(Error::plain(Kind::Internal, "x".to_owned())));
        assert_eq!(size(&mut inlet, 10).await, Some(1));
        assert!(inlet.next(10).await.unwrap().is_err());
        outlet.hand_out(part(2), None).await;
        outlet.end();
        assert_eq!(size(&mut inlet, 10).await, Some(2));
        assert!(inlet.next(10).await.is_none());
    }

    #[tokio::test]
    async fn an_end_without_an_end_event_is_an_error() {
        let (outlet, mut inlet) = outlet();
        outlet.hand_out(part(1), None).await;
        drop(outlet);
        assert_eq!(size(&mut inlet, 10).await, Some(1));
        let failure = inlet.next(10).await.unwrap().unwrap_err();
        assert!(matches!(failure.kind(), Kind::Internal), "{failure:?}");
        assert!(inlet.next(10).await.is_none());
    }
}
