//! Responses that end inside a record.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, StatusCode};

use super::{headers, items, lost, machine, pause, respond};
use crate::error::Kind;
use crate::protocol::{DATA_CONTENT_TYPE, STREAM_NEXT_OFFSET, STREAM_UP_TO_DATE};
use crate::read::cursor::Live;
use crate::read::event::ReadEvent;
use crate::read::machine::{ReadAction, ReadMachine};
use crate::read::payload::Units;
use crate::retry::policy::RetryPolicy;

const LINES: (HeaderName, &str) = (CONTENT_TYPE, "application/x-ndjson");
const SEQUENCE: (HeaderName, &str) = (CONTENT_TYPE, "application/x+json");
const TAIL: (HeaderName, &str) = (STREAM_UP_TO_DATE, "true");

fn at(offset: &'static str) -> (HeaderName, &'static str) {
    (STREAM_NEXT_OFFSET, offset)
}

fn read(live: Live) -> (ReadMachine, Instant) {
    (machine(live, RetryPolicy::for_tests(), false), Instant::now())
}

/// What was handed out: the text of parts, and the offsets of ends.
fn events(machine: &mut ReadMachine) -> Vec<String> {
    let mut events = Vec::new();
    while let Some(event) = machine.poll_event() {
        let (part, end) = match event {
            ReadEvent::Part(part) => (Some(part), None),
            ReadEvent::End(last, progress) => (last, Some(progress)),
            ReadEvent::Outage(_) | ReadEvent::Retry(_) => continue,
            other => panic!("{other:?}"),
        };
        events.extend(part.map(|part| String::from_utf8(part.bytes().to_vec()).unwrap()));
        events.extend(end.map(|progress| format!("end {}", progress.next_offset)));
    }
    events
}

