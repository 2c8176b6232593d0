//! Where a batch begins, and whether it ends with a response. A position never lies inside a record, because a read
//! that starts there would miss the record. And it never lies before what was handed out, because a read that starts
//! there would repeat it. So a response that ends at such a position belongs to the same batch as the next one.

use super::cursor::{Position, Progress};
use super::event::ReadEvent;
use super::payload::Part;

/// A batch ends at this size, even though there is no new position. Some servers end every response of several MiB
/// inside a record, so the whole stream would be one batch.
const MAX_BATCH_BYTES: usize = 32 * 1024 * 1024;

/// The batch in the making.
#[derive(Debug)]
pub(super) struct Batch {
    /// The position at the end of the last batch. Its `skip` counts what was handed out since then. Ruby's own position
    /// mirrors this one.
    start: Position,
    /// How many bytes the batch has.
    bytes: usize,
    pub(super) max_bytes: usize,
}

impl Batch {
    /// An empty batch.
    pub(super) fn new(start: Position) -> Self {
        Self {
            start,
            bytes: 0,
            max_bytes: MAX_BATCH_BYTES,
        }
    }

    /// Some of its content.
    pub(super) fn part(&mut self, part: Part) -> ReadEvent {
        self.add(&part);
        ReadEvent::Part(part)
    }

    /// The batch ends with a response, at this position.
    pub(super) fn end(&mut self, position: &Position, last: Option<Part>, progress: Progress) -> ReadEvent {
        self.start = position.clone();
        self.bytes = 0;
        ReadEvent::End(last, progress)
    }

    /// A response ends, but the batch goes on. If it is too large, it ends nevertheless, without another offset: the
    /// next read skips what the application has.
    pub(super) fn go_on(&mut self, last: Option<Part>, progress: Progress) -> Option<ReadEvent> {
        last.iter().for_each(|part| self.add(part));
        if self.bytes < self.max_bytes {
            return last.map(ReadEvent::Part);
        }
        self.bytes = 0;
        let progress = Progress {
            next_offset: self.start.offset.clone(),
            cursor: self.start.cursor.clone(),
            skip: self.start.skip,
            up_to_date: false,
            ..progress
        };
        Some(ReadEvent::End(last, progress))
    }

    fn add(&mut self, part: &Part) {
        self.start.skip += part.units();
        self.bytes += part.bytes().len();
    }
}
