//! Cuts the body of a JSON response, while it arrives, into blocks of complete items.
//!
//! Sans-IO: pieces of the body go in, [`Block`]s come out. Only strings and brackets are followed; whether an item is
//! valid JSON inside is for whoever parses it to say. Every byte is looked at once, however the body was cut and however
//! large an item is, and what a piece holds of complete items is handed on as a slice of that piece. Only an item that
//! lies in several pieces is copied.

use super::array::Array;
use super::sequence::Sequence;
use bytes::Bytes;
use std::fmt;

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
pub enum Form {
    /// One JSON array, whose elements are the items (`application/json`).
    #[default]
    Array,
    /// Any number of values one after another, with or without whitespace between them. An array among them is
    /// flattened by one level; any other value is one item (`application/*+json`, which servers do not flatten).
    Sequence,
}

/// What a [`Splitter`] puts up with.
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

/// Cuts a body into blocks of items. One splitter serves one body.
#[derive(Debug)]
pub struct Splitter {
    form: FormState,
    failed: Option<SplitError>,
}

#[derive(Debug)]
enum FormState {
    Array(Array),
    Sequence(Sequence),
}

impl Splitter {
    /// A splitter for a body of the given form.
    pub fn new(form: Form, limits: Limits) -> Self {
        let form = match form {
            Form::Array => FormState::Array(Array::new(limits)),
            Form::Sequence => FormState::Sequence(Sequence::new(limits)),
        };
        Self { form, failed: None }
    }

    /// Drops the first `items` items instead of handing them out: for a body that is read again after it broke off.
    /// To be called before the first piece. See [`Splitter::left_to_skip`].
    #[must_use]
    pub fn skip(mut self, items: u64) -> Self {
        match &mut self.form {
            FormState::Array(array) => array.pending.skip = items,
            FormState::Sequence(sequence) => sequence.pending.skip = items,
        }
        self
    }

    /// How many items are still to be dropped. More than 0 at the body's end: it holds fewer items than were to be
    /// skipped.
    pub fn left_to_skip(&self) -> u64 {
        match &self.form {
            FormState::Array(array) => array.pending.skip,
            FormState::Sequence(sequence) => sequence.pending.skip,
        }
    }

    /// Takes the next piece of the body and hands every block that is complete now to `out`. An item is complete once
    /// what separates it from the next one was seen, so the last item of a body only comes from [`Splitter::finish`].
    ///
    /// # Errors
    ///
    /// [`SplitError`] where the body cannot be right any more. Items that were complete before that place have been
    /// handed out. Every later call returns the same error.
    pub fn push(&mut self, piece: &Bytes, mut out: impl FnMut(Block)) -> Result<(), SplitError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = match &mut self.form {
            FormState::Array(array) => array.push(piece, &mut out),
            FormState::Sequence(sequence) => sequence.push(piece, &mut out),
        };
        self.failed = result.err();
        result
    }

    /// Says that the body is complete, and returns what was held back. An empty body holds no items.
    ///
    /// # Errors
    ///
    /// [`SplitError`] where the body ends too early, or had gone wrong before.
    pub fn finish(&mut self) -> Result<Option<Block>, SplitError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = match &mut self.form {
            FormState::Array(array) => array.finish(),
            FormState::Sequence(sequence) => sequence.finish(),
        };
        self.failed = result.as_ref().err().copied();
        result
    }
}
