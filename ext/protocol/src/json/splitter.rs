//! Splits the body of a JSON response into blocks of complete items while it arrives.
//!
//! Pieces of the body go in, [`Block`]s come out. The splitter tracks strings and brackets only; the parser of the
//! items finds any other errors. It reads every byte once, regardless of the sizes of pieces and items. The complete
//! items of one piece of an array are a slice of that piece; only an item that spans several pieces is copied.
//!
//! A sequence of values may be cut anywhere between two bodies. [`Splitter::pause`] ends a body without ending the
//! item that it breaks off in.

use super::array::ArraySplitter;
use super::block::{Block, JsonForm, SplitError};
use super::sequence::{Arrays, SequenceSplitter};
use bytes::Bytes;

/// Splits a body, or consecutive bodies, into blocks of items. A clone continues independently, and costs little after
/// [`Splitter::pause`].
#[derive(Debug, Clone)]
pub struct Splitter {
    form: FormState,
    failed: Option<SplitError>,
}

#[derive(Debug, Clone)]
enum FormState {
    Array(ArraySplitter),
    Sequence(SequenceSplitter),
}

impl Splitter {
    /// A splitter for a body of the given form. An item has at most `max_item_bytes`, with the whitespace around it.
    pub fn new(form: JsonForm, max_item_bytes: usize) -> Self {
        let form = match form {
            JsonForm::Array => FormState::Array(ArraySplitter::new(max_item_bytes)),
            JsonForm::Sequence => FormState::Sequence(SequenceSplitter::new(max_item_bytes, Arrays::Flattened)),
            JsonForm::Lines => FormState::Sequence(SequenceSplitter::new(max_item_bytes, Arrays::Items)),
        };
        Self { form, failed: None }
    }

    /// Drops the next `items` items, for a body that is read again after it broke off. Call this before its first
    /// piece. See [`Splitter::left_to_skip`].
    #[must_use]
    pub fn skip(mut self, items: u64) -> Self {
        match &mut self.form {
            FormState::Array(array) => array.pending.skip = items,
            FormState::Sequence(sequence) => sequence.pending.skip = items,
        }
        self
    }

    /// How many items must still be dropped. If this is not 0 at the end, the body has fewer items than were to be
    /// skipped.
    pub fn left_to_skip(&self) -> u64 {
        match &self.form {
            FormState::Array(array) => array.pending.skip,
            FormState::Sequence(sequence) => sequence.pending.skip,
        }
    }

    /// Adds the next piece of the body, and passes every complete block to `out`. An item is complete once the
    /// separator after it was read. So only [`Splitter::finish`] returns the last item of a body.
    ///
    /// # Errors
    ///
    /// [`SplitError`] if the body is malformed. The complete items before the error have been passed to `out`. Every
    /// later call returns the same error.
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

    /// Ends a body that the next one continues, and returns the last complete item of a sequence. The next body may
    /// begin inside an item: see [`Splitter::is_within_item`]. For an array it is the same as [`Splitter::finish`],
    /// since servers never cut one.
    ///
    /// # Errors
    ///
    /// [`SplitError`] if the body was malformed.
    pub fn pause(&mut self) -> Result<Option<Block>, SplitError> {
        match &mut self.form {
            FormState::Sequence(sequence) if self.failed.is_none() => Ok(sequence.pause()),
            _ => self.finish(),
        }
    }

    /// Whether the bodies so far end inside a value. A number at the end may have more digits in the next body.
    pub fn is_within_item(&self) -> bool {
        match &self.form {
            FormState::Array(_) => false,
            FormState::Sequence(sequence) => sequence.is_within_item(),
        }
    }

    /// Ends the last body and returns its last item. An empty body has no items.
    ///
    /// # Errors
    ///
    /// [`SplitError`] if the body ends too early, or was malformed.
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
