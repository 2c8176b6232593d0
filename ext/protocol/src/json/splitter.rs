//! Cuts the body of a JSON response, while it arrives, into blocks of complete items.
//!
//! Sans-IO: pieces of the body go in, [`Block`]s come out. Only strings and brackets are followed; whether an item is
//! valid JSON inside is for whoever parses it to say. Every byte is looked at once, however the body was cut and however
//! large an item is, and what a piece holds of complete items is handed on as a slice of that piece. Only an item that
//! lies in several pieces is copied.

use super::array::ArraySplitter;
use super::block::{Block, JsonForm, Limits, SplitError};
use super::sequence::SequenceSplitter;
use bytes::Bytes;

/// Cuts a body into blocks of items. One splitter serves one body.
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
