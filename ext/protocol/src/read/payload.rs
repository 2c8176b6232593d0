//! The payload of a response: JSON is split into complete items, bytes are passed on unchanged. Skips what an earlier
//! try already handed out. A response may end inside a record; [`OpenRecord`] carries its beginning to the next one.

use std::collections::VecDeque;
use std::ops::AddAssign;

use bytes::{Buf, Bytes};

use crate::json::{Block, JsonForm, SplitError, Splitter};
use crate::protocol::Media;

/// The size in bytes of the blocks in which JSON is handed out. A block is larger only if one item is. Between building
/// the objects of two blocks, other Ruby threads can run.
const BLOCK_BYTES: usize = 128 * 1024;

/// The form in which a read hands out data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The items of a JSON array.
    Json,
    /// The items of a sequence of JSON values, with arrays flattened by one level.
    JsonSequence,
    /// JSON values, one a line.
    JsonLines,
    /// Bytes.
    Bytes,
}

impl Format {
    /// How data of this content type is split, for a reader that expects this format. A JSON reader expects one array,
    /// but responses of other types have several values.
    pub(super) fn with_media(self, media: Option<Media>) -> Self {
        match (self, media) {
            (Self::Json, Some(Media::JsonSequence)) => Self::JsonSequence,
            (Self::Json, Some(Media::JsonLines)) => Self::JsonLines,
            (format, _) => format,
        }
    }
}

/// An amount of content, in the unit of the read: JSON items if it hands out items, else bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Units(pub u64);

impl Units {
    /// Whether there is nothing.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl AddAssign for Units {
    fn add_assign(&mut self, more: Self) {
        self.0 += more.0;
    }
}

/// Some of a response's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Complete JSON items, separated by commas.
    Items {
        /// The items' text.
        text: Bytes,
        /// The number of items.
        count: usize,
    },
    /// Bytes.
    Bytes(Bytes),
}

impl Part {
    /// Its bytes.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Self::Items { text, .. } => text,
            Self::Bytes(bytes) => bytes,
        }
    }

    /// Its size in the unit of the read.
    pub fn units(&self) -> Units {
        Units(match self {
            Self::Items { count, .. } => *count as u64,
            Self::Bytes(bytes) => bytes.len() as u64,
        })
    }
}

/// The beginning of a record that a response broke off in, and how the next response continues it.
#[derive(Clone, Debug)]
pub struct OpenRecord {
    pub(super) format: Format,
    splitter: Splitter,
}

/// What a response, or the data before a control event, has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brought {
    /// Nothing, or only what an earlier try handed out.
    Nothing,
    /// No data, but the tail is reached. So the record that the responses before began is complete.
    EndOfRecord,
    /// Data.
    Data,
}

/// What there is at the end of a payload.
#[derive(Debug)]
pub struct PayloadEnd {
    /// The last part.
    pub last: Option<Part>,
    /// How much must still be skipped: the payload ended before what an earlier try handed out.
    pub left_to_skip: Units,
    /// What the whole payload has brought.
    pub brought: Brought,
}

/// Decodes one response's content, or the data before a control event, and can skip its beginning.
#[derive(Debug)]
pub struct Payload {
    format: Format,
    max_item_bytes: usize,
    decoder: PayloadDecoder,
    ready: VecDeque<Part>,
    has_bytes: bool,
    /// Whether `next_part` has returned any.
    has_parts: bool,
}

#[derive(Debug)]
enum PayloadDecoder {
    Json(Splitter),
    Bytes {
        left_to_skip: u64,
        /// Of a JSON array: the bracket that may be its last byte, and whitespace after it. Handed out at the body's end:
        /// if the body breaks off and is read again, other items may be there.
        bracket: Option<Bytes>,
    },
}

