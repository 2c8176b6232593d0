//! What a splitter gives out: blocks of complete items, or the reason why a body cannot be cut into items.

use std::fmt;

use bytes::Bytes;

/// One or more complete items, as they stand in the body: values with commas between them, no brackets around them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The items' text. Whitespace may stand around each item.
    pub text: Bytes,
    /// How many items the text holds; never 0.
    pub items: usize,
}

/// What the body of a response looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JsonForm {
    /// One JSON array, whose elements are the items (`application/json`).
    #[default]
    Array,
    /// Any number of values one after another, with or without whitespace between them. An array among them is
    /// flattened by one level; any other value is one item (`application/*+json`, which servers do not flatten).
    Sequence,
}

/// What a [`Splitter`](super::Splitter) puts up with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest size in bytes of one item, whitespace around it included.
    pub item_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { item_bytes: usize::MAX }
    }
}

/// Why a body cannot be cut into items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SplitError {
    /// Byte offset in the body where it went wrong.
    pub offset: u64,
    /// What went wrong.
    pub reason: SplitReason,
}

/// The ways in which a body can be wrong outside of its items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SplitReason {
    /// The body does not begin with `[`.
    NotAnArray,
    /// The body ends before the array, or a value, does.
    Truncated,
    /// There is something after the array's end.
    TrailingText,
    /// Nothing stands where an item should: before a comma, or between the last comma and the end.
    EmptyItem,
    /// A bracket or comma that belongs to no value.
    Unbalanced,
    /// An item is larger than [`Limits::item_bytes`].
    ItemTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
}

impl fmt::Display for SplitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offset = self.offset;
        match self.reason {
            SplitReason::NotAnArray => write!(f, "the response is not a JSON array (byte {offset})"),
            SplitReason::Truncated => write!(f, "the response ends in the middle of its JSON (after byte {offset})"),
            SplitReason::TrailingText => write!(f, "there is text after the response's JSON array (byte {offset})"),
            SplitReason::EmptyItem => write!(f, "an item is missing in the response's JSON (byte {offset})"),
            SplitReason::Unbalanced => write!(
                f,
                "a bracket or comma out of place in the response's JSON (byte {offset})"
            ),
            SplitReason::ItemTooLarge { limit } => {
                write!(
                    f,
                    "an item of the response is larger than {limit} bytes (byte {offset})"
                )
            }
        }
    }
}

impl std::error::Error for SplitError {}
