//! Where a batch begins, and whether it ends with a response. A position never lies inside a record, because a read
//! that starts there would miss the record. So a response that ends inside one belongs to the same batch as the next.

use super::cursor::{Position, Progress};
use super::event::ReadEvent;
use super::payload::Part;

/// A batch ends at this size, even though its last response ends inside a record. Some servers end every response of
/// several MiB inside one, so the whole stream would be one batch.
const MAX_BATCH_BYTES: usize = 32 * 1024 * 1024;

/// The batch in the making.
#[derive(Debug)]
pub(super) struct Batch {
    /// The last position that is not inside a record. Its `skip` counts what was handed out since.
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

    /// The read has found its first position.
    pub(super) fn begin_at(&mut self, position: &Position) -> ReadEvent {
        self.start = position.clone();
        ReadEvent::Position(position.clone())
    }

    /// Some of its content.
    pub(super) fn part(&mut self, part: Part) -> ReadEvent {
        self.add(&part);
        ReadEvent::Part(part)
    }

    /// A response ends with a record, at this position.
    pub(super) fn end(&mut self, position: &Position, last: Option<Part>, progress: Progress) -> ReadEvent {
        self.start = position.clone();
        self.bytes = 0;
        ReadEvent::End(last, progress)
    }

    /// A response ends inside a record. A batch that is too large ends nevertheless, without another offset: the next
    /// read skips what the application has.
    pub(super) fn end_inside_record(&mut self, last: Option<Part>, progress: Progress) -> Option<ReadEvent> {
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
        self.start.skip += part.count();
        self.bytes += part.bytes().len();
    }
}
