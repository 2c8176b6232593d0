//! The limits of an event's size, and the cost of large events.

use std::time::Instant;

use bytes::Bytes;

use super::super::{DataEventBuffer, Encoding, EventDecoder, RawEvent, RawEventDecoder, SseError, SseEvent};
use super::random_pieces;

const LIMIT: usize = 10;

fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<RawEvent>, SseError> {
    let mut decoder = RawEventDecoder::new(LIMIT);
    let mut events = Vec::new();
    for piece in pieces {
        decoder.push(Bytes::copy_from_slice(piece));
        while let Some(event) = decoder.next_event()? {
            events.push(event);
        }
    }
    Ok(events)
}

#[test]
fn accepts_events_up_to_the_limit_and_refuses_larger_ones() {
    let passes = [
        "data: 0123456789\n\n",
        "data: 01234\ndata:6789\n\n",
        "event: 0123456789\ndata\n\n",
        "retry: 0000000001\n",
    ];
    let fails = [
        "data: 0123456789a\n\n",
        "data:01234\ndata:56789\n\n",
        "event: 0123456789a\ndata\n\n",
        "retry: 00000000001\n",
    ];
    for stream in passes {
        assert!(decode([stream.as_bytes()]).is_ok(), "{stream:?}");
        for seed in 0..200 {
            let pieces = random_pieces(&mut fastrand::Rng::with_seed(seed), stream.as_bytes(), 9);
            assert!(decode(pieces).is_ok(), "{stream:?}, seed {seed}");
        }
    }
    for stream in fails {
        assert_eq!(
            decode([stream.as_bytes()]),
            Err(SseError::EventTooLarge { limit: LIMIT }),
            "{stream:?}"
        );
        for seed in 0..200 {
            let pieces = random_pieces(&mut fastrand::Rng::with_seed(seed), stream.as_bytes(), 9);
            assert!(decode(pieces).is_err(), "{stream:?}, seed {seed}");
        }
    }
}

#[test]
fn an_endless_line_fails_before_its_end() {
    let endless = [b"data: ".as_slice(), b"xxxxx", b"xxxxx", b"xxxxx"];
    assert_eq!(decode(endless), Err(SseError::EventTooLarge { limit: LIMIT }));
}

#[test]
fn the_limit_applies_to_one_event_and_not_to_ignored_lines() {
    let long = "x".repeat(1000);
    let stream = format!(":{long}\n{long}\nid: {long}\nfield: {long}\ndata: 0123456789\n\n").repeat(3);
    for size in [1, 7, 4096] {
        assert_eq!(
            decode(stream.as_bytes().chunks(size)).map(|events| events.len()),
            Ok(3),
            "pieces of {size}"
        );
    }
}

#[test]
fn returns_the_events_before_an_error_and_then_the_error_every_time() {
    let mut decoder = RawEventDecoder::new(LIMIT);
    decoder.push(Bytes::from_static(b"data: 1\n\ndata: 0123456789a\n\ndata: 2\n\n"));
    assert!(decoder.next_event().unwrap().is_some());
    for _ in 0..3 {
        let error = decoder.next_event().unwrap_err();
        assert_eq!(
            error.to_string(),
            "SSE event is larger than the limit of 10 bytes (max_message_bytes)"
        );
        decoder.push(Bytes::from_static(b"\n\ndata: 3\n\n"));
    }
}

#[test]
fn a_line_of_150_megabytes_takes_linear_time() {
    const SIZE: usize = 150 << 20;
    let piece = Bytes::from(vec![b'x'; 16 << 10]);
    let mut decoder = EventDecoder::new(Encoding::Plain, usize::MAX);
    let start = Instant::now();
    decoder.push(Bytes::from_static(b"event: data\ndata: "));
    for _ in 0..SIZE / piece.len() {
        assert_eq!(decoder.next_event(), Ok(None));
        decoder.push(piece.clone());
    }
    assert_eq!(decoder.next_event(), Ok(None));
    decoder.push(Bytes::from_static(b"\n\n"));
    let Ok(Some(SseEvent::Data(data))) = decoder.next_event() else {
        panic!("a data event")
    };
    assert_eq!(data.len(), SIZE);
    // Quadratic time would take hours. The bound is loose so that slow machines pass.
    assert!(start.elapsed().as_secs() < 120, "{:?}", start.elapsed());
}

#[test]
fn endless_names_and_comments_take_linear_time() {
    for start in ["event: ", ":", "unknown", "id: "] {
        let began = Instant::now();
        let mut decoder = RawEventDecoder::new(usize::MAX);
        decoder.push(Bytes::copy_from_slice(start.as_bytes()));
        let piece = Bytes::from(vec![b'x'; 16 << 10]);
        for _ in 0..(32 << 20) / piece.len() {
            assert_eq!(decoder.next_event(), Ok(None));
            decoder.push(piece.clone());
        }
        assert!(began.elapsed().as_secs() < 120, "{start:?}: {:?}", began.elapsed());
    }
}

#[test]
fn data_events_without_a_control_event_are_limited_together() {
    let mut buffer = DataEventBuffer::new(1000);
    let event = Bytes::from_static(&[b'x'; 300]);
    for _ in 0..3 {
        buffer.push(event.clone()).unwrap();
    }
    assert_eq!(buffer.take().count(), 3);
    buffer.push(event.clone()).unwrap();
    buffer.push(event.clone()).unwrap();
    buffer.push(event.clone()).unwrap();
    let error = buffer.push(event).unwrap_err();
    assert_eq!(error, SseError::TooMuchWithoutControl { limit: 1000 });
    assert_eq!(buffer.take().count(), 0);
}

#[test]
fn empty_data_events_without_a_control_event_are_limited_too() {
    let mut buffer = DataEventBuffer::new(1000);
    let refused = (0..1000).find(|_| buffer.push(Bytes::new()).is_err());
    assert!(
        refused.is_some_and(|count| count <= 1000 / size_of::<Bytes>()),
        "{refused:?}"
    );
}

#[test]
fn only_the_decoder_limits_a_single_data_event() {
    let mut buffer = DataEventBuffer::new(10);
    buffer.push(Bytes::from_static(b"0123456789")).unwrap();
    assert!(buffer.take().eq(["0123456789"]));
}

#[test]
fn a_small_data_event_does_not_retain_its_piece() {
    let mut buffer = DataEventBuffer::new(1 << 20);
    let piece = Bytes::from(vec![b'x'; 1000]);
    let (small, large, last) = (piece.slice(..10), piece.slice(10..900), piece.slice(900..905));
    for event in [&small, &large, &last] {
        buffer.push(event.clone()).unwrap();
    }
    buffer.release_piece(piece.len());
    buffer.push(Bytes::from_static(b"of the next piece")).unwrap();
    let events: Vec<Bytes> = buffer.take().collect();
    assert_eq!(events, [&small[..], &large, &last, b"of the next piece"]);
    assert_ne!(events[0].as_ptr(), small.as_ptr());
    assert_eq!(events[1].as_ptr(), large.as_ptr());
}
