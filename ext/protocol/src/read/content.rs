//! The content of one response other than an SSE stream, and the position at its end.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};

use super::cursor::{Cursor, Mode, Progress};
use super::payload::{Brought, Format, OpenRecord, Part, Payload, Units};
use crate::json::SplitError;
use crate::protocol::{self, Media, PositionError, flag, text};

/// One response's content while it arrives.
#[derive(Debug)]
pub(super) struct ResponseContent {
    media: Option<Media>,
    format: Format,
    payload: Payload,
    /// The position at the response's end.
    progress: Progress,
    /// The response says that this is the stream's tail or its end, or ends the read.
    is_at_tail: bool,
    /// A reader of bytes gets JSON, and the offset does not change. Then the body must be an empty array.
    expects_empty_array: bool,
    /// The offset that was requested, if a reader of bytes gets JSON. What was handed out of one array cannot be skipped
    /// in two others.
    array_from: Option<String>,
    /// How much of this response an earlier try handed out.
    skip: Units,
}

/// Why a response's content cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContentError {
    /// The headers do not say where the next read starts.
    Position(PositionError),
    /// The response before ended inside a record, and this one has another content type.
    TypeChanged,
}

/// The end of a response's content.
#[derive(Debug)]
pub(super) struct ContentEnd {
    /// The last part.
    pub(super) last: Option<Part>,
    /// The position after the response.
    pub(super) progress: Progress,
    /// The record that the response ends in, if it does not end with a record.
    pub(super) record: Option<OpenRecord>,
    /// What the whole response has brought.
    pub(super) brought: Brought,
}

impl ResponseContent {
    /// The content of the response, with this status and these headers, to a request of this kind. `cursor` made the
    /// request. `record` is the record inside which the previous response ended.
    ///
    /// # Errors
    /// If the headers do not say where the next read starts, or if the response cannot continue the record.
    pub(super) fn new(
        cursor: &Cursor,
        mode: Mode,
        expected: Format,
        record: Option<&OpenRecord>,
        status: StatusCode,
        headers: &HeaderMap,
        max_message_bytes: usize,
    ) -> Result<Self, ContentError> {
        let progress = cursor.progress(mode, status, headers).map_err(ContentError::Position)?;
        let media = text(headers, &CONTENT_TYPE).map(Media::of);
        let format = match record {
            // A response without a body may have no content type.
            Some(record) if media.is_none() => record.format,
            _ => expected.with_media(media),
        };
        if record.is_some_and(|record| record.format != format) {
            return Err(ContentError::TypeChanged);
        }
        let is_array = format == Format::Bytes && media == Some(Media::Json);
        let expects_empty_array = is_array && !cursor.moves(&progress);
        let skip = cursor.position().skip;
        let payload = match record {
            Some(record) => Payload::resume(record.clone(), skip, max_message_bytes),
            None if expects_empty_array => Payload::new(Format::Json, Units(0), max_message_bytes),
            None if is_array => Payload::array_bytes(skip),
            None => Payload::new(format, skip, max_message_bytes),
        };
        Ok(Self {
            media,
            format,
            payload,
            is_at_tail: !cursor.leaves_out_data(&progress)
                && (progress.closed
                    || flag(headers, &protocol::STREAM_UP_TO_DATE)
                    || progress.up_to_date && !cursor.is_live()),
            progress,
            expects_empty_array,
            array_from: is_array.then(|| cursor.position().offset.clone()),
            skip,
        })
    }

    /// How many bytes will be handed out, for a reader of bytes whose response has a length.
    pub(super) fn length(&self, content_length: Option<u64>) -> Option<usize> {
        let length = content_length.filter(|_| self.format == Format::Bytes)?;
        let length = length.saturating_sub(self.payload.left_to_skip().0);
        Some(usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// The response's content type, if it has one.
    pub(super) fn media(&self) -> Option<Media> {
        self.media
    }

    /// The position at the response's end.
    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Takes the next piece of the body.
    pub(super) fn push(&mut self, piece: Bytes) -> Result<(), SplitError> {
        self.payload.push(piece)
    }

    /// The next part that can be handed out before the body ends.
    pub(super) fn next_part(&mut self) -> Option<Part> {
        self.payload.next_part()
    }

    /// The body has ended. For a reader of bytes, an empty JSON array is `[]`.
    pub(super) fn finish(mut self) -> Result<ContentEnd, SplitError> {
        // What an earlier try handed out shows that there is more.
        let is_at_tail = self.is_at_tail && (self.progress.closed || self.payload.left_to_skip().is_zero());
        let is_empty_array = self.expects_empty_array && self.payload.has_bytes() && self.skip.is_zero();
        let end = self.payload.finish(is_at_tail)?;
        self.progress.skip = match self.expects_empty_array {
            true => self.skip,
            false => end.left_to_skip,
        };
        if let Some(from) = self.array_from.filter(|_| !self.progress.skip.is_zero()) {
            (self.progress.next_offset, self.progress.skip) = (from, self.skip);
        }
        Ok(ContentEnd {
            last: match is_empty_array {
                true => Some(Part::Bytes(Bytes::from_static(b"[]"))),
                false => end.last,
            },
            progress: self.progress,
            record: self.payload.into_open_record(),
            brought: end.brought,
        })
    }
}
