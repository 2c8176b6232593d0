//! An answer's content on its way to the application: split into complete items where it is JSON, passed on as it is
//! where it is bytes; what was handed out before is left out.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use crate::json::{Block, JsonForm, Limits, SplitError, Splitter};

/// JSON is handed out in blocks of about this size at most (but for larger items), so that whoever turns them into objects
/// gives others a turn in between.
const MAX_BLOCK_BYTES: usize = 128 * 1024;

/// What a read hands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The items of a JSON array.
    Json,
    /// The items of JSON values that follow one another, arrays flattened by one level.
    JsonSequence,
    /// Bytes.
    Bytes,
}

/// Some of an answer's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Complete JSON items, separated by commas.
    Items {
        /// The items' text.
        text: Bytes,
        /// How many they are.
        count: usize,
    },
    /// Bytes.
    Bytes(Bytes),
}

impl Part {
    /// The bytes it holds.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Part::Items { text, .. } => text,
            Part::Bytes(bytes) => bytes,
        }
    }

    /// How much of the answer it is, in the unit that `skip` counts: items or bytes.
    pub fn count(&self) -> u64 {
        match self {
            Part::Items { count, .. } => *count as u64,
            Part::Bytes(bytes) => bytes.len() as u64,
        }
    }
}

/// One answer's content, of which the first items (or bytes) may be left out.
#[derive(Debug)]
pub struct Payload {
    content: PayloadDecoder,
    ready: VecDeque<Part>,
}

#[derive(Debug)]
enum PayloadDecoder {
    Json(Splitter),
    Bytes { left_to_skip: u64 },
}

impl Payload {
    /// The content of one answer without its first `skip` items (or bytes).
    /// JSON items may have `most` bytes each.
    pub fn new(format: Format, skip: u64, most: usize) -> Payload {
        let json = |form| PayloadDecoder::Json(Splitter::new(form, Limits { item_bytes: most }).skip(skip));
        let content = match format {
            Format::Json => json(JsonForm::Array),
            Format::JsonSequence => json(JsonForm::Sequence),
            Format::Bytes => PayloadDecoder::Bytes { left_to_skip: skip },
        };
        Payload {
            content,
            ready: VecDeque::new(),
        }
    }

    /// Takes the next piece of the body.
    pub fn push(&mut self, mut piece: Bytes) -> Result<(), SplitError> {
        let ready = &mut self.ready;
        match &mut self.content {
            PayloadDecoder::Json(splitter) => {
                while piece.len() > MAX_BLOCK_BYTES {
                    splitter.push(&piece.split_to(MAX_BLOCK_BYTES), |block| ready.push_back(items(block)))?;
                }
                splitter.push(&piece, |block| ready.push_back(items(block)))
            }
            PayloadDecoder::Bytes { left_to_skip } => {
                let skipped = piece.len().min(usize::try_from(*left_to_skip).unwrap_or(usize::MAX));
                piece.advance(skipped);
                *left_to_skip -= skipped as u64;
                if !piece.is_empty() {
                    ready.push_back(Part::Bytes(piece));
                }
                Ok(())
            }
        }
    }

    /// What can be handed out before the body's end is seen.
    pub fn next_part(&mut self) -> Option<Part> {
        self.ready.pop_front()
    }

    /// The body has ended. Gives what was held back for that, everything else having been taken by `next_part`.
    pub fn finish(&mut self) -> Result<Option<Part>, SplitError> {
        match &mut self.content {
            PayloadDecoder::Json(splitter) => Ok(splitter.finish()?.map(items)),
            PayloadDecoder::Bytes { .. } => Ok(None),
        }
    }

    /// How much was to be left out and did not come.
    pub fn left_to_skip(&self) -> u64 {
        match &self.content {
            PayloadDecoder::Json(splitter) => splitter.left_to_skip(),
            PayloadDecoder::Bytes { left_to_skip } => *left_to_skip,
        }
    }
}

fn items(block: Block) -> Part {
    Part::Items {
        text: block.text,
        count: block.items,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_were_handed_out_are_left_out_over_several_pieces() {
        let mut payload = Payload::new(Format::Bytes, 4, usize::MAX);
        for piece in ["ab", "cdef", "g"] {
            payload.push(Bytes::from_static(piece.as_bytes())).unwrap();
        }
        let rest: Vec<Part> = std::iter::from_fn(|| payload.next_part()).collect();
        assert_eq!(
            rest,
            ["ef", "g"].map(|text| Part::Bytes(Bytes::from_static(text.as_bytes())))
        );
        assert_eq!(payload.left_to_skip(), 0);
    }

    #[test]
    fn a_large_piece_is_handed_out_in_blocks() {
        let item = format!("\"{}\"", "x".repeat(1000));
        let body = format!("[{}]", vec![item; 1000].join(","));
        let mut payload = Payload::new(Format::Json, 0, usize::MAX);
        payload.push(Bytes::from(body)).unwrap();
        let mut parts: Vec<Part> = std::iter::from_fn(|| payload.next_part()).collect();
        parts.extend(payload.finish().unwrap());
        assert_eq!(parts.iter().map(Part::count).sum::<u64>(), 1000);
        assert!(parts.iter().all(|part| part.bytes().len() <= MAX_BLOCK_BYTES + 1003));
    }

    #[test]
    fn what_did_not_come_is_still_to_be_left_out() {
        let mut payload = Payload::new(Format::Json, 3, usize::MAX);
        payload.push(Bytes::from_static(b"[1,2]")).unwrap();
        assert_eq!((payload.finish().unwrap(), payload.left_to_skip()), (None, 1));
    }
}
