//! Decodes the events of a Durable Streams response: data, control and error events.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use memchr::memchr;
use serde_json::{Map, Value};

use super::decoder::RawEventDecoder;
use super::error::SseError;
use crate::error_body::ErrorBody;

/// The name of data events.
const DATA: &[u8] = b"data";

/// The encoding of a response's data events. Control events are never encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// None, for JSON and text.
    #[default]
    Plain,
    /// Standard, padded base64 (RFC 4648, section 4), over any number of lines.
    Base64,
}

impl Encoding {
    /// The encoding in a response's `stream-sse-data-encoding` header. Case does not matter; without a header it is
    /// plain.
    ///
    /// # Errors
    /// [`SseError::UnknownEncoding`]. Such data must not be handed out undecoded.
    pub fn from_header(value: Option<&str>) -> Result<Self, SseError> {
        match value.map(str::trim) {
            None | Some("") => Ok(Self::Plain),
            Some(name) if name.eq_ignore_ascii_case("base64") => Ok(Self::Base64),
            Some(name) => Err(SseError::UnknownEncoding {
                encoding: name.to_owned(),
            }),
        }
    }
}

/// One event of a Durable Streams response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SseEvent {
    /// A decoded payload. On a JSON stream it is an array of messages, not parsed yet. On a text stream it is the text,
    /// with LF as line ends, and not checked for UTF-8. It may be a slice of a piece of the body; then the piece is not
    /// freed before it.
    ///
    /// It has no position until a control event follows. If the connection is lost before that, it is read again.
    Data(Bytes),
    /// The position after the data events before it.
    Control(ControlEvent),
    /// The server cannot continue. The response ends after it.
    Error(ErrorEvent),
}

/// An error event. Some servers send one where other requests would get an error status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorEvent {
    /// The server's code for the error, such as `STREAM_NOT_FOUND`. Empty if the event has none.
    pub code: String,
    /// The event's data.
    pub data: Bytes,
}

/// A control event (protocol, "Read Stream - Live (SSE)").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlEvent {
    /// Where the next read starts. Opaque and never empty.
    pub next_offset: String,
    /// The `cursor` parameter of the next request. Servers omit it at the end of a closed stream.
    pub cursor: Option<String>,
    /// Whether this was the stream's tail when the server sent it. Always true if `closed` is.
    pub up_to_date: bool,
    /// Whether this is the end of a closed stream.
    pub closed: bool,
}

/// Decodes the pieces of a Durable Streams SSE response into its events. It ignores events with other names or without
/// one, since newer servers may send them.
#[derive(Debug)]
pub struct EventDecoder {
    frames: RawEventDecoder,
    encoding: Encoding,
    failed: Option<SseError>,
}

impl EventDecoder {
    /// A decoder for one response, whose events are at most `limit` bytes each. Base64 counts in its encoded size.
    pub fn new(encoding: Encoding, limit: usize) -> Self {
        Self {
            frames: RawEventDecoder::new(limit),
            encoding,
            failed: None,
        }
    }

    /// Adds the next piece of the body. Call [`next_event`](Self::next_event) until it returns `None` first; see
    /// [`RawEventDecoder::push`].
    pub fn push(&mut self, piece: Bytes) {
        self.frames.push(piece);
    }

    /// The next complete event; `None` if it needs another piece.
    ///
    /// # Errors
    /// If an event is too large, its base64 is invalid, or a control event is malformed. All events before it have been
    /// returned. Every later call returns the same error.
    pub fn next_event(&mut self) -> Result<Option<SseEvent>, SseError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.decode_next()
            .inspect_err(|error| self.failed = Some(error.clone()))
    }

    /// How much of an incomplete data event can be taken with [`EventDecoder::take_unfinished`].
    pub fn unfinished_bytes(&self) -> usize {
        match self.encoding {
            Encoding::Plain => self.frames.unfinished_bytes(DATA),
            // A group of four characters may be incomplete.
            Encoding::Base64 => 0,
        }
    }

    /// Takes the data that has arrived of an incomplete data event. Its [`SseEvent::Data`] will have the rest.
    pub fn take_unfinished(&mut self) -> Bytes {
        match self.unfinished_bytes() {
            0 => Bytes::new(),
            _ => self.frames.take_unfinished(),
        }
    }

    /// The reconnection time from the last `retry:` field; see [`RawEventDecoder::retry`].
    pub fn retry(&self) -> Option<Duration> {
        self.frames.retry()
    }

    fn decode_next(&mut self) -> Result<Option<SseEvent>, SseError> {
        while let Some(frame) = self.frames.next_event()? {
            match &frame.event[..] {
                DATA => return self.payload(frame.data).map(|data| Some(SseEvent::Data(data))),
                b"control" => return parse_control(&frame.data).map(|control| Some(SseEvent::Control(control))),
                b"error" => return Ok(Some(SseEvent::Error(parse_error(frame.data)))),
                _ => {}
            }
        }
        Ok(None)
    }

    fn payload(&self, data: Bytes) -> Result<Bytes, SseError> {
        match self.encoding {
            Encoding::Plain => Ok(data),
            Encoding::Base64 => decode_base64(data),
        }
    }
}

fn decode_base64(data: Bytes) -> Result<Bytes, SseError> {
    // A line may break within a group of four characters. There is no CR: it would have ended the line.
    let text = if memchr(b'\n', &data).is_some() {
        without_line_breaks(data)
    } else {
        data
    };
    match STANDARD.decode(&text) {
        Ok(bytes) => Ok(bytes.into()),
        Err(error) => Err(SseError::Base64 {
            reason: error.to_string(),
        }),
    }
}

/// Removes the LFs. Works in place if the bytes are not shared, so that a large event is not in memory twice.
fn without_line_breaks(data: Bytes) -> Bytes {
    let mut text = data.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    let mut length = 0;
    let mut start = 0;
    while start < text.len() {
        let end = memchr(b'\n', &text[start..]).map_or(text.len(), |found| start + found);
        text.copy_within(start..end, length);
        length += end - start;
        start = end + 1;
    }
    text.truncate(length);
    text.freeze()
}

fn parse_control(json: &[u8]) -> Result<ControlEvent, SseError> {
    let fields: Map<String, Value> = serde_json::from_slice(json).map_err(|error| malformed(error.to_string()))?;
    let next_offset = string(&fields, "streamNextOffset")?
        .filter(|offset| !offset.is_empty())
        .ok_or_else(|| malformed("streamNextOffset is missing".to_owned()))?;
    let closed = flag(&fields, "streamClosed")?;
    let up_to_date = flag(&fields, "upToDate")? || closed;
    Ok(ControlEvent {
        next_offset,
        cursor: string(&fields, "streamCursor")?,
        up_to_date,
        closed,
    })
}

fn parse_error(data: Bytes) -> ErrorEvent {
    let code = ErrorBody::parse(&data).map(|body| body.code);
    ErrorEvent {
        code: code.unwrap_or_default(),
        data,
    }
}

/// A field that is a string; `None` if it is missing or null.
fn string(fields: &Map<String, Value>, name: &str) -> Result<Option<String>, SseError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(value)) => Ok(Some(value.clone())),
        Some(_) => Err(malformed(format!("{name} is not a string"))),
    }
}

/// A field that is true or false; false if it is missing or null.
fn flag(fields: &Map<String, Value>, name: &str) -> Result<bool, SseError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(_) => Err(malformed(format!("{name} is neither true nor false"))),
    }
}

fn malformed(reason: String) -> SseError {
    SseError::Control { reason }
}
