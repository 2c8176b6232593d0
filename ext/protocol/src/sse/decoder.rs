//! The framing of SSE, after "Interpreting an event stream" in the WHATWG HTML standard: bytes in, raw events out.
//!
//! The decoder reads every byte once and copies the value of a `data` line at most once, into its event. So a line of
//! any length costs linear time, and its own size in memory. If an event has one `data` line and arrives in one piece,
//! its data is a slice of the piece and is not copied. The data of a large event can be taken while it arrives.

use std::mem;
use std::time::Duration;

use bytes::{Buf, Bytes};
use memchr::{memchr, memchr2};

use super::error::SseError;

/// The shortest reconnection time that a `retry:` field can set. It prevents a busy loop.
pub const MIN_RETRY: Duration = Duration::from_millis(100);

/// The longest reconnection time that a `retry:` field can set. It prevents a client that never reconnects.
pub const MAX_RETRY: Duration = Duration::from_secs(30);

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// The fields that the decoder reads, each with its colon. It ignores `id`: control events have the position.
const FIELDS: [&[u8]; 3] = [b"data:", b"event:", b"retry:"];

/// The longest field name with its colon and space, in bytes.
const MAX_FIELD_PREFIX: usize = b"event: ".len();

/// One event, before its name is interpreted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawEvent {
    /// The value of its last `event` field. Empty without one; browsers call such an event `message`.
    pub event: Bytes,
    /// The values of its `data` fields, joined by LF. The decoder does not check that they are UTF-8.
    pub data: Bytes,
}

/// Decodes the pieces of an event stream into raw events.
///
/// ```
/// use bytes::Bytes;
/// use durable_streams_protocol::sse::RawEventDecoder;
///
/// let mut decoder = RawEventDecoder::new(1 << 20);
/// decoder.push(Bytes::from_static(b"event: greeting\ndata: hello\n"));
/// assert_eq!(decoder.next_event()?, None);
/// decoder.push(Bytes::from_static(b"\n"));
/// let event = decoder.next_event()?.unwrap();
/// assert_eq!((&event.event[..], &event.data[..]), (&b"greeting"[..], &b"hello"[..]));
/// # Ok::<(), durable_streams_protocol::sse::SseError>(())
/// ```
///
/// Use a new decoder for every response. At the end of the body there is nothing to call: an event without its blank
/// line is incomplete, and is dropped with the decoder.
#[derive(Debug)]
pub struct RawEventDecoder {
    /// The bytes that were pushed and not read yet.
    piece: Bytes,
    line: Line,
    /// The last byte was a CR. If an LF comes next, both are one line end.
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
    /// At the start of the stream, after this many bytes of a possible byte order mark.
    Bom(usize),
    /// At the start of a line.
    Start,
    /// After these bytes, which may still become one of several fields.
    Undecided(Vec<u8>),
    /// In the value of a `data` line. `at_start`: before its first byte, where one space is dropped.
    Data { at_start: bool },
    /// In an `event` or `retry` line, after these bytes of the line.
    Buffered(Vec<u8>),
    /// In a comment or an ignored field.
    Ignored,
}

/// The `data` fields of the event so far, joined by LF.
#[derive(Debug, Default)]
struct DataFields {
    /// Whether there was one. Without one, there is no event.
    any: bool,
    /// How many bytes were taken. The rest is in `slice` or `joined`.
    taken: usize,
    /// The rest, if it came in one piece. Then `joined` is empty.
    slice: Bytes,
    joined: Vec<u8>,
}

