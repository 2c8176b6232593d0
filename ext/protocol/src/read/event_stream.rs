//! One SSE connection: collects data events until the control event that has their end position. Hands large ones out
//! while they arrive.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;

use super::payload::{Format, Part, Payload};
use crate::protocol::{self, text};
use crate::sse::{ControlEvent, DataEventBuffer, DataEvents, Encoding, ErrorEvent, EventDecoder, SseError, SseEvent};

/// What an SSE connection brings.
#[derive(Debug)]
pub(super) enum StreamEvent {
    /// Data events that are complete, and the beginning of one that is not. Their control event follows.
    Data(DataEvents, Bytes),
    /// The last data events before a control event, and the control event.
    Control(DataEvents, ControlEvent),
    /// The server cannot continue. Data events without a control event are read again.
    Error(ErrorEvent),
}

/// The data since the last control event, while it is decoded.
#[derive(Debug)]
pub(super) struct ArrivingBatch {
    pub(super) payload: Payload,
    /// The last part so far. It is handed out with the batch's end, or when another one follows.
    pub(super) last: Option<Part>,
}

impl ArrivingBatch {
    /// A batch without data.
    pub(super) fn new(payload: Payload) -> Self {
        Self { payload, last: None }
    }

    /// The next part, the last one included.
    pub(super) fn next_part(&mut self) -> Option<Part> {
        self.last.take().or_else(|| self.payload.next_part())
    }
}

/// An open SSE connection.
#[derive(Debug)]
pub(super) struct EventStream {
    decoder: EventDecoder,
    data: DataEventBuffer,
    /// See `ReadMachine`.
    early_bytes: usize,
    /// The batch of which some data was decoded before its control event.
    pub(super) open_batch: Option<ArrivingBatch>,
    /// How its data is split.
    pub(super) format: Format,
    /// The size in bytes of the last piece of the body.
    piece_bytes: usize,
    /// Whether it has brought data that were not handed out before.
    pub(super) has_brought_data: bool,
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
    pub(super) fn new(format: Format, encoding: Encoding, max_message_bytes: usize, early_bytes: usize) -> Self {
        Self {
            decoder: EventDecoder::new(encoding, max_message_bytes),
            data: DataEventBuffer::new(max_message_bytes),
            // Not text: other requests bring its line ends as they are, SSE as LF. What was handed out could not be
            // skipped there.
            early_bytes: if format == Format::Bytes {
                usize::MAX
            } else {
                early_bytes
            },
            open_batch: None,
            format,
            piece_bytes: 0,
            has_brought_data: false,
        }
    }

    /// Takes the next piece of the body.
    pub(super) fn push(&mut self, piece: Bytes) {
        self.piece_bytes = piece.len();
        self.decoder.push(piece);
    }

    /// What comes next; `None` if it needs more of the body.
    pub(super) fn next(&mut self) -> Result<Option<StreamEvent>, SseError> {
        while let Some(event) = self.decoder.next_event()? {
            match event {
                SseEvent::Data(bytes) => self.data.push(bytes)?,
                SseEvent::Control(control) => {
                    return Ok(Some(StreamEvent::Control(self.data.take(), control)));
                }
                SseEvent::Error(error) => return Ok(Some(StreamEvent::Error(error))),
            }
        }
        if self.data.bytes() + self.decoder.unfinished_bytes() >= self.early_bytes {
            let unfinished = self.decoder.take_unfinished();
            return Ok(Some(StreamEvent::Data(self.data.take_early(&unfinished), unfinished)));
        }
        self.data.release_piece(self.piece_bytes);
        Ok(None)
    }

    /// The reconnection delay from the last `retry:` field.
    pub(super) fn retry(&self) -> Option<Duration> {
        self.decoder.retry()
    }
}
