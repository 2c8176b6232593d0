//! Collects data events until the control event that has their end position.

use std::{mem, vec};

use bytes::Bytes;

use super::error::SseError;

/// Data events in order. A limit protects the memory from a server that never sends the control event.
#[derive(Debug)]
pub struct DataEventBuffer {
    events: Vec<DataEvent>,
    /// The events that were copied, in one allocation. The allocator returns one large allocation to the system when it
    /// is freed, but not a million small ones (glibc retained 300 of 400 MB).
    copied: Vec<u8>,
    /// How many events [`DataEventBuffer::release_piece`] has handled.
    released: usize,
    /// The bytes of the events that were not taken.
    bytes: usize,
    /// Whether there was an event since the last control event.
    any: bool,
    /// The size of all events since the last control event.
    size: usize,
    limit: usize,
}

#[derive(Debug)]
enum DataEvent {
    /// As the decoder returned it: perhaps a slice of a piece of the body.
    Uncopied(Bytes),
    /// The next bytes of the copied events: this many.
    Copied(usize),
}

/// The memory of an event beside its bytes. It counts, so that the number of empty events is limited too.
const OVERHEAD: usize = size_of::<DataEvent>();

impl DataEventBuffer {
    /// An empty buffer. The events between two control events may have `limit` bytes in total. A single event is always
    /// accepted; [`RawEventDecoder::new`](super::RawEventDecoder::new) limits it.
    pub fn new(limit: usize) -> Self {
        Self {
            events: Vec::new(),
            copied: Vec::new(),
            released: 0,
            bytes: 0,
            any: false,
            size: 0,
            limit,
        }
    }

    /// Adds the next event.
    ///
    /// # Errors
    /// [`SseError::TooMuchWithoutControl`] if the events are larger than the limit. They are dropped.
    pub fn push(&mut self, data: Bytes) -> Result<(), SseError> {
        self.size = self.size.saturating_add(data.len().saturating_add(OVERHEAD));
        if mem::replace(&mut self.any, true) && self.size > self.limit {
            drop(self.take());
            return Err(SseError::TooMuchWithoutControl { limit: self.limit });
        }
        self.bytes += data.len();
        self.events.push(DataEvent::Uncopied(data));
        Ok(())
    }

    /// The control event is there: takes the events since the last call.
    pub fn take(&mut self) -> DataEvents {
        (self.any, self.size) = (false, 0);
        self.take_events()
    }

    /// The control event is not there yet. Takes the events since the last call, and `unfinished`, the beginning of the
    /// next one. They count towards the limit.
    pub fn take_early(&mut self, unfinished: &Bytes) -> DataEvents {
        self.size = self.size.saturating_add(unfinished.len());
        self.take_events()
    }

    fn take_events(&mut self) -> DataEvents {
        (self.released, self.bytes) = (0, 0);
        DataEvents {
            events: mem::take(&mut self.events).into_iter(),
            copied: mem::take(&mut self.copied).into(),
        }
    }

    /// The size of the events that were not taken.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Call this before waiting for the next piece of the body. It copies the events that are less than half of the
    /// last piece, which has `size` bytes. Otherwise a small event would prevent the whole piece from being freed.
    pub fn release_piece(&mut self, size: usize) {
        for event in &mut self.events[self.released..] {
            if let DataEvent::Uncopied(data) = event
                && data.len() < size / 2
            {
                self.copied.extend_from_slice(data);
                *event = DataEvent::Copied(data.len());
            }
        }
        self.released = self.events.len();
    }
}

/// Data events taken from a [`DataEventBuffer`], in order.
#[derive(Debug)]
pub struct DataEvents {
    events: vec::IntoIter<DataEvent>,
    copied: Bytes,
}

impl Iterator for DataEvents {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        Some(match self.events.next()? {
            DataEvent::Uncopied(data) => data,
            DataEvent::Copied(size) => self.copied.split_to(size),
        })
    }
}