impl Payload {
    /// A decoder that skips the first `skip` units. A JSON item has at most `max_item_bytes`.
    pub fn new(format: Format, skip: Units, max_item_bytes: usize) -> Self {
        let decoder = match form_of(format) {
            Some(form) => PayloadDecoder::Json(Splitter::new(form, max_item_bytes).skip(skip.0)),
            None => PayloadDecoder::Bytes {
                left_to_skip: skip.0,
                bracket: None,
            },
        };
        Self {
            format,
            max_item_bytes,
            decoder,
            ready: VecDeque::new(),
            has_bytes: false,
            has_parts: false,
        }
    }

    /// A decoder for a reader of bytes that gets a JSON array.
    pub fn array_bytes(skip: Units) -> Self {
        Self {
            decoder: PayloadDecoder::Bytes {
                left_to_skip: skip.0,
                bracket: Some(Bytes::new()),
            },
            ..Self::new(Format::Bytes, skip, usize::MAX)
        }
    }

    /// As [`Payload::new`], for the response after one that ended inside a record. The record is the first item.
    pub fn resume(record: OpenRecord, skip: Units, max_item_bytes: usize) -> Self {
        Self {
            decoder: PayloadDecoder::Json(record.splitter.skip(skip.0)),
            ..Self::new(record.format, skip, max_item_bytes)
        }
    }

    /// Takes the next piece of the body.
    pub fn push(&mut self, mut piece: Bytes) -> Result<(), SplitError> {
        self.has_bytes |= !piece.is_empty();
        let ready = &mut self.ready;
        match &mut self.decoder {
            PayloadDecoder::Json(splitter) => {
                while piece.len() > BLOCK_BYTES {
                    splitter.push(&piece.split_to(BLOCK_BYTES), |block| ready.push_back(items(block)))?;
                }
                splitter.push(&piece, |block| ready.push_back(items(block)))
            }
            PayloadDecoder::Bytes { left_to_skip, bracket } => {
                let skipped = piece.len().min(usize::try_from(*left_to_skip).unwrap_or(usize::MAX));
                piece.advance(skipped);
                *left_to_skip -= skipped as u64;
                let before = bracket.as_mut().map(|bracket| retain_bracket(bracket, &mut piece));
                let parts = before.into_iter().chain([piece]).filter(|part| !part.is_empty());
                ready.extend(parts.map(Part::Bytes));
                Ok(())
            }
        }
    }

    /// The next part that can be handed out before the body ends.
    pub fn next_part(&mut self) -> Option<Part> {
        let part = self.ready.pop_front();
        self.has_parts |= part.is_some();
        part
    }

    /// Whether it has received any bytes.
    pub fn has_bytes(&self) -> bool {
        self.has_bytes
    }

    /// Whether [`Payload::next_part`] has returned any part.
    pub fn has_parts(&self) -> bool {
        self.has_parts
    }

    /// A data event of an SSE stream has ended. Every event of a JSON array is complete; others continue one another.
    pub fn end_event(&mut self) -> Result<(), SplitError> {
        if let (PayloadDecoder::Json(splitter), Some(JsonForm::Array)) = (&mut self.decoder, form_of(self.format)) {
            self.ready.extend(splitter.finish()?.map(items));
            *splitter = Splitter::new(JsonForm::Array, self.max_item_bytes).skip(splitter.left_to_skip());
        }
        Ok(())
    }

    /// The body has ended. Call `next_part` until it returns `None` first.
    ///
    /// `at_tail`: the stream has no more data, so a record that is not complete never will be. Elsewhere the next
    /// response continues it: see [`Payload::into_open_record`].
    pub fn finish(&mut self, at_tail: bool) -> Result<PayloadEnd, SplitError> {
        let last = match &mut self.decoder {
            PayloadDecoder::Json(splitter) if at_tail => splitter.finish()?.map(items),
            PayloadDecoder::Json(splitter) => splitter.pause()?.map(items),
            PayloadDecoder::Bytes { bracket, .. } => {
                let bracket = bracket.take().filter(|bracket| !bracket.is_empty());
                bracket.map(Part::Bytes)
            }
        };
        // Without bytes, the last part or the record is from the responses before.
        let brought = if self.has_parts || self.has_bytes && (last.is_some() || self.is_within_record()) {
            Brought::Data
        } else if last.is_some() {
            Brought::EndOfRecord
        } else {
            Brought::Nothing
        };
        Ok(PayloadEnd {
            last,
            left_to_skip: self.left_to_skip(),
            brought,
        })
    }

