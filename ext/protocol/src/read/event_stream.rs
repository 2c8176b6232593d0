//! One connection of server-sent events: data events, gathered until the control event that says where they end.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::protocol::{self, text};
use crate::sse::{ControlEvent, DataEventBuffer, DataEvents, Encoding, EventDecoder, SseError, SseEvent};

/// The data events before a control event, and that event.
#[derive(Debug)]
pub(super) struct EventBatch {
    pub(super) data: DataEvents,
    pub(super) control: ControlEvent,
}

/// A connection, while it lasts.
#[derive(Debug)]
pub(super) struct EventStream {
    decoder: EventDecoder,
    data: DataEventBuffer,
    /// The size of the piece of the body that is being decoded.
    piece: usize,
    /// It has brought data.
    pub(super) has_progressed: bool,
}

impl EventStream {
    /// How the data of a response with these headers are encoded; `None` if it is no stream of events.
    ///
    /// # Errors
    /// If it names an encoding that the protocol does not have.
    pub(super) fn encoding(headers: &HeaderMap) -> Result<Option<Encoding>, SseError> {
        let is_event_stream = text(headers, &CONTENT_TYPE)
            .is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with("text/event-stream"));
        match is_event_stream {
            true => Encoding::from_header(text(headers, &protocol::SSE_DATA_ENCODING)).map(Some),
            false => Ok(None),
        }
    }

    /// A connection that has brought nothing yet.
    pub(super) fn new(encoding: Encoding, max_message_bytes: usize) -> EventStream {
        EventStream {
            decoder: EventDecoder::with_limit(encoding, max_message_bytes),
            data: DataEventBuffer::with_limit(max_message_bytes),
            piece: 0,
            has_progressed: false,
        }
    }

    /// Takes the next piece of the body.
    pub(super) fn push(&mut self, piece: Bytes) {
        self.piece = piece.len();
        self.decoder.push(piece);
    }

    /// The next batch; `None` if more of the body is needed for it.
    pub(super) fn next_batch(&mut self) -> Result<Option<EventBatch>, SseError> {
        while let Some(event) = self.decoder.next_event()? {
            match event {
                SseEvent::Data(bytes) => self.data.push(bytes)?,
                SseEvent::Control(control) => {
                    let data = self.data.take();
                    return Ok(Some(EventBatch { data, control }));
                }
            }
        }
        self.data.release_piece(self.piece);
        Ok(None)
    }

    /// How long the server asks to wait before the next connection, if it does.
    pub(super) fn retry(&self) -> Option<Duration> {
        self.decoder.retry()
    }
}
