//! The output of a splitter: blocks of complete items, or the reason why a body cannot be split.

use std::fmt;

use bytes::Bytes;

/// One or more complete items: JSON values separated by commas, without brackets around them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The items' text. There may be whitespace around each item.
    pub text: Bytes,
    /// The number of items in the text; never 0.
    pub items: usize,
}

/// The form of a response's JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JsonForm {
    /// One array. Its elements are the items (`application/json`).
    #[default]
    Array,
    /// Any number of values, with or without whitespace between them. Arrays are flattened by one level; any other
    /// value is one item (`application/*+json`, which servers do not flatten).
    Sequence,
    /// One value a line (`application/x-ndjson`). Each value is one item, an array too.
    Lines,
}

/// Why a body cannot be split into items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SplitError {
    /// The byte offset of the error in the body.
    pub offset: u64,
    /// What is wrong.
    pub reason: SplitReason,
}

/// What can be wrong with a body outside of its items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SplitReason {
    /// The body does not begin with `[`.
    NotAnArray,
    /// The body ends before the array, or a value, does.
    Truncated,
    /// There is text after the array's end.
    TrailingText,
    /// An item is missing: before a comma, or between the last comma and the end.
    EmptyItem,
    /// A bracket or comma does not belong to any value.
    Unbalanced,
    /// An item is larger than the limit.
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
