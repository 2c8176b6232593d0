//! The framing, without the meaning of events.

use std::time::Duration;

use bytes::Bytes;

use super::super::{MAX_RETRY, MIN_RETRY, RawEvent, RawEventDecoder};
use super::{decode, random_pieces, raw, reference};

/// Streams that cover every rule of the framing.
const CORPUS: &[&str] = &[
    // The examples of the standard.
    "data: This is the first message.\n\ndata: This is the second message, it\ndata: has two lines.\n\ndata: This is the third message.\n\n",
    "event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\nevent: add\ndata: 113411\n\n",
    "data: YHOO\ndata: +2\ndata: 10\n\n",
    ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
    "data\n\ndata\ndata\n\ndata:",
    "data:test\n\ndata: test\n\n",
    // Line ends of each kind, and mixed.
    "event: a\r\ndata: 1\r\ndata: 2\r\n\r\nevent: b\r\ndata: 3\r\n\r\n",
    "event: a\rdata: 1\rdata: 2\r\revent: b\rdata: 3\r\r",
    "event: a\rdata: 1\ndata: 2\r\n\revent: b\ndata: 3\r\n\n\r\n\rdata: 4\n\r\n",
    // A byte order mark counts only at the very start, and only complete.
    "\u{FEFF}data: marked\n\n",
    "\u{FEFF}\u{FEFF}data: not a field\n\ndata: x\n\n",
    "\u{FEFF}\n\u{FEFF}data: not a field\ndata: x\n\n",
    "\u{FEFF}",
    // Comments, and lines that look like fields.
    ":\n:comment\n: data: x\n:\u{1F30A}\ndata: x\n:\n\n",
    "Data: x\ndata : x\n data: x\ndat: x\ndatas: x\ndataa\neventt: x\nretryy: 1\nunknown\nunknown: x\ndata: y\n\n",
    // Values: empty, blanks, colons, characters of several bytes, NUL, tabs.
    "data:\n\ndata: \n\ndata:  \n\ndata::\n\ndata: :\n\ndata:\t\n\ndata:a:b: c\n\n",
    "event: \u{E9}\u{20AC}\ndata: \u{E9}\u{20AC}\u{1F30A}\ndata:\u{1F30A}\n\n",
    "id: a\0b\ndata: a\0b\n\n",
    // Empty lines in the data, an event without data, a name that is replaced, a name after the data.
    "data\ndata:\ndata: \ndata: x\ndata\n\n",
    "event: forgotten\n\ndata: nameless\n\n",
    "event: a\nevent: b\ndata: x\n\nevent: a\nevent\ndata: y\n\ndata: z\nevent: late\n\n",
    // Incomplete ends.
    "data: whole\n\ndata: half\n",
    "data: whole\n\ndata: ha",
    "data: whole\n\nevent: x\nda",
    "\n\n\n",
    "",
];

#[test]
fn decodes_the_corpus_as_the_standard_says() {
    for stream in CORPUS {
        assert_eq!(
            decode([stream.as_bytes()]),
            reference::decode(stream.as_bytes()),
            "{stream:?}"
        );
    }
}

#[test]
fn decodes_the_corpus_cut_in_any_two_places() {
    for stream in CORPUS.iter().map(|stream| stream.as_bytes()) {
        let expected = reference::decode(stream);
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
                assert_eq!(decode(pieces), expected, "{:?}", pieces.map(String::from_utf8_lossy));
            }
        }
    }
}

#[test]
fn the_data_of_an_unfinished_event_can_be_taken_at_any_time() {
    for line_end in ["\n", "\r\n", "\r"] {
        let stream =
            "event: a\ndata: one\ndata\ndata:\ndata: two\n\ndata: b\nevent: a\n\nevent: a\ndata:  x\nid: 1\n\n";
        let stream = stream.replace('\n', line_end).into_bytes();
        let expected = reference::decode(&stream);
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let mut decoder = RawEventDecoder::new(usize::MAX);
                let (mut events, mut taken) = (Vec::new(), Vec::new());
                for piece in [&stream[..first], &stream[first..second], &stream[second..]] {
                    decoder.push(Bytes::copy_from_slice(piece));
                    while let Some(event) = decoder.next_event().unwrap() {
                        let data = [&std::mem::take(&mut taken)[..], &event.data].concat();
                        events.push(RawEvent {
                            data: data.into(),
                            ..event
                        });
                    }
                    if decoder.unfinished_bytes(b"a") > 0 {
                        taken.extend_from_slice(&decoder.take_unfinished());
                    }
                }
                assert_eq!(events, expected, "{first}, {second}");
            }
        }
    }
}

#[test]
fn decodes_the_corpus_byte_by_byte() {
    for stream in CORPUS.iter().map(|stream| stream.as_bytes()) {
        assert_eq!(
            decode(stream.chunks(1)),
            reference::decode(stream),
            "{:?}",
            String::from_utf8_lossy(stream)
        );
    }
}

