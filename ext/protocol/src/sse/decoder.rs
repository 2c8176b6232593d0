//! The framing: bytes in, cut anywhere, raw events out. After "Interpreting an event stream" of the WHATWG HTML standard.
//!
//! Every byte is looked at once and the value of a `data` line is copied at most once, straight into the event it
//! belongs to, so a line of any length costs linear time and its size in memory. An event of one `data` line that lies
//! within one piece is not copied at all: its data are a slice of the piece.

use std::mem;
use std::time::Duration;

use bytes::{Buf, Bytes};
use memchr::{memchr, memchr2};

use super::error::SseError;

/// How large one event may be unless said otherwise, in bytes: 1 GiB.
pub const DEFAULT_MAX_EVENT_BYTES: usize = 1 << 30;

/// The shortest reconnection time that a `retry:` field can ask for: a server must not make its clients spin.
pub const MIN_RETRY: Duration = Duration::from_millis(100);

/// The longest reconnection time that a `retry:` field can ask for: a server must not put its clients to sleep for good.
pub const MAX_RETRY: Duration = Duration::from_secs(30);

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// The fields that are read, each with its colon. `id` is not: a stream's position comes in control events.
const FIELDS: [&[u8]; 3] = [b"data:", b"event:", b"retry:"];

/// What a field's name, its colon and its space take at most, in bytes.
const MAX_FIELD_PREFIX: usize = b"event: ".len();

/// One event as it was framed, whatever it means.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawEvent {
    /// The value of its last `event` field; empty if it had none (which browsers call `message`).
    pub event: Bytes,
    /// The values of its `data` fields, joined by LF. Not checked for UTF-8: bytes that are not UTF-8 come as they were
    /// sent, for the reader of the payload to judge.
    pub data: Bytes,
}

/// Turns the pieces of an event stream into events.
///
/// ```
/// use bytes::Bytes;
/// use durable_streams_protocol::sse::RawEventDecoder;
///
/// let mut decoder = RawEventDecoder::new();
/// decoder.push(Bytes::from_static(b"event: greeting\ndata: hello\n"));
/// assert_eq!(decoder.next_event()?, None);
/// decoder.push(Bytes::from_static(b"\n"));
/// let event = decoder.next_event()?.unwrap();
/// assert_eq!((&event.event[..], &event.data[..]), (&b"greeting"[..], &b"hello"[..]));
/// # Ok::<(), durable_streams_protocol::sse::SseError>(())
/// ```
///
/// There is nothing to call at the end of the body: an event without its blank line is incomplete, and is dropped with
/// the decoder. A decoder reads one response; the next response starts with a new one.
#[derive(Debug)]
pub struct RawEventDecoder {
    /// What was pushed and not looked at yet.
    piece: Bytes,
    line: Line,
    /// The last byte was a CR, which ended its line: an LF right after it belongs to that line end.
    after_cr: bool,
    event: Bytes,
    data: DataFields,
    limit: usize,
    retry: Option<Duration>,
    failed: Option<SseError>,
}

/// Where in a line the last piece ended.
#[derive(Debug)]
enum Line {
    /// At the start of the stream, after so many bytes of what may be a byte order mark.
    Bom(usize),
    /// At the start of a line.
    Start,
    /// After these few bytes, which do not tell yet what the line is.
    Undecided(Vec<u8>),
    /// In the value of a `data` line. `at_start`: at its very start, where one space is dropped.
    Data { at_start: bool },
    /// In another field that is read, after these bytes of the line.
    Buffered(Vec<u8>),
    /// In a comment or in a field that is not read.
    Ignored,
}

/// The `data` fields of the event so far, joined by LF.
#[derive(Debug, Default)]
struct DataFields {
    /// Whether there was one. An event without any is not an event.
    any: bool,
    /// The only one, if it lies within one piece and `joined` is empty.
    slice: Bytes,
    joined: Vec<u8>,
}

impl Default for RawEventDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl RawEventDecoder {
    /// A decoder for one response, with a limit of [`DEFAULT_MAX_EVENT_BYTES`].
    pub fn new() -> Self {
        Self::with_limit(DEFAULT_MAX_EVENT_BYTES)
    }

