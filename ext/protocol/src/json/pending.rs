//! The state that both splitters carry from one piece of a body to the next: the unfinished item and its position.

use super::block::{SplitError, SplitReason};
use bytes::Bytes;

/// The unfinished item, as far as it lies in earlier pieces, the largest size of an item, and how many to skip.
#[derive(Debug, Clone, Default)]
pub(super) struct Pending {
    /// How many items must still be dropped.
    pub(super) skip: u64,
    max_item_bytes: usize,
    /// The number of bytes of the body before the current piece.
    pub(super) before: u64,
    /// The parts of the unfinished item that earlier bodies have. They are not copied before the item is complete, so
    /// that an item in many bodies takes linear time, and a clone costs little.
    carried: Vec<Bytes>,
    carried_bytes: usize,
    unfinished: UnfinishedItem,
}

#[derive(Debug, Clone, Default)]
enum UnfinishedItem {
    #[default]
    None,
    /// The end of one piece. It is copied only when more of the item comes.
    Piece(Bytes),
    Copied(Vec<u8>),
}

impl Pending {
    pub(super) fn new(max_item_bytes: usize) -> Self {
        Self {
            max_item_bytes,
            ..Self::default()
        }
    }

    pub(super) fn error<T>(&self, at: usize, reason: SplitReason) -> Result<T, SplitError> {
        Err(SplitError {
            offset: self.before + at as u64,
            reason,
        })
    }

    /// The part of the unfinished item that this body has.
    fn unfinished(&self) -> &[u8] {
        match &self.unfinished {
            UnfinishedItem::None => &[],
            UnfinishedItem::Piece(piece) => piece,
            UnfinishedItem::Copied(bytes) => bytes,
        }
    }

    /// The size of the unfinished item in bytes.
    pub(super) fn len(&self) -> usize {
        self.carried_bytes + self.unfinished().len()
    }

    /// Whether the unfinished item has nothing but whitespace so far.
    pub(super) fn is_blank(&self) -> bool {
        self.carried.iter().all(|part| is_blank(part)) && is_blank(self.unfinished())
    }

    /// The body ends here, and the next one continues the unfinished item.
    pub(super) fn carry(&mut self) {
        let part = self.take_from_body();
        if !part.is_empty() {
            self.carried_bytes += part.len();
            self.carried.push(part);
        }
        self.before = 0;
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

    fn take_from_body(&mut self) -> Bytes {
        match std::mem::take(&mut self.unfinished) {
            UnfinishedItem::None => Bytes::new(),
            UnfinishedItem::Piece(piece) => piece,
            UnfinishedItem::Copied(bytes) => Bytes::from(bytes),
        }
    }

    /// Takes the unfinished item, and leaves none.
    pub(super) fn take(&mut self) -> Bytes {
        match self.carried.is_empty() {
            true => self.take_from_body(),
            false => Bytes::from(self.take_copied()),
        }
    }

    /// Takes the unfinished item as a buffer that can grow. Copies it if it is not one already.
    pub(super) fn take_copied(&mut self) -> Vec<u8> {
        self.carried_bytes = 0;
        let carried = std::mem::take(&mut self.carried);
        match std::mem::take(&mut self.unfinished) {
            UnfinishedItem::Copied(bytes) if carried.is_empty() => bytes,
            UnfinishedItem::None => carried.concat(),
            UnfinishedItem::Piece(last) => concat(&carried, &last),
            UnfinishedItem::Copied(last) => concat(&carried, &last),
        }
    }

    /// Checks a complete item: the unfinished one, and its `rest`, which ends at `at` in the current piece.
    #[inline]
    pub(super) fn check(&self, rest: &[u8], at: usize) -> Result<(), SplitError> {
        if is_blank(rest) && self.is_blank() {
            return self.error(at, SplitReason::EmptyItem);
        }
        self.check_size(self.len() + rest.len(), at)
    }

    /// Refuses an item, or its known part, if its `len` bytes are more than the limit.
    #[inline]
    pub(super) fn check_size(&self, len: usize, at: usize) -> Result<(), SplitError> {
        let limit = self.max_item_bytes;
        if len > limit {
            self.error(at, SplitReason::ItemTooLarge { limit })
        } else {
            Ok(())
        }
    }
}

fn concat(carried: &[Bytes], last: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(carried.iter().map(Bytes::len).sum::<usize>() + last.len());
    carried.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes.extend_from_slice(last);
    bytes
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