#[test]
fn decodes_random_streams_as_the_reference_does() {
    const WORDS: &[&[u8]] = &[
        b"data",
        b"data:",
        b"data: ",
        b"event",
        b"event:",
        b"event: ",
        b"retry: ",
        b"id: ",
        b":",
        b" ",
        b"\n",
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"\r\n\r\n",
        b"\r\r",
        b"x",
        b"a longer value",
        b"12",
        b"d",
        b"da",
        b"ev",
        b"\xEF\xBB\xBF",
        b"\xEF",
        b"\xEF\xBB",
        b"\xFF\xFE",
        b"\0",
        "\u{1F30A}".as_bytes(),
        b"control",
        b"[1,2]",
    ];
    for seed in 0..20_000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let count = random.usize(0..60);
        let stream = (0..count)
            .flat_map(|_| WORDS[random.usize(0..WORDS.len())])
            .copied()
            .collect::<Vec<u8>>();
        let longest = [1, 2, 5, 20][random.usize(0..4)];
        let pieces = random_pieces(&mut random, &stream, longest);
        assert_eq!(
            decode(pieces),
            reference::decode(&stream),
            "seed {seed}: {:?}",
            String::from_utf8_lossy(&stream)
        );
    }
}

#[test]
fn yields_an_event_at_the_first_byte_of_its_blank_line() {
    for (stream, expected) in [("data: x\n\n", "x"), ("data: x\r\r", "x"), ("data: x\r\n\r", "x")] {
        assert_eq!(decode([stream.as_bytes()]), [raw("", expected)], "{stream:?}");
    }
}

#[test]
fn an_lf_that_comes_after_its_cr_does_not_end_another_line() {
    assert_eq!(
        decode([&b"data: a\r"[..], b"\ndata: b\r", b"", b"\n", b"\r", b"\n"]),
        [raw("", "a\nb")]
    );
}

#[test]
fn several_events_of_one_piece_come_in_order() {
    let events = decode([&b"data: 1\n\nevent: e\ndata: 2\n\ndata: 3\n\n"[..]]);
    assert_eq!(events, [raw("", "1"), raw("e", "2"), raw("", "3")]);
}

#[test]
fn a_piece_pushed_too_early_loses_no_events() {
    let mut decoder = RawEventDecoder::new(usize::MAX);
    for piece in ["data: 1\n\nda", "ta: 2\n\n", "", "data: 3\n", "\n"] {
        decoder.push(Bytes::from_static(piece.as_bytes()));
    }
    let events: Vec<_> = std::iter::from_fn(|| decoder.next_event().unwrap()).collect();
    assert_eq!(events, [raw("", "1"), raw("", "2"), raw("", "3")]);
}

#[test]
fn one_line_within_one_piece_is_not_copied() {
    let piece = Bytes::from_static(b"event: data\ndata: [1,2,3]\n\n");
    let mut decoder = RawEventDecoder::new(usize::MAX);
    decoder.push(piece.clone());
    let data = decoder.next_event().unwrap().unwrap().data;
    assert_eq!(data, "[1,2,3]");
    assert!(piece.as_ptr_range().contains(&data.as_ptr()));
}

#[test]
fn passes_on_bytes_that_are_not_utf_8() {
    let events = decode([&b"data: a\xFF\xC3\n\n"[..]]);
    assert_eq!(events[0].data, &b"a\xFF\xC3"[..]);
}

#[test]
fn retry_is_in_milliseconds_of_digits_only_and_clamped() {
    let retry = |stream: &str| {
        let whole = retry_after([stream.as_bytes()]);
        assert_eq!(whole, retry_after(stream.as_bytes().chunks(1)), "{stream:?}");
        whole
    };
    assert_eq!(retry("data: x\n\n"), None);
    assert_eq!(retry("retry: 1500\n"), Some(Duration::from_millis(1500)));
    assert_eq!(retry("retry:1500\r\n"), Some(Duration::from_millis(1500)));
    assert_eq!(retry("retry: 1500"), None, "an incomplete line");
    assert_eq!(retry("retry: 0\n"), Some(MIN_RETRY));
    assert_eq!(retry("retry: 86400000\n"), Some(MAX_RETRY));
    assert_eq!(retry("retry: 99999999999999999999999999999999\n"), Some(MAX_RETRY));
    assert_eq!(
        retry("retry: 0000000000000000000000000001000\n"),
        Some(Duration::from_secs(1))
    );
    for not_digits in [
        "retry\n",
        "retry:\n",
        "retry: \n",
        "retry:  5000\n",
        "retry: -5000\n",
        "retry: +5000\n",
        "retry: 5e3\n",
    ] {
        assert_eq!(retry(not_digits), None, "{not_digits:?}");
    }
    assert_eq!(
        retry("retry: 2000\nretry: soon\n"),
        Some(Duration::from_secs(2)),
        "a bad one changes nothing"
    );
    assert_eq!(
        retry("retry: 2000\n\nretry: 3000\n"),
        Some(Duration::from_secs(3)),
        "the last one counts"
    );
}

fn retry_after<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<Duration> {
    let mut decoder = RawEventDecoder::new(usize::MAX);
    for piece in pieces {
        decoder.push(Bytes::copy_from_slice(piece));
        while decoder.next_event().unwrap().is_some() {}
    }
    decoder.retry()
}
