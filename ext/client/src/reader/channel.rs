//! The channel between a session and the application: it delivers events in order and buffers a bounded number of
//! bytes. It wakes a waiting receiver for parts of a response only when they have as many bytes as the receiver wants.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use durable_streams_protocol::error::{Error, Kind, Result};
use durable_streams_protocol::read::event::ReadEvent;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use crate::lock::Mutex;

/// How many bytes the channel buffers.
const WINDOW: u32 = 1024 * 1024;
/// Counted for each event beside its bytes, so that empty events are bounded too.
const OVERHEAD: usize = 512;

/// Makes an empty channel.
pub(crate) fn channel() -> (EventSender, EventReceiver) {
    let channel = Arc::new(Channel {
        state: Mutex::new(ChannelState::default()),
        space: Arc::new(Semaphore::new(WINDOW as usize)),
    });
    let sender = EventSender {
        channel: Arc::clone(&channel),
        request_permit: Arc::new(Semaphore::new(1)),
    };
    (sender, EventReceiver(channel))
}

/// What the sender and the receiver share.
struct Channel {
    state: Mutex<ChannelState>,
    space: Arc<Semaphore>,
}

#[derive(Default)]
struct ChannelState {
    queue: VecDeque<QueuedEvent>,
    /// The bytes of the parts in the queue.
    bytes: usize,
    /// Whether the queued events may be taken now, however few bytes they have.
    ready: bool,
    /// Whether the sender has ended.
    ended: bool,
    /// The waiting receiver, and how many bytes must be queued to wake it.
    waiting: Option<(Waker, usize)>,
}

impl ChannelState {
    /// Whether a receiver that wants `least` bytes may take the queued events, if there are any.
    fn is_ready(&self, least: usize) -> bool {
        self.ready || self.ended || self.bytes >= least
    }
}

struct QueuedEvent {
    event: Result<ReadEvent>,
    bytes: usize,
    _space: Option<OwnedSemaphorePermit>,
    _request_permit: Option<OwnedSemaphorePermit>,
}

impl Channel {
    /// Changes the state, and wakes the receiver if it need not wait any longer.
    fn change(&self, change: impl FnOnce(&mut ChannelState)) {
        let mut state = self.state.lock();
        change(&mut state);
        let woken = match state.waiting {
            Some((_, least)) if state.is_ready(least) => state.waiting.take(),
            _ => None,
        };
        drop(state);
        if let Some((waker, _)) = woken {
            waker.wake();
        }
    }
}

/// The session's end of the channel. If it is dropped without [`EventSender::end`], the receiver gets an error, so that
/// a panic is not mistaken for the end of the stream.
pub(crate) struct EventSender {
    channel: Arc<Channel>,
    request_permit: Arc<Semaphore>,
}

impl Drop for EventSender {
    fn drop(&mut self) {
        let has_ended = self.channel.state.lock().ended;
        if !has_ended {
            let reason = "internal error: the read ended without an outcome".to_owned();
            self.send_unbounded(Err(Error::plain(Kind::Internal, reason)));
            self.channel.change(|state| state.ended = true);
        }
    }
}

impl EventSender {
    /// Sends an event that is not counted: the length of a response, an outage, or the read's error.
    pub(crate) fn send_unbounded(&self, event: Result<ReadEvent>) {
        self.push(event, 0, None, None);
    }

    /// Sends an event as soon as the channel has space. `permit` is released when the receiver takes the event.
    pub(crate) async fn send(&self, event: ReadEvent, permit: Option<OwnedSemaphorePermit>) {
        let bytes = match &event {
            ReadEvent::Part(part) | ReadEvent::End(Some(part), _) => part.bytes().len(),
            ReadEvent::End(None, _) | ReadEvent::Length(_) | ReadEvent::Retry(_) | ReadEvent::Outage(_) => 0,
        };
        let weight = u32::try_from(bytes + OVERHEAD).unwrap_or(WINDOW).min(WINDOW);
        let space = match Arc::clone(&self.channel.space).try_acquire_many_owned(weight) {
            Ok(space) => Some(space),
            // Never happens, because the semaphore is never closed. The event would only not be counted.
            Err(TryAcquireError::Closed) => None,
            Err(TryAcquireError::NoPermits) => {
                self.channel.change(|state| state.ready = true);
                Arc::clone(&self.channel.space).acquire_many_owned(weight).await.ok()
            }
        };
        self.push(Ok(event), bytes, space, permit);
    }

    /// Ends the channel: no further event follows.
    pub(crate) fn end(self) {
        self.channel.change(|state| state.ended = true);
    }

