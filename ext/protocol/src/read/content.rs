//! The content of one response that is not a stream of events, and the position at its end.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};

use super::cursor::{Cursor, Progress};
use super::payload::{Format, Part, Payload};
use crate::json::SplitError;
use crate::protocol::{Media, PositionError, text};

/// How a response of this content type is split: only `application/json` is one array for sure, whatever the reader
/// expects.
fn format_of(expected: Format, media: Option<Media>) -> Format {
    match (expected, media) {
        (Format::Json, Some(Media::JsonSequence)) => Format::JsonSequence,
        (format, _) => format,
    }
}

/// One response's content, while it arrives.
#[derive(Debug)]
pub(super) struct ResponseContent {
    format: Format,
    payload: Payload,
    /// The position at its end.
    progress: Progress,
    /// Bytes of JSON at a position that does not move: an empty array.
    is_standing: bool,
    /// How many items (or bytes) of it were handed out by an earlier try.
    skip: u64,
    /// It tells where the tail is, and nothing else.
    finds_tail_only: bool,
    /// It has brought bytes.
    written: bool,
    /// None of it was handed out.
    pub(super) is_empty: bool,
}

impl ResponseContent {
    /// The content of a response with this status and these headers, to the request that `cursor` stands for.
    ///
    /// # Errors
    /// If the headers do not say where the next read starts.
    pub(super) fn new(
        cursor: &Cursor,
        expected: Format,
        status: StatusCode,
        headers: &HeaderMap,
        max_message_bytes: usize,
    ) -> Result<ResponseContent, PositionError> {
        let progress = cursor.progress(status, headers)?;
        let media = text(headers, &CONTENT_TYPE).map(Media::of);
        let format = format_of(expected, media);
        let is_standing = format == Format::Bytes && media == Some(Media::Json) && !cursor.moves(&progress);
        let skip = cursor.position().skip;
        let payload = match is_standing {
            true => Payload::new(Format::Json, 0, max_message_bytes),
            false => Payload::new(format, skip, max_message_bytes),
        };
        Ok(ResponseContent {
            format,
            payload,
            progress,
            is_standing,
            skip,
            finds_tail_only: cursor.finds_tail_only(),
            written: false,
            is_empty: true,
        })
    }

    /// How many bytes are to come, for a reader of bytes, where the response says so.
    pub(super) fn length(&self, content_length: Option<u64>) -> Option<usize> {
        let length = content_length.filter(|_| self.format == Format::Bytes)?;
        let length = length.saturating_sub(self.payload.left_to_skip());
        Some(usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// The position at its end.
    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Whether it tells where the tail is, and nothing else.
    pub(super) fn finds_tail_only(&self) -> bool {
        self.finds_tail_only
    }

    /// Takes the next piece of the body.
    pub(super) fn push(&mut self, piece: Bytes) -> Result<(), SplitError> {
        self.written |= !piece.is_empty();
        self.payload.push(piece)
    }

    /// What can be handed out before the body's end is seen.
    pub(super) fn next_part(&mut self) -> Option<Part> {
        self.payload.next_part()
    }

    /// There is no body: what is to be skipped at this position still is.
    pub(super) fn end_without_body(&mut self) {
        self.end_at(self.payload.left_to_skip());
    }

    /// The body has ended. Gives what was held back for that.
    pub(super) fn finish(&mut self) -> Result<Option<Part>, SplitError> {
        let last = self.payload.finish()?;
        self.end_at(self.payload.left_to_skip());
        Ok(last)
    }

    /// The position after it, and what stands for it if it has brought nothing but an empty array of JSON as bytes.
    pub(super) fn end(self, last: Option<Part>) -> (Option<Part>, Progress) {
        let is_empty_array = self.is_standing && self.written && self.skip == 0;
        let last = if is_empty_array {
            Some(Part::Bytes(Bytes::from_static(b"[]")))
        } else {
            last
        };
        (last, self.progress)
    }

    fn end_at(&mut self, left_to_skip: u64) {
        self.progress.skip = if self.is_standing { self.skip } else { left_to_skip };
    }
}