impl RawEventDecoder {
    /// A decoder for one response. An event's data and its name may have `limit` bytes each. Comments and ignored
    /// fields take no memory and do not count.
    pub fn new(limit: usize) -> Self {
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

    /// Adds the next piece of the body. Call [`next_event`](Self::next_event) until it returns `None` before you push
    /// the next piece. Otherwise both are copied into one.
    pub fn push(&mut self, piece: Bytes) {
        if self.piece.is_empty() {
            self.piece = piece;
        } else if !piece.is_empty() {
            self.piece = Bytes::from([&self.piece[..], &piece[..]].concat());
        }
    }

    /// The next complete event, of any name; `None` if it needs another piece.
    ///
    /// # Errors
    /// [`SseError::EventTooLarge`] or [`SseError::LateName`]. Every later call returns the same error.
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

    /// How much data of an incomplete event with this name has arrived and was not taken. 0 while the event has no
    /// name.
    pub fn unfinished_bytes(&self, name: &[u8]) -> usize {
        match self.event == name {
            true => self.data.untaken(),
            false => 0,
        }
    }

    /// Takes the data of the incomplete event that has arrived. Its [`RawEvent`] will have only the data after that.
    pub fn take_unfinished(&mut self) -> Bytes {
        let data = self.data.take_bytes();
        self.data.taken += data.len();
        data
    }

    /// The reconnection time from the last `retry:` field, between [`MIN_RETRY`] and [`MAX_RETRY`]; `None` without a
    /// field.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// Reads the piece from the position on, up to the end of the next event.
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
                self.part_of_line(rest, piece)?;
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

    /// Compares a byte at the start of the stream with the byte order mark. Returns how many bytes it consumed.
    fn skip_bom(&mut self, matched: usize, byte: u8) -> usize {
        if byte == BOM[matched] {
            self.line = if matched + 1 == BOM.len() {
                Line::Start
            } else {
                Line::Bom(matched + 1)
            };
            return 1;
        }
        // After part of a byte order mark, the line starts with other bytes than a known field.
        self.line = if matched == 0 { Line::Start } else { Line::Ignored };
        0
    }

    /// Handles the start or middle of a line: the piece ends before the line does.
    fn part_of_line(&mut self, part: &[u8], piece: &Bytes) -> Result<(), SseError> {
        match &mut self.line {
            Line::Start | Line::Bom(_) => self.classify_line(part, piece),
            Line::Undecided(head) => {
                let mut line = mem::take(head);
                line.extend_from_slice(part);
                let line = Bytes::from(line);
                self.classify_line(&line, &line)
            }
            Line::Data { at_start } => {
                let part = if mem::take(at_start) { without_space(part) } else { part };
                self.data.add(piece.slice_ref(part), self.limit)
            }
            Line::Buffered(line) => grow(line, part, self.limit.saturating_add(MAX_FIELD_PREFIX)),
            Line::Ignored => Ok(()),
        }
    }

    /// Decides as early as possible which field a line is, from its first bytes. They are a slice of `owner`.
    fn classify_line(&mut self, line: &[u8], owner: &Bytes) -> Result<(), SseError> {
        if let Some(value) = line.strip_prefix(b"data:") {
            self.data.start_line(self.limit)?;
            self.line = Line::Data {
                at_start: value.is_empty(),
            };
            return self.data.add(owner.slice_ref(without_space(value)), self.limit);
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

    /// Handles the rest of a line, which ends in this piece and is not blank.
    fn end_of_line(&mut self, rest: &[u8], piece: &Bytes) -> Result<(), SseError> {
        match mem::replace(&mut self.line, Line::Start) {
            Line::Start | Line::Bom(_) => self.field(rest, piece),
            Line::Undecided(mut line) | Line::Buffered(mut line) => {
                line.extend_from_slice(rest);
                let line = Bytes::from(line);
                self.field(&line, &line)
            }
            Line::Data { at_start } => {
                let rest = if at_start { without_space(rest) } else { rest };
                self.data.add(piece.slice_ref(rest), self.limit)
            }
            Line::Ignored => Ok(()),
        }
    }

    /// Handles a complete line: `name:value`, `name: value`, `name`, or a comment, whose name is empty. The line is a
    /// slice of `owner`.
    fn field(&mut self, line: &[u8], owner: &Bytes) -> Result<(), SseError> {
        let colon = memchr(b':', line).unwrap_or(line.len());
        let value = line.get(colon + 1..).map_or(&[][..], without_space);
        match &line[..colon] {
            b"data" => {
                self.data.start_line(self.limit)?;
                self.data.add(owner.slice_ref(value), self.limit)
            }
            b"event" => {
                check_limit(self.limit, value.len())?;
                if self.data.taken > 0 && self.event != value {
                    return Err(SseError::LateName);
                }
                // Copied: a slice would prevent the whole piece from being freed.
                self.event = match value {
                    b"data" => Bytes::from_static(b"data"),
                    b"control" => Bytes::from_static(b"control"),
                    other => Bytes::copy_from_slice(other),
                };
                Ok(())
            }
            b"retry" => {
                check_limit(self.limit, value.len())?;
                self.retry = parse_retry(value).or(self.retry);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Handles a blank line, which ends the event. Without a `data` field there is no event, and its name is dropped.
    fn dispatch(&mut self) -> Option<RawEvent> {
        let event = mem::take(&mut self.event);
        let data = self.data.take()?;
        Some(RawEvent { event, data })
    }
}

impl DataFields {
    /// Begins a line. Joins it to the previous one.
    fn start_line(&mut self, limit: usize) -> Result<(), SseError> {
        match mem::replace(&mut self.any, true) {
            true => self.add(Bytes::from_static(b"\n"), limit),
            false => Ok(()),
        }
    }

    /// Adds a part of a line. Copies it, unless it is the only one.
    fn add(&mut self, part: Bytes, limit: usize) -> Result<(), SseError> {
        check_limit(limit, (self.taken + self.untaken()).saturating_add(part.len()))?;
        if self.untaken() == 0 {
            self.slice = part;
        } else {
            self.joined.extend_from_slice(&mem::take(&mut self.slice));
            self.joined.extend_from_slice(&part);
        }
        Ok(())
    }

    fn untaken(&self) -> usize {
        self.slice.len() + self.joined.len()
    }

    /// Takes the data, if there was a `data` field, and resets this.
    fn take(&mut self) -> Option<Bytes> {
        let mut fields = mem::take(self);
        fields.any.then(|| fields.take_bytes())
    }

    fn take_bytes(&mut self) -> Bytes {
        match self.joined.is_empty() {
            true => mem::take(&mut self.slice),
            false => mem::take(&mut self.joined).into(),
        }
    }
}

/// Appends bytes, up to the limit.
fn grow(buffer: &mut Vec<u8>, bytes: &[u8], limit: usize) -> Result<(), SseError> {
    check_limit(limit, buffer.len().saturating_add(bytes.len()))?;
    buffer.extend_from_slice(bytes);
    Ok(())
}

fn check_limit(limit: usize, size: usize) -> Result<(), SseError> {
    if size > limit {
        Err(SseError::EventTooLarge { limit })
    } else {
        Ok(())
    }
}

/// The value without the one space after the colon, which belongs to the framing.
fn without_space(value: &[u8]) -> &[u8] {
    value.strip_prefix(b" ").unwrap_or(value)
}

/// Milliseconds in ASCII digits, clamped. `None` for any other value, which the standard ignores.
fn parse_retry(value: &[u8]) -> Option<Duration> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let millis = value.iter().fold(0u64, |sum, digit| {
        sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
    });
    Some(Duration::from_millis(millis).clamp(MIN_RETRY, MAX_RETRY))
}