fn failure(machine: &ReadMachine, now: Instant) -> (Kind, String) {
    match machine.poll_action(now) {
        ReadAction::End(Some(error)) => (error.kind().clone(), error.message()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_line_is_one_item_whatever_its_type() {
    let (mut machine, now) = read(Live::Off);
    respond(
        &mut machine,
        now,
        200,
        &[LINES, at("9"), TAIL],
        "{\"a\":1}\n[2,3]\n\n\"x\"\r\n5",
    );
    assert_eq!(
        events(&mut machine),
        ["{\"a\":1},[2,3]", "\"x\",5", "end 9"].map(ToOwned::to_owned)
    );
}

#[test]
fn hands_out_items_at_once_but_no_offset_inside_a_record() {
    let (mut machine, now) = read(Live::Off);
    respond(&mut machine, now, 200, &[LINES, at("3")], "1\n2\n[3");
    assert_eq!(events(&mut machine), ["1", "2"]);
    respond(&mut machine, now, 200, &[LINES, at("4")], ",\"\\");
    assert!(events(&mut machine).is_empty());
    respond(&mut machine, now, 200, &[LINES, at("8")], "\"\"]\n4\n");
    assert_eq!(events(&mut machine), ["[3,\"\\\"\"]", "4", "end 8"]);
}

#[test]
fn a_number_may_go_on_in_the_next_response() {
    let (mut machine, now) = read(Live::Off);
    respond(&mut machine, now, 200, &[SEQUENCE, at("3")], "[1] 2");
    respond(&mut machine, now, 200, &[SEQUENCE, at("4")], "3");
    respond(&mut machine, now, 200, &[SEQUENCE, at("4"), TAIL], "");
    assert_eq!(events(&mut machine), ["1", "23", "end 4"]);
    assert!(matches!(machine.poll_action(now), ReadAction::End(None)));
}

#[test]
fn a_retry_continues_the_record_of_the_last_complete_response() {
    let (mut machine, mut now) = read(Live::Off);
    respond(&mut machine, now, 200, &[LINES, at("3")], "1\n[2,");
    for broken in ["", "3", "3]\n4\n", "3]\n4\n5\n[6"] {
        let request = machine.request(now);
        assert!(request.query.contains(&("offset", "3".to_owned())));
        let response = headers(&[LINES, at("9")]);
        machine.handle_response(now, SystemTime::UNIX_EPOCH, StatusCode::OK, &response, None);
        machine.handle_piece(now, Bytes::from_static(broken.as_bytes()));
        machine.handle_failure(now, lost());
        now += pause(&machine, now);
    }
    respond(&mut machine, now, 200, &[LINES, at("9"), TAIL], "3]\n4\n5\n[6]\n7\n");
    assert_eq!(items(&mut machine), ["1", "[2,3]", "4", "5,[6]", "7"]);
}

#[test]
fn an_incomplete_record_at_the_tail_is_malformed() {
    let (mut machine, now) = read(Live::Off);
    respond(&mut machine, now, 200, &[LINES, at("3")], "1\n[2");
    respond(&mut machine, now, 200, &[LINES, at("3"), TAIL], "");
    assert!(matches!(failure(&machine, now), (Kind::Parse, message) if message.contains("ends in the middle")));
}

#[test]
fn a_reader_of_json_learns_that_the_stream_is_another_one() {
    const TEXT: (HeaderName, &str) = (CONTENT_TYPE, "text/plain");
    let (mut machine, now) = read(Live::Off);
    respond(&mut machine, now, 200, &[TEXT, at("5"), TAIL], "hello");
    assert!(matches!(failure(&machine, now), (Kind::Parse, message) if message.contains("not read_json")));
}

#[test]
fn a_poll_that_timed_out_does_not_end_a_record_unless_it_is_up_to_date() {
    for (status, is_end) in [(&[at("3")][..], false), (&[at("3"), TAIL], true)] {
        let (mut machine, now) = read(Live::LongPoll);
        respond(&mut machine, now, 200, &[LINES, at("1"), TAIL], "1\n");
        respond(&mut machine, now, 200, &[LINES, at("3")], "2");
        respond(&mut machine, now + Duration::from_secs(1), 204, status, "");
        respond(
            &mut machine,
            now + Duration::from_secs(1),
            200,
            &[LINES, at("5")],
            "3\n",
        );
        let expected: &[&str] = match is_end {
            true => &["1", "end 1", "2", "end 3", "3", "end 5"],
            false => &["1", "end 1", "23", "end 5"],
        };
        assert_eq!(events(&mut machine), expected);
    }
}

#[test]
fn refuses_part_of_a_record_without_a_new_offset() {
    let (mut machine, now) = read(Live::Off);
    respond(&mut machine, now, 200, &[LINES, at("3")], "[2");
    respond(&mut machine, now, 200, &[LINES, at("3")], ",3");
    assert!(matches!(failure(&machine, now), (Kind::Status, message) if message.contains("no new Stream-Next-Offset")));
}

#[test]
fn refuses_another_content_type_in_the_middle_of_a_record() {
    let (mut machine, now) = read(Live::Off);
    respond(&mut machine, now, 200, &[LINES, at("3")], "[2");
    respond(&mut machine, now, 200, &[SEQUENCE, at("4")], "]");
    assert!(matches!(failure(&machine, now), (Kind::Parse, message) if message.contains("content type changed")));
}

#[test]
fn a_record_may_have_as_many_bytes_as_a_message_in_all_its_responses() {
    let (mut machine, now) = read(Live::Off);
    let piece: &'static str = Box::leak("x".repeat(1 << 18).into_boxed_str());
    respond(&mut machine, now, 200, &[LINES, at("0")], "\"");
    for end in ["1", "2", "3", "4"] {
        respond(&mut machine, now, 200, &[LINES, at(end)], piece);
    }
    assert!(matches!(failure(&machine, now), (Kind::Parse, message) if message.contains("larger than 1048576 bytes")));
}

#[test]
fn data_events_continue_one_another_if_the_stream_has_lines() {
    let (mut machine, now) = read(Live::Sse);
    let event_stream = [(CONTENT_TYPE, "text/event-stream"), (DATA_CONTENT_TYPE, LINES.1)];
    let connect = |machine: &mut ReadMachine, body: &'static str| {
        machine.request(now);
        machine.handle_response(
            now,
            SystemTime::UNIX_EPOCH,
            StatusCode::OK,
            &headers(&event_stream),
            None,
        );
        machine.handle_piece(now, Bytes::from_static(body.as_bytes()));
    };
    let control = "event: control\ndata:{\"streamNextOffset\":\"5\"}\n\n";
    let body = format!("event: data\ndata:1\ndata:[2\n\nevent: data\ndata:,3\n\n{control}event: data\ndata:]\n\n");
    connect(&mut machine, Box::leak(body.into_boxed_str()));
    assert_eq!(events(&mut machine), ["1"]);
    machine.handle_failure(now, lost());
    let later = pause(&machine, now);
    assert!(!later.is_zero());
    connect(
        &mut machine,
        "event: data\ndata:]\ndata:4\ndata:\n\nevent: control\ndata:{\"streamNextOffset\":\"8\",\"upToDate\":true}\n\n",
    );
    assert_eq!(events(&mut machine), ["[2,3]", "4", "end 8"]);
}

#[test]
fn a_batch_that_is_too_large_ends_without_another_offset() {
    let (mut machine, now) = read(Live::Off);
    machine.batch.max_bytes = 5;
    respond(&mut machine, now, 200, &[LINES, at("2")], "1\n");
    respond(&mut machine, now, 200, &[LINES, at("4")], "2\n3\n[4");
    respond(&mut machine, now, 200, &[LINES, at("6")], "]\n5\n[6");
    let ends: Vec<_> = std::iter::from_fn(|| machine.poll_event())
        .filter_map(|event| match event {
            ReadEvent::End(_, progress) => Some((progress.next_offset, progress.skip)),
            _ => None,
        })
        .collect();
    assert_eq!(ends, [("2".to_owned(), Units(0)), ("2".to_owned(), Units(4))]);
}

#[test]
fn what_is_there_at_the_end_of_a_read_is_complete() {
    let (mut machine, now) = read(Live::Off);
    respond(&mut machine, now, 200, &[LINES, at("4")], "1\n22");
    respond(&mut machine, now, 204, &[at("4")], "");
    assert_eq!(events(&mut machine), ["1", "22", "end 4"]);
    assert!(matches!(machine.poll_action(now), ReadAction::End(None)));
}

#[test]
fn a_server_that_lags_behind_does_not_end_a_record() {
    let (mut machine, mut now) = read(Live::Off);
    machine.request(now);
    let whole = headers(&[LINES, at("8"), TAIL]);
    machine.handle_response(now, SystemTime::UNIX_EPOCH, StatusCode::OK, &whole, None);
    machine.handle_piece(now, Bytes::from_static(b"1\n22\n[3]\n"));
    machine.handle_failure(now, lost());
    now += pause(&machine, now);
    respond(&mut machine, now, 200, &[LINES, at("3"), TAIL], "1\n2");
    respond(&mut machine, now, 200, &[LINES, at("8"), TAIL], "2\n[3]");
    assert_eq!(events(&mut machine), ["1,22", "[3]", "end 8"]);
}
