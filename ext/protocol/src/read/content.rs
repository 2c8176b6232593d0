//! The content of one response other than an SSE stream, and the position at its end.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};

use super::cursor::{Cursor, Progress};
use super::payload::{Format, Part, Payload};
use crate::json::SplitError;
use crate::protocol::{Media, PositionError, text};

/// How a response of this content type is split. A JSON reader expects one array, but a `+json` response may hold
/// several values.
fn format_of(expected: Format, media: Option<Media>) -> Format {
    match (expected, media) {
        (Format::Json, Some(Media::JsonSequence)) => Format::JsonSequence,
        (format, _) => format,
    }
}

/// One response's content while it arrives.
#[derive(Debug)]
pub(super) struct ResponseContent {
    format: Format,
    payload: Payload,
    /// The position at the response's end.
    progress: Progress,
    /// A reader of bytes gets JSON, and the offset does not change. Then the body must be an empty array.
    expects_empty_array: bool,
    /// How many items (or bytes) of this response an earlier try handed out.
    skip: u64,
    /// The response gives the tail's position only.
    finds_tail_only: bool,
    /// Whether the body had any bytes.
    has_body: bool,
    /// Whether nothing was handed out.
    pub(super) is_empty: bool,
}

impl ResponseContent {
    /// The content of a response with this status and these headers. `cursor` made the request.
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
        let expects_empty_array = format == Format::Bytes && media == Some(Media::Json) && !cursor.moves(&progress);
        let skip = cursor.position().skip;
        let payload = match expects_empty_array {
            true => Payload::new(Format::Json, 0, max_message_bytes),
            false => Payload::new(format, skip, max_message_bytes),
        };
        Ok(ResponseContent {
            format,
            payload,
            progress,
            expects_empty_array,
            skip,
            finds_tail_only: cursor.finds_tail_only(),
            has_body: false,
            is_empty: true,
        })
    }

    /// How many bytes will be handed out, for a reader of bytes whose response has a length.
    pub(super) fn length(&self, content_length: Option<u64>) -> Option<usize> {
        let length = content_length.filter(|_| self.format == Format::Bytes)?;
        let length = length.saturating_sub(self.payload.left_to_skip());
        Some(usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// The position at the response's end.
    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Whether the response gives the tail's position only.
    pub(super) fn finds_tail_only(&self) -> bool {
        self.finds_tail_only
    }

    /// Takes the next piece of the body.
    pub(super) fn push(&mut self, piece: Bytes) -> Result<(), SplitError> {
        self.has_body |= !piece.is_empty();
        self.payload.push(piece)
    }

    /// The next part that can be handed out before the body ends.
    pub(super) fn next_part(&mut self) -> Option<Part> {
        self.payload.next_part()
    }

    /// There is no body. What had to be skipped at this position must still be skipped.
    pub(super) fn end_without_body(&mut self) {
        self.end_at(self.payload.left_to_skip());
    }

    /// The body has ended. Returns the last part.
    pub(super) fn finish(&mut self) -> Result<Option<Part>, SplitError> {
        let last = self.payload.finish()?;
        self.end_at(self.payload.left_to_skip());
        Ok(last)
    }

    /// The last part and the position after the response. For a reader of bytes, an empty JSON array is `[]`.
    pub(super) fn end(self, last: Option<Part>) -> (Option<Part>, Progress) {
        let is_empty_array = self.expects_empty_array && self.has_body && self.skip == 0;
        let last = if is_empty_array {
            Some(Part::Bytes(Bytes::from_static(b"[]")))
        } else {
            last
        };
        (last, self.progress)
    }

    fn end_at(&mut self, left_to_skip: u64) {
        self.progress.skip = if self.expects_empty_array {
            self.skip
        } else {
            left_to_skip
        };
    }
}
