//! The data events that wait for the control event that says where they end.

use std::{mem, vec};

use bytes::Bytes;

use super::error::SseError;

/// Data events in order, up to a limit: a server that never sends the control event must not fill the memory.
#[derive(Debug)]
pub struct DataEventBuffer {
    events: Vec<DataEvent>,
    /// The events that were copied. One large allocation goes back to the system when it is freed; a million small ones
    /// stay with the allocator (glibc kept 300 of 400 MB).
    copied: Vec<u8>,
    /// How many events have been looked at by [`DataEventBuffer::release_piece`].
    settled: usize,
    size: usize,
    limit: usize,
}

#[derive(Debug)]
enum DataEvent {
    /// As the decoder gave it: perhaps a slice of a piece of the body.
    Uncopied(Bytes),
    /// The next so many bytes of what was copied.
    Copied(usize),
}

/// What an event takes beside its bytes. It counts as well, or empty events would have no limit.
const OVERHEAD: usize = size_of::<DataEvent>();

impl DataEventBuffer {
    /// Nothing yet. The events between two control events may be `limit` bytes together. A single event has a limit of
    /// its own (see [`RawEventDecoder::with_limit`](super::RawEventDecoder::with_limit)) and is always taken.
    pub fn with_limit(limit: usize) -> Self {
        Self {
            events: Vec::new(),
            copied: Vec::new(),
            settled: 0,
            size: 0,
            limit,
        }
    }

    /// Adds the next event.
    ///
    /// # Errors
    /// [`SseError::TooMuchWithoutControl`] where the events are larger than the limit; they are dropped then.
    pub fn push(&mut self, data: Bytes) -> Result<(), SseError> {
        self.size = self.size.saturating_add(data.len().saturating_add(OVERHEAD));
        if !self.events.is_empty() && self.size > self.limit {
            drop(self.take());
            return Err(SseError::TooMuchWithoutControl { limit: self.limit });
        }
        self.events.push(DataEvent::Uncopied(data));
        Ok(())
    }

    /// The events since the last call.
    pub fn take(&mut self) -> DataEvents {
        (self.settled, self.size) = (0, 0);
        DataEvents {
            events: mem::take(&mut self.events).into_iter(),
            copied: mem::take(&mut self.copied).into(),
        }
    }

    /// To be called before the next piece of the body is waited for. An event may be a small part of the last piece, of
    /// `size` bytes, and would keep all of it in memory: such an event is copied.
    pub fn release_piece(&mut self, size: usize) {
        for event in &mut self.events[self.settled..] {
            if let DataEvent::Uncopied(data) = event
                && data.len() < size / 2
            {
                self.copied.extend_from_slice(data);
                *event = DataEvent::Copied(data.len());
            }
        }
        self.settled = self.events.len();
    }
}

/// Gathered events, in order.
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