    fn is_within_record(&self) -> bool {
        matches!(&self.decoder, PayloadDecoder::Json(splitter) if splitter.is_within_item())
    }

    /// The record that the body breaks off in, if it does not end with a record. Call `finish` first.
    pub fn into_open_record(self) -> Option<OpenRecord> {
        match self.decoder {
            PayloadDecoder::Json(splitter) if splitter.is_within_item() => Some(OpenRecord {
                format: self.format,
                splitter,
            }),
            _ => None,
        }
    }

    /// How much must still be skipped.
    pub fn left_to_skip(&self) -> Units {
        Units(match &self.decoder {
            PayloadDecoder::Json(splitter) => splitter.left_to_skip(),
            PayloadDecoder::Bytes { left_to_skip, .. } => *left_to_skip,
        })
    }
}

/// The form of JSON in this format; `None` for bytes.
fn form_of(format: Format) -> Option<JsonForm> {
    match format {
        Format::Json => Some(JsonForm::Array),
        Format::JsonSequence => Some(JsonForm::Sequence),
        Format::JsonLines => Some(JsonForm::Lines),
        Format::Bytes => None,
    }
}

/// Moves the bracket at the end of the piece to `bracket`. Returns what was there, if other bytes follow it.
fn retain_bracket(bracket: &mut Bytes, piece: &mut Bytes) -> Bytes {
    let text = piece.trim_ascii_end();
    if text.is_empty() && !bracket.is_empty() {
        *bracket = [&bracket[..], &piece[..]].concat().into();
        piece.clear();
        return Bytes::new();
    }
    let at = if text.ends_with(b"]") {
        text.len() - 1
    } else {
        piece.len()
    };
    std::mem::replace(bracket, piece.split_off(at))
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
    fn skips_bytes_over_several_pieces() {
        let mut payload = Payload::new(Format::Bytes, Units(4), usize::MAX);
        for piece in ["ab", "cdef", "g"] {
            payload.push(Bytes::from_static(piece.as_bytes())).unwrap();
        }
        let rest: Vec<Part> = std::iter::from_fn(|| payload.next_part()).collect();
        assert_eq!(
            rest,
            ["ef", "g"].map(|text| Part::Bytes(Bytes::from_static(text.as_bytes())))
        );
        assert_eq!(payload.left_to_skip(), Units(0));
    }

    #[test]
    fn hands_out_a_large_piece_in_blocks() {
        let item = format!("\"{}\"", "x".repeat(1000));
        let body = format!("[{}]", vec![item; 1000].join(","));
        let mut payload = Payload::new(Format::Json, Units(0), usize::MAX);
        payload.push(Bytes::from(body)).unwrap();
        let mut parts: Vec<Part> = std::iter::from_fn(|| payload.next_part()).collect();
        parts.extend(payload.finish(true).unwrap().last);
        assert_eq!(parts.iter().map(|part| part.units().0).sum::<u64>(), 1000);
        assert!(parts.iter().all(|part| part.bytes().len() <= BLOCK_BYTES + 1003));
    }

    #[test]
    fn counts_the_items_that_must_still_be_skipped() {
        let mut payload = Payload::new(Format::Json, Units(3), usize::MAX);
        payload.push(Bytes::from_static(b"[1,2]")).unwrap();
        let end = payload.finish(true).unwrap();
        assert_eq!((end.last, end.left_to_skip), (None, Units(1)));
    }
}
