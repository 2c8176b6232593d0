//! One SSE connection: collects data events until the control event that has their end position.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;

use super::payload::Format;
use crate::protocol::{self, text};
use crate::sse::{ControlEvent, DataEventBuffer, DataEvents, Encoding, ErrorEvent, EventDecoder, SseError, SseEvent};

/// The data events before a control event, and the control event.
#[derive(Debug)]
pub(super) struct EventBatch {
    pub(super) data: DataEvents,
    pub(super) control: ControlEvent,
}

/// What an SSE connection brings.
#[derive(Debug)]
pub(super) enum StreamEvent {
    /// A batch is complete.
    Batch(EventBatch),
    /// The server cannot continue. Data events without a control event are read again.
    Error(ErrorEvent),
}

/// An open SSE connection.
#[derive(Debug)]
pub(super) struct EventStream {
    decoder: EventDecoder,
    data: DataEventBuffer,
    /// How its data is split.
    pub(super) format: Format,
    /// The size in bytes of the last piece of the body.
    piece_bytes: usize,
    /// Whether it has brought data.
    pub(super) has_progressed: bool,
}

impl EventStream {
    /// How the response encodes its data; `None` if it is not an SSE stream.
    ///
    /// # Errors
    /// If the response names an unknown encoding.
    pub(super) fn encoding(headers: &HeaderMap) -> Result<Option<Encoding>, SseError> {
        let is_event_stream = text(headers, &CONTENT_TYPE)
            .is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with("text/event-stream"));
        match is_event_stream {
            true => Encoding::from_header(text(headers, &protocol::SSE_DATA_ENCODING)).map(Some),
            false => Ok(None),
        }
    }

    /// A connection that has received nothing yet.
    pub(super) fn new(format: Format, encoding: Encoding, max_message_bytes: usize) -> Self {
        Self {
            decoder: EventDecoder::with_limit(encoding, max_message_bytes),
            data: DataEventBuffer::with_limit(max_message_bytes),
            format,
            piece_bytes: 0,
            has_progressed: false,
        }
    }

    /// Takes the next piece of the body.
    pub(super) fn push(&mut self, piece: Bytes) {
        self.piece_bytes = piece.len();
        self.decoder.push(piece);
    }

    /// The next complete batch, or an error event; `None` if it needs more of the body.
    pub(super) fn next(&mut self) -> Result<Option<StreamEvent>, SseError> {
        while let Some(event) = self.decoder.next_event()? {
            match event {
                SseEvent::Data(bytes) => self.data.push(bytes)?,
                SseEvent::Control(control) => {
                    let data = self.data.take();
                    return Ok(Some(StreamEvent::Batch(EventBatch { data, control })));
                }
                SseEvent::Error(error) => return Ok(Some(StreamEvent::Error(error))),
            }
        }
        self.data.release_piece(self.piece_bytes);
        Ok(None)
    }

    /// The reconnection delay from the last `retry:` field.
    pub(super) fn retry(&self) -> Option<Duration> {
        self.decoder.retry()
    }
}