    /// A decoder for one response whose events are at most `limit` bytes each, data and event name separately. What is
    /// ignored (comments, unknown fields) takes no memory and does not count.
    pub fn with_limit(limit: usize) -> Self {
        Self {
            piece: Bytes::new(),
            line: Line::Bom(0),
            after_cr: false,
            event: Bytes::new(),
            data: DataFields::default(),
            limit,
            retry: None,
            failed: None,
        }
    }

    /// Takes the next piece of the body. Take the events out of it with [`next_event`](Self::next_event), until there is
    /// none, before the next piece is pushed; otherwise the two have to be copied together.
    pub fn push(&mut self, piece: Bytes) {
        if self.piece.is_empty() {
            self.piece = piece;
        } else if !piece.is_empty() {
            self.piece = Bytes::from([&self.piece[..], &piece[..]].concat());
        }
    }

    /// The next event that is complete, or `None` when it takes another piece to complete one. Events of any name are
    /// returned.
    ///
    /// # Errors
    /// [`SseError::EventTooLarge`], then and ever after.
    pub fn next_event(&mut self) -> Result<Option<RawEvent>, SseError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let mut piece = mem::take(&mut self.piece);
        let mut position = 0;
        let result = self.scan(&piece, &mut position);
        match &result {
            Ok(_) if position < piece.len() => {
                piece.advance(position);
                self.piece = piece;
            }
            Ok(_) => {}
            Err(error) => {
                self.failed = Some(error.clone());
                self.data = DataFields::default();
                self.line = Line::Ignored;
            }
        }
        result
    }

    /// The reconnection time that the last `retry:` field asked for, clamped to [`MIN_RETRY`] and [`MAX_RETRY`]; `None`
    /// if there was none.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// Looks at the piece from the position on, as far as the next event's end.
    fn scan(&mut self, piece: &Bytes, position: &mut usize) -> Result<Option<RawEvent>, SseError> {
        while *position < piece.len() {
            let rest = &piece[*position..];
            if mem::take(&mut self.after_cr) && rest[0] == b'\n' {
                *position += 1;
                continue;
            }
            if let Line::Bom(matched) = self.line {
                *position += self.skip_bom(matched, rest[0]);
                continue;
            }
            let Some(end) = memchr2(b'\n', b'\r', rest) else {
                *position = piece.len();
                self.part_of_line(rest)?;
                break;
            };
            *position += end + 1;
            self.after_cr = rest[end] == b'\r';
            if end > 0 || !matches!(self.line, Line::Start) {
                self.end_of_line(&rest[..end], piece)?;
            } else if let Some(event) = self.dispatch() {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// Compares a byte at the start of the stream with the byte order mark. Returns how many bytes are dealt with.
    fn skip_bom(&mut self, matched: usize, byte: u8) -> usize {
        if byte == BOM[matched] {
            self.line = if matched + 1 == BOM.len() {
                Line::Start
            } else {
                Line::Bom(matched + 1)
            };
            return 1;
        }
        // Part of a mark and then something else: a line that starts with those bytes, so none that is read.
        self.line = if matched == 0 { Line::Start } else { Line::Ignored };
        0
    }

    /// Takes bytes that do not end their line.
    fn part_of_line(&mut self, part: &[u8]) -> Result<(), SseError> {
        match &mut self.line {
            Line::Start | Line::Bom(_) => self.sort_line(part),
            Line::Undecided(head) => {
                let mut line = mem::take(head);
                line.extend_from_slice(part);
                self.sort_line(&line)
            }
            Line::Data { at_start } => {
                let part = if mem::take(at_start) { without_space(part) } else { part };
                self.data.append(part, self.limit)
            }
            Line::Buffered(line) => grow(line, part, self.limit.saturating_add(MAX_FIELD_PREFIX)),
            Line::Ignored => Ok(()),
        }
    }

    /// Decides as early as possible what becomes of a line that starts so.
    fn sort_line(&mut self, line: &[u8]) -> Result<(), SseError> {
        if let Some(value) = line.strip_prefix(b"data:") {
            self.data.start_line(self.limit)?;
            self.line = Line::Data {
                at_start: value.is_empty(),
            };
            return self.data.append(without_space(value), self.limit);
        }
        self.line = if FIELDS.iter().any(|field| line.starts_with(field)) {
            Line::Buffered(line.to_vec())
        } else if FIELDS.iter().any(|field| field.starts_with(line)) {
            Line::Undecided(line.to_vec())
        } else {
            Line::Ignored
        };
        Ok(())
    }

    /// Takes the bytes, of this piece, up to the end of a line that is not a blank one.
    fn end_of_line(&mut self, rest: &[u8], piece: &Bytes) -> Result<(), SseError> {
        match mem::replace(&mut self.line, Line::Start) {
            Line::Start | Line::Bom(_) => self.field(rest, piece),
            Line::Undecided(mut line) | Line::Buffered(mut line) => {
                line.extend_from_slice(rest);
                let line = Bytes::from(line);
                self.field(&line, &line)
            }
            Line::Data { at_start } => self
                .data
                .append(if at_start { without_space(rest) } else { rest }, self.limit),
            Line::Ignored => Ok(()),
        }
    }

    /// Processes a whole line, which is a part of `owner`: `name:value`, `name: value`, `name`, or a comment, whose name
    /// is empty.
    fn field(&mut self, line: &[u8], owner: &Bytes) -> Result<(), SseError> {
        let colon = memchr(b':', line).unwrap_or(line.len());
        let value = line.get(colon + 1..).map_or(&[][..], without_space);
        match &line[..colon] {
            b"data" => self.data.whole_line(owner.slice_ref(value), self.limit),
            b"event" => {
                within(self.limit, value.len())?;
                // Copied, since a slice would keep a whole piece alive for the sake of a name.
                self.event = match value {
                    b"data" => Bytes::from_static(b"data"),
                    b"control" => Bytes::from_static(b"control"),
                    other => Bytes::copy_from_slice(other),
                };
                Ok(())
            }
            b"retry" => {
                within(self.limit, value.len())?;
                self.retry = parse_retry(value).or(self.retry);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Ends the event at a blank line. Without any `data` field it is none, and its name is forgotten.
    fn dispatch(&mut self) -> Option<RawEvent> {
        let event = mem::take(&mut self.event);
        let data = self.data.take()?;
        Some(RawEvent { event, data })
    }
}

impl DataFields {
    /// Adds a line that is known whole.
    fn whole_line(&mut self, value: Bytes, limit: usize) -> Result<(), SseError> {
        if self.any {
            self.start_line(limit)?;
            return self.append(&value, limit);
        }
        within(limit, value.len())?;
        self.any = true;
        self.slice = value;
        Ok(())
    }

    /// Begins a line whose value comes in parts: joins it to the one before.
    fn start_line(&mut self, limit: usize) -> Result<(), SseError> {
        if !mem::replace(&mut self.any, true) {
            return Ok(());
        }
        if !self.slice.is_empty() {
            self.joined.extend_from_slice(&mem::take(&mut self.slice));
        }
        self.append(b"\n", limit)
    }

    fn append(&mut self, part: &[u8], limit: usize) -> Result<(), SseError> {
        grow(&mut self.joined, part, limit)
    }

    /// What was collected, if there was a `data` field at all. Starts anew.
    fn take(&mut self) -> Option<Bytes> {
        let DataFields { any, slice, joined } = mem::take(self);
        any.then(|| if joined.is_empty() { slice } else { joined.into() })
    }
}

/// Appends within the limit.
fn grow(buffer: &mut Vec<u8>, bytes: &[u8], limit: usize) -> Result<(), SseError> {
    within(limit, buffer.len().saturating_add(bytes.len()))?;
    buffer.extend_from_slice(bytes);
    Ok(())
}

fn within(limit: usize, size: usize) -> Result<(), SseError> {
    if size > limit {
        Err(SseError::EventTooLarge { limit })
    } else {
        Ok(())
    }
}

/// One space after the colon belongs to the framing.
fn without_space(value: &[u8]) -> &[u8] {
    value.strip_prefix(b" ").unwrap_or(value)
}

/// Milliseconds, in ASCII digits and nothing else; anything else is no `retry` field. However many digits: clamped.
fn parse_retry(value: &[u8]) -> Option<Duration> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let millis = value.iter().fold(0u64, |sum, digit| {
        sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
    });
    Some(Duration::from_millis(millis).clamp(MIN_RETRY, MAX_RETRY))
}
