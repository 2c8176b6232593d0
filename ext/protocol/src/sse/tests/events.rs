//! Data and control events.

use bytes::Bytes;

use super::super::{ControlEvent, Encoding, ErrorEvent, EventDecoder, SseError, SseEvent};
use super::{random_pieces, read};

fn data(payload: &[u8]) -> SseEvent {
    SseEvent::Data(Bytes::copy_from_slice(payload))
}

fn control(next_offset: &str, cursor: Option<&str>, up_to_date: bool, closed: bool) -> SseEvent {
    SseEvent::Control(ControlEvent {
        next_offset: next_offset.into(),
        cursor: cursor.map(Into::into),
        up_to_date,
        closed,
    })
}

/// The only event, or the error, of this stream. Decodes it in one piece and byte by byte.
fn one(encoding: Encoding, stream: &str) -> Result<SseEvent, SseError> {
    let whole = read(encoding, [stream.as_bytes()]);
    assert_eq!(whole, read(encoding, stream.as_bytes().chunks(1)), "{stream:?}");
    match whole {
        (_, Some(error)) => Err(error),
        (mut events, None) => {
            assert_eq!(events.len(), 1, "{stream:?}");
            Ok(events.remove(0))
        }
    }
}

fn reason(stream: &str) -> String {
    one(Encoding::Plain, stream).unwrap_err().to_string()
}

#[test]
fn decodes_the_protocols_example_of_a_json_stream() {
    let stream = "event: data\ndata: [\ndata: {\"k\":\"v\"},\ndata: {\"k\":\"w\"},\ndata: ]\n\n\
                  event: control\ndata: {\"streamNextOffset\":\"123456_789\",\"streamCursor\":\"abc\"}\n\n";
    let expected = [
        data(b"[\n{\"k\":\"v\"},\n{\"k\":\"w\"},\n]"),
        control("123456_789", Some("abc"), false, false),
    ];
    assert_eq!(read(Encoding::Plain, [stream.as_bytes()]), (expected.to_vec(), None));
}

#[test]
fn decodes_the_protocols_example_of_a_closing_stream() {
    let stream = "event: data\ndata: [\ndata: {\"k\":\"final\"}\ndata: ]\n\n\
                  event: control\ndata: {\"streamNextOffset\":\"123456_999\",\"streamClosed\":true}\n\n";
    let expected = [
        data(b"[\n{\"k\":\"final\"}\n]"),
        control("123456_999", None, true, true),
    ];
    assert_eq!(read(Encoding::Plain, [stream.as_bytes()]), (expected.to_vec(), None));
}

