//! The state that both splitters carry from one piece of a body to the next: the unfinished item and its position.

use super::block::{Limits, SplitError, SplitReason};
use bytes::Bytes;

/// The unfinished item, as far as it lies in earlier pieces, and the limits and counts of items.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// How many items must still be dropped.
    pub(super) skip: u64,
    pub(super) limits: Limits,
    /// The number of bytes of the body before the current piece.
    pub(super) before: u64,
    unfinished: UnfinishedItem,
}

#[derive(Debug, Default)]
enum UnfinishedItem {
    #[default]
    None,
    /// The end of one piece. It is copied only when more of the item comes.
    Piece(Bytes),
    Copied(Vec<u8>),
}

impl Pending {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    pub(super) fn error<T>(&self, at: usize, reason: SplitReason) -> Result<T, SplitError> {
        Err(SplitError {
            offset: self.before + at as u64,
            reason,
        })
    }

    pub(super) fn unfinished(&self) -> &[u8] {
        match &self.unfinished {
            UnfinishedItem::None => &[],
            UnfinishedItem::Piece(piece) => piece,
            UnfinishedItem::Copied(bytes) => bytes,
        }
    }

    /// Adds the part of a piece that belongs to the unfinished item.
    pub(super) fn extend(&mut self, part: Bytes) {
        if part.is_empty() {
            return;
        }
        self.unfinished = match std::mem::take(&mut self.unfinished) {
            UnfinishedItem::None => UnfinishedItem::Piece(part),
            UnfinishedItem::Piece(first) => {
                let mut bytes = Vec::with_capacity((first.len() + part.len()).next_power_of_two());
                bytes.extend_from_slice(&first);
                bytes.extend_from_slice(&part);
                UnfinishedItem::Copied(bytes)
            }
            UnfinishedItem::Copied(mut bytes) => {
                bytes.extend_from_slice(&part);
                UnfinishedItem::Copied(bytes)
            }
        };
    }

    /// Takes the unfinished item, and leaves none.
    pub(super) fn take(&mut self) -> Bytes {
        match std::mem::take(&mut self.unfinished) {
            UnfinishedItem::None => Bytes::new(),
            UnfinishedItem::Piece(piece) => piece,
            UnfinishedItem::Copied(bytes) => Bytes::from(bytes),
        }
    }

    /// Takes the unfinished item as a buffer that can grow. Copies it if it is a slice of one piece.
    pub(super) fn take_copied(&mut self) -> Vec<u8> {
        match std::mem::take(&mut self.unfinished) {
            UnfinishedItem::None => Vec::new(),
            UnfinishedItem::Piece(piece) => piece.to_vec(),
            UnfinishedItem::Copied(bytes) => bytes,
        }
    }

    /// Checks a complete item: the unfinished one, and its `rest`, which ends at `at` in the current piece.
    #[inline]
    pub(super) fn check(&self, rest: &[u8], at: usize) -> Result<(), SplitError> {
        let unfinished = self.unfinished();
        if is_blank(rest) && is_blank(unfinished) {
            return self.error(at, SplitReason::EmptyItem);
        }
        self.check_size(unfinished.len() + rest.len(), at)
    }

    /// Refuses an item, or its known part, if its `len` bytes are more than the limit.
    #[inline]
    pub(super) fn check_size(&self, len: usize, at: usize) -> Result<(), SplitError> {
        let limit = self.limits.item_bytes;
        if len > limit {
            self.error(at, SplitReason::ItemTooLarge { limit })
        } else {
            Ok(())
        }
    }
}

/// Whether a byte is whitespace in JSON.
#[inline]
pub(super) fn is_blank_byte(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

#[inline]
pub(super) fn is_blank(text: &[u8]) -> bool {
    text.iter().all(|&byte| is_blank_byte(byte))
}