    /// Waits until the application has taken the end of the last response.
    pub(crate) async fn request_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.request_permit).acquire_owned().await.ok()
    }

    fn push(
        &self,
        event: Result<ReadEvent>,
        bytes: usize,
        space: Option<OwnedSemaphorePermit>,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        self.channel.change(|state| {
            state.ready |= !matches!(event, Ok(ReadEvent::Part(_) | ReadEvent::Length(_)));
            state.bytes += bytes;
            state.queue.push_back(QueuedEvent {
                event,
                bytes,
                _space: space,
                _request_permit: permit,
            });
        });
    }
}

/// The application's end of the channel.
pub(crate) struct EventReceiver(Arc<Channel>);

impl EventReceiver {
    /// The next event, or `None` after the last one. While only parts of a response are queued, it waits until they
    /// have `least` bytes or the channel is full. The future may be dropped at any time; no event is lost.
    pub(crate) async fn next(&mut self, least: usize) -> Option<Result<ReadEvent>> {
        poll_fn(|context| self.poll_next(context, least)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>, least: usize) -> Poll<Option<Result<ReadEvent>>> {
        let mut state = self.0.state.lock();
        state.ready = state.is_ready(least);
        let next = if state.ready { state.queue.pop_front() } else { None };
        match next {
            Some(queued) => {
                state.bytes -= queued.bytes;
                // The events behind it may be taken without waiting.
                state.ready = !state.queue.is_empty();
                drop(state);
                Poll::Ready(Some(queued.event))
            }
            None if state.ended => Poll::Ready(None),
            None => {
                state.ready = false;
                state.waiting = Some((context.waker().clone(), least));
                Poll::Pending
            }
        }
    }

    /// Makes a gauge of this channel.
    pub(crate) fn gauge(&self) -> BufferGauge {
        BufferGauge(Arc::clone(&self.0))
    }
}

/// Measures how many bytes a channel buffers.
pub(crate) struct BufferGauge(Arc<Channel>);

impl BufferGauge {
    /// How many bytes are buffered, about.
    pub(crate) fn bytes(&self) -> usize {
        (WINDOW as usize).saturating_sub(self.0.space.available_permits())
    }

    /// Waits until [`EventReceiver::next`] would not wait. Do not use both at the same time: the channel wakes only one
    /// of them.
    pub(crate) async fn reached(&mut self, least: usize) {
        poll_fn(|context| {
            let mut state = self.0.state.lock();
            if state.ended || state.is_ready(least) && !state.queue.is_empty() {
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

    async fn size(receiver: &mut EventReceiver, least: usize) -> Option<usize> {
        match receiver.next(least).await?.unwrap() {
            ReadEvent::Part(part) => Some(part.bytes().len()),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn wakes_the_receiver_when_enough_bytes_are_there_and_gives_it_all_parts() {
        let (sender, mut receiver) = channel();
        sender.send(part(3), None).await;
        assert!(receiver.next(10).now_or_never().is_none());
        assert_eq!(size(&mut receiver, 3).await, Some(3));
        sender.send(part(6), None).await;
        let (first, ()) = join(size(&mut receiver, 10), sender.send(part(4), None)).await;
        assert_eq!(first, Some(6));
        assert!(receiver.next(10).now_or_never().is_some());
        assert!(receiver.next(1).now_or_never().is_none());
    }

    #[tokio::test]
    async fn wakes_the_receiver_when_the_channel_is_full() {
        let (sender, mut receiver) = channel();
        sender.send(part(100), None).await;
        let many = WINDOW as usize;
        let (first, ()) = join(size(&mut receiver, many), sender.send(part(2 * many), None)).await;
        assert_eq!((first, size(&mut receiver, many).await), (Some(100), Some(2 * many)));
    }

    #[tokio::test]
    async fn wakes_the_receiver_at_the_end() {
        let (sender, mut receiver) = channel();
        sender.send(part(1), None).await;
        sender.send_unbounded(Err(Error::plain(Kind::Internal, "x".to_owned())));
        assert_eq!(size(&mut receiver, 10).await, Some(1));
        assert!(receiver.next(10).await.unwrap().is_err());
        sender.send(part(2), None).await;
        sender.end();
        assert_eq!(size(&mut receiver, 10).await, Some(2));
        assert!(receiver.next(10).await.is_none());
    }

    #[tokio::test]
    async fn an_end_without_an_end_event_is_an_error() {
        let (sender, mut receiver) = channel();
        sender.send(part(1), None).await;
        drop(sender);
        assert_eq!(size(&mut receiver, 10).await, Some(1));
        let failure = receiver.next(10).await.unwrap().unwrap_err();
        assert!(matches!(failure.kind(), Kind::Internal), "{failure:?}");
        assert!(receiver.next(10).await.is_none());
    }
}
