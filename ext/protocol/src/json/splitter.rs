//! Splits the body of a JSON response into blocks of complete items while it arrives.
//!
//! Pieces of the body go in, [`Block`]s come out. The splitter tracks strings and brackets only; the parser of the
//! items finds any other errors. It reads every byte once, regardless of the sizes of pieces and items. The complete
//! items of one piece are a slice of that piece; only an item that spans several pieces is copied.

use super::array::ArraySplitter;
use super::block::{Block, JsonForm, Limits, SplitError};
use super::sequence::SequenceSplitter;
use bytes::Bytes;

/// Splits one body into blocks of items.
#[derive(Debug)]
pub struct Splitter {
    form: FormState,
    failed: Option<SplitError>,
}

#[derive(Debug)]
enum FormState {
    Array(ArraySplitter),
    Sequence(SequenceSplitter),
}

impl Splitter {
    /// A splitter for a body of the given form.
    pub fn new(form: JsonForm, limits: Limits) -> Self {
        let form = match form {
            JsonForm::Array => FormState::Array(ArraySplitter::new(limits)),
            JsonForm::Sequence => FormState::Sequence(SequenceSplitter::new(limits)),
        };
        Self { form, failed: None }
    }

    /// Drops the first `items` items, for a body that is read again after it broke off. Call this before the first
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

    /// Ends the body and returns its last item. An empty body has no items.
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
