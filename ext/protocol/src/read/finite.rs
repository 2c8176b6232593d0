//! How a read handles a finite response: every one but an SSE stream.

use std::fmt;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::content::{ContentEnd, ContentError, ResponseContent};
use super::cursor::Stall;
use super::event::ReadEvent;
use super::machine::{ReadMachine, ReadState, TYPE_CHANGED};
use super::outcome::ReadOutcome;
use super::payload::Format;
use crate::error::{Error, Kind};
use crate::json::{SplitError, SplitReason};
use crate::protocol::Media;

impl ReadMachine {
    pub(super) fn begin_content(
        &mut self,
        now: Instant,
        status: StatusCode,
        headers: &HeaderMap,
        content_length: Option<u64>,
    ) {
        let content = ResponseContent::new(
            &self.cursor,
            self.mode(),
            self.format,
            self.open_record.as_ref(),
            status,
            headers,
            self.config.max_message_bytes,
        );
        let content = match content {
            Ok(content) => content,
            Err(ContentError::Position(error)) => {
                return self.end_request(now, ReadOutcome::Fatal(self.position_error(status, headers, error)));
            }
            Err(ContentError::TypeChanged) => return self.end_malformed(now, TYPE_CHANGED),
        };
        if self.cursor.is_before_position(content.progress()) {
            return self.end_request(now, ReadOutcome::Complete(Stall::Back));
        }
        if let Some(media) = content.media() {
            self.cursor.learn_media(media);
        }
        if status == StatusCode::NO_CONTENT {
            return self.finish_content(now, content);
        }
        self.events
            .extend(content.length(content_length).map(ReadEvent::Length));
        self.state = ReadState::Content(Box::new(content));
    }

    /// Takes a piece of the body, and hands out the parts that are complete.
    pub(super) fn push_content(&mut self, now: Instant, mut content: Box<ResponseContent>, piece: Bytes) {
        if let Err(error) = content.push(piece) {
            return self.end_unreadable(now, content.media(), error);
        }
        while let Some(part) = content.next_part() {
            if let Err(error) = self.check_new_offset(content.progress()) {
                return self.end_request(now, ReadOutcome::Fatal(error));
            }
            self.hand_out(now, part);
        }
        self.state = ReadState::Content(content);
    }

    /// The body is complete.
    pub(super) fn finish_content(&mut self, now: Instant, content: ResponseContent) {
        let media = content.media();
        match content.finish() {
            Err(error) if self.is_cut_array(&error, media) => {
                let error = self
                    .about()
                    .error(Kind::Connection, format!("the response broke off: {error}"));
                self.connection_lost(now, error, None);
            }
            Err(error) => self.end_unreadable(now, media, error),
            Ok(end) => match self.end_content(now, end) {
                Err(error) => self.end_request(now, ReadOutcome::Fatal(error)),
                Ok(stall) => self.end_request(now, ReadOutcome::Complete(stall)),
            },
        }
    }

    /// Whether to request an array again. No server sends a part of one, but a proxy that has no length from the server,
    /// as in HTTP/1.0, cannot tell a lost connection from the body's end. An application's read that is not live raises
    /// ParseError, as the conformance suite has it.
    fn is_cut_array(&self, error: &SplitError, media: Option<Media>) -> bool {
        let goes_on = self.cursor.is_live() || self.no_cache; // Or it is a producer's own.
        goes_on && error.reason == SplitReason::Truncated && media == Some(Media::Json)
    }

    fn end_content(&mut self, now: Instant, mut end: ContentEnd) -> Result<Stall, Error> {
        let leaves_out_data = self.cursor.leaves_out_data(&end.progress);
        let stall = self.advance(&mut end.progress, end.brought, self.request_age(now))?;
        if matches!(stall, Stall::Failing | Stall::Back) {
            return Ok(stall);
        }
        self.succeeded(now);
        // A batch without data says that the read is up to date, and this response says nothing.
        if !leaves_out_data {
            self.end_batch(end.last, end.progress, end.record);
        }
        Ok(stall)
    }

    /// The content of the response cannot be decoded. A reader of JSON may read another stream by mistake.
    fn end_unreadable(&mut self, now: Instant, media: Option<Media>, reason: impl fmt::Display) {
        let is_other_type = matches!(media, Some(Media::Text | Media::Bytes));
        let note = "the stream's content type is not JSON: use read or read_bytes, not read_json";
        let note = (self.format != Format::Bytes && is_other_type).then_some(note.into());
        let error = self.about().error(Kind::Parse, reason).with_note(note);
        self.end_request(now, ReadOutcome::Fatal(error));
    }
}
