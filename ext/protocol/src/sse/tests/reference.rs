//! The standard's algorithm, literally, over a complete stream: slow, but easy to check.

use bytes::Bytes;

use super::RawEvent;

pub(super) fn decode(stream: &[u8]) -> Vec<RawEvent> {
    let stream = stream.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(stream);
    let mut events = Vec::new();
    let (mut event, mut data) = (Vec::new(), Vec::new());
    for line in lines(stream) {
        if line.is_empty() {
            let (event, mut data) = (std::mem::take(&mut event), std::mem::take(&mut data));
            if data.pop().is_some() {
                events.push(RawEvent {
                    event: Bytes::from(event),
                    data: Bytes::from(data),
                });
            }
            continue;
        }
        let (name, value) = match line.iter().position(|&byte| byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (&line[..], &b""[..]),
        };
        let value = if value.first() == Some(&b' ') {
            &value[1..]
        } else {
            value
        };
        match name {
            b"event" => event = value.to_vec(),
            b"data" => {
                data.extend_from_slice(value);
                data.push(b'\n');
            }
            _ => {}
        }
    }
    events
}

/// The complete lines. Bytes after the last line end are dropped.
fn lines(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    let mut line = Vec::new();
    let mut bytes = stream.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte == b'\r' || byte == b'\n' {
            if byte == b'\r' && bytes.peek() == Some(&b'\n') {
                bytes.next();
            }
            lines.push(std::mem::take(&mut line));
        } else {
            line.push(byte);
        }
    }
    lines
}
