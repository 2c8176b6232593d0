//! What the events of a Durable Streams response mean.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use memchr::memchr;
use serde_json::{Map, Value};

use super::decoder::{DEFAULT_MAX_EVENT_BYTES, RawEventDecoder};
use super::error::SseError;

/// How the payload of a response's data events is encoded. Control events are never encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// As it is: JSON and text.
    #[default]
    Plain,
    /// Standard, padded base64 (RFC 4648, section 4), over any number of lines.
    Base64,
}

impl Encoding {
    /// The encoding that a response's `stream-sse-data-encoding` header names, in any case; `None` where there is none.
    ///
    /// # Errors
    /// [`SseError::UnknownEncoding`]: such data cannot be read, and must not be handed out as if they were plain.
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
    /// A payload, decoded. On a JSON stream: an array of messages, not parsed yet. On a text stream: the text, with LF
    /// where the server broke the line; not checked for UTF-8. It may be a slice of the piece that it came in, and then
    /// keeps that alive.
    ///
    /// It has no position until a control event follows: what is handed out before that is read again after a lost
    /// connection.
    Data(Bytes),
    /// Where the stream is after the data events before it.
    Control(ControlEvent),
}

/// What a control event says (protocol, "Read Stream - Live (SSE)").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlEvent {
    /// Where the next read starts: an opaque string, never empty.
    pub next_offset: String,
    /// What to send back as `cursor` on the next request; servers leave it out at the end of a closed stream.
    pub cursor: Option<String>,
    /// Nothing more existed when this was sent. True whenever `closed` is.
    pub up_to_date: bool,
    /// The end of a closed stream: nothing will ever follow.
    pub closed: bool,
}

/// Turns the pieces of a Durable Streams SSE response into its events. Events of other names are passed over, and so
/// are those without a name: newer servers may send them.
#[derive(Debug)]
pub struct EventDecoder {
    frames: RawEventDecoder,
    encoding: Encoding,
    failed: Option<SseError>,
}

impl EventDecoder {
    /// A decoder for one response, whose events are at most [`DEFAULT_MAX_EVENT_BYTES`] each.
    pub fn new(encoding: Encoding) -> Self {
        Self::with_limit(encoding, DEFAULT_MAX_EVENT_BYTES)
    }

    /// A decoder for one response whose events are at most `limit` bytes each, counted as they are sent: before base64
    /// is decoded.
    pub fn with_limit(encoding: Encoding, limit: usize) -> Self {
        Self {
            frames: RawEventDecoder::with_limit(limit),
            encoding,
            failed: None,
        }
    }

    /// Takes the next piece of the body, cut anywhere. Best pushed when [`next_event`](Self::next_event) has returned
    /// `None`; see [`RawEventDecoder::push`].
    pub fn push(&mut self, piece: Bytes) {
        self.frames.push(piece);
    }

    /// The next event that is complete, or `None` when it takes another piece to complete one.
    ///
    /// # Errors
    /// An event that is too large, is not base64 where it should be, or is a control event that says nothing. The events
    /// before it have been returned by then; after it there are none: the same error comes again.
    pub fn next_event(&mut self) -> Result<Option<SseEvent>, SseError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.decode_next()
            .inspect_err(|error| self.failed = Some(error.clone()))
    }

    /// The reconnection time that the server asked for, clamped; see [`RawEventDecoder::retry`].
    pub fn retry(&self) -> Option<Duration> {
        self.frames.retry()
    }

    fn decode_next(&mut self) -> Result<Option<SseEvent>, SseError> {
        while let Some(frame) = self.frames.next_event()? {
            match &frame.event[..] {
                b"data" => return self.payload(frame.data).map(|data| Some(SseEvent::Data(data))),
                b"control" => return parse_control(&frame.data).map(|control| Some(SseEvent::Control(control))),
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
    // Lines may break anywhere, so in the middle of a group of four as well. A CR cannot be in there: it ends a line.
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

/// Joins lines in place where nobody else holds the bytes, so that a large event does not need its size again.
fn without_line_breaks(data: Bytes) -> Bytes {
    let mut text = data.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    let mut kept = 0;
    let mut start = 0;
    while start < text.len() {
        let end = memchr(b'\n', &text[start..]).map_or(text.len(), |length| start + length);
        text.copy_within(start..end, kept);
        kept += end - start;
        start = end + 1;
    }
    text.truncate(kept);
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
