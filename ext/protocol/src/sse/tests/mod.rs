//! Tests the decoders with the standard's examples, a reference decoder, streams cut anywhere, and recordings of
//! servers.

mod events;
mod framing;
mod limits;
mod recordings;
mod reference;

use bytes::Bytes;

use super::{Encoding, EventDecoder, RawEvent, RawEventDecoder, SseError, SseEvent};

/// All events of a stream in these pieces.
fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<RawEvent> {
    let mut decoder = RawEventDecoder::new(usize::MAX);
    let mut events = Vec::new();
    for piece in pieces {
        decoder.push(Bytes::copy_from_slice(piece));
        while let Some(event) = decoder.next_event().unwrap() {
            events.push(event);
        }
    }
    events
}

/// All events of a Durable Streams response in these pieces, up to the first error.
fn read<'a>(encoding: Encoding, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<SseEvent>, Option<SseError>) {
    let mut decoder = EventDecoder::new(encoding, usize::MAX);
    let mut events = Vec::new();
    for piece in pieces {
        decoder.push(Bytes::copy_from_slice(piece));
        loop {
            match decoder.next_event() {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => return (events, Some(error)),
            }
        }
    }
    (events, None)
}

fn raw(event: &str, data: &str) -> RawEvent {
    RawEvent {
        event: Bytes::copy_from_slice(event.as_bytes()),
        data: Bytes::copy_from_slice(data.as_bytes()),
    }
}

/// The stream, cut at random into pieces of at most `longest` bytes.
fn random_pieces<'a>(random: &mut fastrand::Rng, stream: &'a [u8], longest: usize) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(random.usize(0..=longest.min(rest.len())));
        pieces.push(piece);
        rest = after;
    }
    pieces
}