#[test]
fn decodes_the_protocols_example_of_a_binary_stream() {
    let stream = "event: data\ndata: AQIDBAUG\ndata: BwgJCg==\n\n\
                  event: control\ndata: {\"streamNextOffset\":\"123456_789\",\"streamCursor\":\"abc\"}\n\n";
    let expected = [
        data(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        control("123456_789", Some("abc"), false, false),
    ];
    assert_eq!(read(Encoding::Base64, [stream.as_bytes()]), (expected.to_vec(), None));
}

#[test]
fn several_data_events_may_precede_one_control_event() {
    let stream = "event:data\ndata:[1]\n\nevent:data\ndata:[]\n\nevent:data\ndata:[2,3]\n\n\
                  event:control\ndata:{\"streamNextOffset\":\"3\",\"upToDate\":true}\n\n";
    let expected = [
        data(b"[1]"),
        data(b"[]"),
        data(b"[2,3]"),
        control("3", None, true, false),
    ];
    assert_eq!(read(Encoding::Plain, [stream.as_bytes()]), (expected.to_vec(), None));
}

#[test]
fn ignores_events_of_other_names() {
    let stream = "data: nameless\n\nevent: message\ndata: x\n\nevent: Data\ndata: x\n\nevent: future\ndata: {\n\n\
                  event: controls\ndata: x\n\nevent: data\n\nevent: control\n\nevent: data\ndata: this one\n\n";
    for encoding in [Encoding::Plain, Encoding::Base64] {
        let stream = stream.replace("this one", "dGhpcyBvbmU=");
        let expected = if encoding == Encoding::Plain {
            data(b"dGhpcyBvbmU=")
        } else {
            data(b"this one")
        };
        assert_eq!(read(encoding, [stream.as_bytes()]), (vec![expected], None));
    }
}

#[test]
fn text_preserves_its_lines_and_blanks() {
    assert_eq!(
        one(Encoding::Plain, "event: data\ndata:  a \ndata\ndata: b\ndata:\n\n"),
        Ok(data(b" a \n\nb\n"))
    );
    assert_eq!(one(Encoding::Plain, "event: data\ndata:\n\n"), Ok(data(b"")));
}

#[test]
fn base64_lines_may_break_anywhere() {
    for stream in [
        "event: data\ndata: aGVsbG8gd29ybGQ=\n\n",
        "event: data\ndata: a\ndata: GVs\ndata: bG8gd\ndata:\ndata: 29ybGQ\ndata: =\ndata\n\n",
        "event: data\r\ndata: aGVsbG8g\r\ndata: d29ybGQ=\r\n\r\n",
        "event: data\rdata: aGVsbG8g\rdata: d29ybGQ=\r\r",
    ] {
        assert_eq!(one(Encoding::Base64, stream), Ok(data(b"hello world")), "{stream:?}");
    }
    assert_eq!(one(Encoding::Base64, "event: data\ndata:\n\n"), Ok(data(b"")));
    assert_eq!(one(Encoding::Base64, "event: data\ndata\ndata\n\n"), Ok(data(b"")));
}

#[test]
fn every_byte_survives_base64_over_random_lines() {
    use base64::Engine as _;
    for seed in 0..500 {
        let mut random = fastrand::Rng::with_seed(seed);
        let payload: Vec<u8> = (0..random.usize(0..300)).map(|_| random.u8(..)).collect();
        let text = base64::engine::general_purpose::STANDARD.encode(&payload);
        let mut stream = b"event: data\ndata:".to_vec();
        for line in random_pieces(&mut random, text.as_bytes(), 40) {
            stream.extend_from_slice(line);
            stream.extend_from_slice(b"\ndata: ");
        }
        stream.extend_from_slice(b"\n\n");
        let pieces = random_pieces(&mut random, &stream, 30);
        assert_eq!(
            read(Encoding::Base64, pieces),
            (vec![data(&payload)], None),
            "seed {seed}"
        );
    }
}

#[test]
fn anything_but_standard_padded_base64_is_an_error() {
    for text in [
        "YQ",
        "YQ=",
        "YQ===",
        "Y",
        "=",
        "====",
        "YQ==YQ==",
        "Y Q==",
        "YQ==\u{20}",
        "_-__",
        "Y\u{E9}==",
        "YR==",
        "{}",
    ] {
        let error = one(Encoding::Base64, &format!("event: data\ndata: {text}\n\n")).unwrap_err();
        assert!(matches!(error, SseError::Base64 { .. }), "{text:?}: {error:?}");
        assert!(
            error.to_string().starts_with("malformed base64 in an SSE data event: "),
            "{error}"
        );
    }
}

#[test]
fn control_events_are_never_base64() {
    let stream = "event: control\ndata: {\"streamNextOffset\":\"1\"}\n\n";
    assert_eq!(one(Encoding::Base64, stream), Ok(control("1", None, false, false)));
}

#[test]
fn a_control_event_may_span_lines_and_have_unknown_fields() {
    let stream = "event: control\ndata: {\"streamNextOffset\":\ndata:  \"a\\u00e9\\n\", \"upToDate\":false,\n\
                  data: \"streamCursor\": \"c\", \"streamClosed\": null, \"later\": {\"streamNextOffset\": 1}}\n\n";
    assert_eq!(
        one(Encoding::Plain, stream),
        Ok(control("a\u{E9}\n", Some("c"), false, false))
    );
}

#[test]
fn the_end_of_a_closed_stream_is_up_to_date() {
    let stream = "event: control\ndata: {\"streamNextOffset\":\"9\",\"upToDate\":false,\"streamClosed\":true}\n\n";
    assert_eq!(one(Encoding::Plain, stream), Ok(control("9", None, true, true)));
}

#[test]
fn a_malformed_control_event_is_an_error_with_a_reason() {
    let control = |json: &str| reason(&format!("event: control\ndata: {json}\n\n"));
    for json in [
        "",
        "{invalid json here",
        "[]",
        "null",
        "\"x\"",
        "{\"streamNextOffset\":\"1\"} x",
    ] {
        assert!(
            control(json).starts_with("malformed SSE control event: "),
            "{json:?}: {}",
            control(json)
        );
    }
    for json in [
        "{}",
        "{\"streamNextOffset\":null}",
        "{\"streamNextOffset\":\"\"}",
        "{\"StreamNextOffset\":\"1\"}",
    ] {
        assert_eq!(
            control(json),
            "malformed SSE control event: streamNextOffset is missing"
        );
    }
    assert_eq!(
        control("{\"streamNextOffset\":1}"),
        "malformed SSE control event: streamNextOffset is not a string"
    );
    assert_eq!(
        control("{\"streamNextOffset\":\"1\",\"streamCursor\":7}"),
        "malformed SSE control event: streamCursor is not a string"
    );
    for name in ["upToDate", "streamClosed"] {
        assert_eq!(
            control(&format!("{{\"streamNextOffset\":\"1\",\"{name}\":\"true\"}}")),
            format!("malformed SSE control event: {name} is neither true nor false")
        );
    }
}

#[test]
fn after_an_error_nothing_more_is_decoded() {
    let mut decoder = EventDecoder::new(Encoding::Plain, usize::MAX);
    decoder.push(Bytes::from_static(
        b"event: data\ndata: 1\n\nevent: control\ndata: {}\n\nevent: data\ndata: 2\n\n",
    ));
    assert_eq!(decoder.next_event(), Ok(Some(data(b"1"))));
    let error = decoder.next_event().unwrap_err();
    decoder.push(Bytes::from_static(b"event: data\ndata: 3\n\n"));
    assert_eq!(decoder.next_event(), Err(error));
}

#[test]
fn reads_the_encoding_from_the_header() {
    assert_eq!(Encoding::from_header(None), Ok(Encoding::Plain));
    assert_eq!(Encoding::from_header(Some("")), Ok(Encoding::Plain));
    assert_eq!(Encoding::from_header(Some("base64")), Ok(Encoding::Base64));
    assert_eq!(Encoding::from_header(Some(" Base64 ")), Ok(Encoding::Base64));
    let error = Encoding::from_header(Some("base85")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "unknown SSE data encoding \"base85\" (only \"base64\" is known)"
    );
}

#[test]
fn decodes_error_events_with_and_without_a_code() {
    for (data, code) in [
        (r#"{"error":{"code":"NO_LEADER","message":"try later"}}"#, "NO_LEADER"),
        ("it broke", ""),
        ("{\"error\":{}}", ""),
    ] {
        let event = one(Encoding::Base64, &format!("event: error\ndata:{data}\n\n")).unwrap();
        let expected = ErrorEvent {
            code: code.to_owned(),
            data: Bytes::copy_from_slice(data.as_bytes()),
        };
        assert_eq!(event, SseEvent::Error(expected));
    }
}
