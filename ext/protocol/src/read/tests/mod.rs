//! Tests of the read machine: single cases here and in most modules, random runs in `simulation`.

mod array_bytes;
mod early_data;
mod event_streams;
mod patience;
mod records;
mod server;
mod simulation;

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::cursor::{Live, Position};
use super::event::ReadEvent;
use super::machine::{ReadAction, ReadConfig, ReadMachine, ReadOptions};
use super::payload::{Format, Part, Units};
use crate::error::{Error, Kind};
use crate::protocol::{STREAM_CLOSED, STREAM_NEXT_OFFSET, STREAM_UP_TO_DATE};
use crate::request::{RequestFailure, Response};
use crate::retry::jitter::Jitter;
use crate::retry::policy::RetryPolicy;

/// A read of JSON items from the start. Its jitter is always 0.5.
fn machine(live: Live, retry: RetryPolicy, fresh_values: bool) -> ReadMachine {
    read("", live, retry, fresh_values)
}

fn machine_at(offset: &str, live: Live) -> ReadMachine {
    read(offset, live, RetryPolicy::for_tests(), false)
}

/// The options of a read of JSON items.
fn options(offset: &str, live: Live) -> ReadOptions {
    ReadOptions {
        live,
        position: Position::new(offset, None),
        format: Format::Json,
        media: None,
        no_cache: false,
        retry: None,
        patient: false,
        max_bytes: usize::MAX,
        has_succeeded: false,
    }
}

fn config(retry: RetryPolicy) -> ReadConfig {
    ReadConfig {
        url: "http://h/s".to_owned(),
        retry,
        patient: false,
        max_message_bytes: 1 << 20,
        live_timeout: Duration::from_secs(120),
        fresh_values: false,
    }
}

fn read(offset: &str, live: Live, retry: RetryPolicy, fresh_values: bool) -> ReadMachine {
    let options = options(offset, live);
    let config = ReadConfig {
        fresh_values,
        ..config(retry)
    };
    ReadMachine::new(options, config, Jitter::new(|| 0.5))
}

fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
    let pair = |(name, value): &(HeaderName, &str)| (name.clone(), HeaderValue::from_str(value).unwrap());
    pairs.iter().map(pair).collect()
}

/// Makes the next request and responds with this status, headers and body.
fn respond(machine: &mut ReadMachine, now: Instant, status: u16, pairs: &[(HeaderName, &str)], body: &'static str) {
    assert!(matches!(machine.poll_action(now), ReadAction::Request));
    machine.request(now);
    let (status, headers) = (StatusCode::from_u16(status).unwrap(), headers(pairs));
    machine.handle_response(now, SystemTime::UNIX_EPOCH, status, &headers, None);
    match machine.poll_action(now) {
        ReadAction::Receive { .. } => {
            machine.handle_piece(now, Bytes::from_static(body.as_bytes()));
            machine.handle_end(now);
        }
        ReadAction::ReceiveErrorBody => {
            let body = Bytes::from_static(body.as_bytes());
            let response = Response {
                status,
                headers,
                body,
                tries: Default::default(),
                redirected: None,
            };
            machine.handle_error_response(now, SystemTime::UNIX_EPOCH, response);
        }
        _ => {}
    }
}

/// Reads an event stream with this body.
fn receive_events(machine: &mut ReadMachine, now: Instant, body: &str) {
    machine.request(now);
    let events = [(http::header::CONTENT_TYPE, "text/event-stream")];
    machine.handle_response(now, SystemTime::UNIX_EPOCH, StatusCode::OK, &headers(&events), None);
    machine.handle_piece(now, Bytes::copy_from_slice(body.as_bytes()));
}

/// The parts that the machine has handed out.
fn items(machine: &mut ReadMachine) -> Vec<Bytes> {
    let part = |event| match event {
        ReadEvent::Part(part) | ReadEvent::End(Some(part), _) => Some(part.bytes().clone()),
        _ => None,
    };
    std::iter::from_fn(|| machine.poll_event()).filter_map(part).collect()
}

/// How long the machine waits before the next request.
fn pause(machine: &ReadMachine, now: Instant) -> Duration {
    match machine.poll_action(now) {
        ReadAction::Wait(until) => until - now,
        ReadAction::Request => Duration::ZERO,
        other => panic!("{other:?}"),
    }
}

fn lost() -> RequestFailure {
    RequestFailure::ResponseLost(Error::plain(Kind::Connection, "lost".to_owned()))
}

#[test]
fn a_catch_up_read_ends_once_it_is_up_to_date() {
    let (mut machine, now) = (machine(Live::Off, RetryPolicy::for_tests(), false), Instant::now());
    respond(&mut machine, now, 200, &[(STREAM_NEXT_OFFSET, "5")], "[1,2]");
    let end = [(STREAM_NEXT_OFFSET, "7"), (STREAM_UP_TO_DATE, "true")];
    respond(&mut machine, now, 200, &end, "[3]");
    let events: Vec<ReadEvent> = std::iter::from_fn(|| machine.poll_event()).collect();
    let ends = events.iter().filter(|event| matches!(event, ReadEvent::End(..)));
    assert_eq!(ends.count(), 2, "{events:?}");
    assert!(matches!(machine.poll_action(now), ReadAction::End(None)));
}

#[test]
fn retries_a_read_after_503_and_waits_for_retry_after() {
    let (mut machine, now) = (machine(Live::Off, RetryPolicy::for_tests(), false), Instant::now());
    respond(&mut machine, now, 503, &[], "");
    assert_eq!(pause(&machine, now), Duration::from_millis(50));
    let later = now + Duration::from_millis(50);
    respond(&mut machine, later, 503, &[(http::header::RETRY_AFTER, "2")], "");
    assert_eq!(pause(&machine, later), Duration::from_secs(2));
}

#[test]
fn gives_up_after_the_last_retry_of_the_policy() {
    let policy = RetryPolicy {
        max_retries: 2,
        ..RetryPolicy::for_tests()
    };
    let (mut machine, mut now) = (machine(Live::LongPoll, policy, false), Instant::now());
    for _ in 0..2 {
        machine.request(now);
        machine.handle_failure(now, lost());
        now += pause(&machine, now);
    }
    machine.request(now);
    machine.handle_failure(now, lost());
    assert!(
        matches!(machine.poll_action(now), ReadAction::End(Some(error)) if matches!(error.kind(), Kind::Connection))
    );
}

#[test]
fn a_404_ends_a_read_at_once() {
    let (mut machine, now) = (machine(Live::Sse, RetryPolicy::for_tests(), false), Instant::now());
    respond(&mut machine, now, 404, &[], "");
    assert!(matches!(machine.poll_action(now), ReadAction::End(Some(error)) if matches!(error.kind(), Kind::NotFound)));
}

#[test]
fn retries_a_401_once_if_values_can_be_fresh() {
    for (fresh_values, tries) in [(false, 1), (true, 2)] {
        let (mut machine, now) = (
            machine(Live::Off, RetryPolicy::for_tests(), fresh_values),
            Instant::now(),
        );
        for _ in 0..tries {
            respond(&mut machine, now, 401, &[], "");
        }
        let action = machine.poll_action(now);
        assert!(matches!(action, ReadAction::End(Some(error)) if matches!(error.kind(), Kind::Unauthorized)));
    }
}

#[test]
fn hands_out_nothing_twice_after_a_response_broke_off() {
    let (mut machine, now) = (machine(Live::Off, RetryPolicy::for_tests(), false), Instant::now());
    machine.request(now);
    let end = [(STREAM_NEXT_OFFSET, "9"), (STREAM_UP_TO_DATE, "true")];
    machine.handle_response(now, SystemTime::UNIX_EPOCH, StatusCode::OK, &headers(&end), None);
    machine.handle_piece(now, Bytes::from_static(b"[1,2,"));
    machine.handle_failure(now, lost());
    let later = now + pause(&machine, now);
    respond(&mut machine, later, 200, &end, "[1,2,3]");
    assert_eq!(items(&mut machine), ["1,2", "3"]);
}

#[test]
fn refuses_data_without_a_new_offset() {
    let (mut machine, now) = (machine(Live::Off, RetryPolicy::for_tests(), false), Instant::now());
    respond(&mut machine, now, 200, &[(STREAM_UP_TO_DATE, "true")], "[1]");
    assert!(matches!(machine.poll_action(now), ReadAction::End(Some(error)) if matches!(error.kind(), Kind::Status)));
}

#[test]
fn repeats_a_live_request_at_once_after_it_timed_out() {
    let (mut machine, now) = (machine(Live::LongPoll, RetryPolicy::for_tests(), false), Instant::now());
    let tail = [(STREAM_NEXT_OFFSET, "3"), (STREAM_UP_TO_DATE, "true")];
    respond(&mut machine, now, 200, &tail, "[]");
    machine.request(now);
    let later = now + Duration::from_secs(150);
    let timeout = Error::plain(Kind::Timeout, "no response".to_owned());
    machine.handle_failure(later, RequestFailure::ResponseLost(timeout));
    assert_eq!(pause(&machine, later), Duration::ZERO);
}

#[test]
fn a_read_from_now_requests_the_tail_first() {
    let (mut machine, now) = (machine_at("now", Live::Sse), Instant::now());
    let tail = [(STREAM_NEXT_OFFSET, "3"), (STREAM_UP_TO_DATE, "true")];
    respond(&mut machine, now, 200, &tail, "[]");
    assert!(matches!(machine.poll_event(), Some(ReadEvent::End(None, progress)) if progress.next_offset == "3"));
    assert!(machine.request(now).query.contains(&("live", "sse".to_owned())));
}

#[test]
fn the_end_of_a_closed_stream_ends_a_live_read() {
    for live in [Live::LongPoll, Live::Sse, Live::Auto] {
        let (mut machine, now) = (machine(live, RetryPolicy::for_tests(), false), Instant::now());
        if live == Live::Sse {
            machine.request(now);
            let events = [(http::header::CONTENT_TYPE, "text/event-stream")];
            machine.handle_response(now, SystemTime::UNIX_EPOCH, StatusCode::OK, &headers(&events), None);
            let body = "event: data\ndata: [1]\n\nevent: control\ndata: {\"streamNextOffset\":\"4\",\"streamClosed\":true}\n\n";
            machine.handle_piece(now, Bytes::from_static(body.as_bytes()));
        } else {
            let end = [(STREAM_NEXT_OFFSET, "4"), (STREAM_CLOSED, "true")];
            respond(&mut machine, now, 200, &end, "[1]");
        }
        let handed_out = std::iter::from_fn(|| machine.poll_event()).any(|event| match event {
            ReadEvent::Part(part) | ReadEvent::End(Some(part), _) => {
                part == Part::Items {
                    text: Bytes::from_static(b"1"),
                    count: 1,
                }
            }
            _ => false,
        });
        assert!(handed_out, "{live:?}");
        assert!(matches!(machine.poll_action(now), ReadAction::End(None)), "{live:?}");
    }
}

#[test]
fn a_204_after_a_broken_response_does_not_reset_the_skip_count() {
    let (mut machine, now) = (machine(Live::LongPoll, RetryPolicy::for_tests(), false), Instant::now());
    let tail = [(STREAM_NEXT_OFFSET, "5"), (STREAM_UP_TO_DATE, "true")];
    let end = [(STREAM_NEXT_OFFSET, "8"), (STREAM_UP_TO_DATE, "true")];
    respond(&mut machine, now, 200, &tail, "[]");
    machine.request(now);
    machine.handle_response(now, SystemTime::UNIX_EPOCH, StatusCode::OK, &headers(&end), None);
    machine.handle_piece(now, Bytes::from_static(b"[1,2,"));
    machine.handle_failure(now, lost());
    let now = now + pause(&machine, now);
    respond(&mut machine, now, 204, &tail, "");
    let now = now + pause(&machine, now);
    respond(&mut machine, now, 200, &end, "[1,2,3]");
    assert_eq!(items(&mut machine), ["1,2", "3"]);
}

#[test]
fn a_live_response_whose_body_stalls_counts_as_a_failure() {
    let policy = RetryPolicy {
        max_retries: 0,
        ..RetryPolicy::for_tests()
    };
    let (mut machine, now) = (machine(Live::LongPoll, policy, false), Instant::now());
    let end = [(STREAM_NEXT_OFFSET, "8"), (STREAM_UP_TO_DATE, "true")];
    respond(
        &mut machine,
        now,
        200,
        &[(STREAM_NEXT_OFFSET, "5"), (STREAM_UP_TO_DATE, "true")],
        "[]",
    );
    machine.request(now);
    let now = now + Duration::from_secs(100);
    machine.handle_response(now, SystemTime::UNIX_EPOCH, StatusCode::OK, &headers(&end), None);
    machine.handle_piece(now, Bytes::from_static(b"[1,2,"));
    let now = now + Duration::from_secs(30);
    let silence = Error::plain(Kind::Timeout, "no response within 30 s".to_owned());
    machine.handle_failure(now, RequestFailure::ResponseLost(silence));
    assert!(matches!(machine.poll_action(now), ReadAction::End(Some(_))));
}

#[test]
fn backs_off_after_an_empty_response_that_neither_moves_nor_is_up_to_date() {
    let (mut machine, now) = (machine_at("5", Live::Off), Instant::now());
    respond(&mut machine, now, 200, &[(STREAM_NEXT_OFFSET, "5")], "[]");
    assert_eq!(pause(&machine, now), Duration::from_millis(50));
    let later = now + Duration::from_millis(50);
    respond(&mut machine, later, 200, &[(STREAM_NEXT_OFFSET, "5")], "[]");
    assert_eq!(pause(&machine, later), Duration::from_millis(100));
}

/// The machine after a complete response with a part of an array. `no_cache`: it reads for a producer.
fn after_a_part_of_an_array(live: Live, no_cache: bool) -> (ReadMachine, Instant) {
    let options = ReadOptions {
        no_cache,
        ..options("", live)
    };
    let mut machine = ReadMachine::new(options, config(RetryPolicy::for_tests()), Jitter::new(|| 0.5));
    let now = Instant::now();
    respond(&mut machine, now, 200, &PART_OF_AN_ARRAY, "[1,2,3,4");
    (machine, now)
}

const PART_OF_AN_ARRAY: [(HeaderName, &str); 3] = [
    (http::header::CONTENT_TYPE, "application/json"),
    (STREAM_NEXT_OFFSET, "15"),
    (STREAM_UP_TO_DATE, "true"),
];

#[test]
fn live_reads_and_those_of_producers_request_a_part_of_an_array_again() {
    for (live, no_cache) in [(Live::LongPoll, false), (Live::Off, true)] {
        let (mut machine, now) = after_a_part_of_an_array(live, no_cache);
        let later = now + pause(&machine, now);
        assert!(later > now);
        respond(&mut machine, later, 200, &PART_OF_AN_ARRAY, "[1,2,3,4,5]");
        assert_eq!(items(&mut machine).join(&b","[..]), b"1,2,3,4,5");
    }
}

#[test]
fn a_part_of_an_array_ends_a_read_that_is_not_live() {
    let (mut machine, now) = after_a_part_of_an_array(Live::Off, false);
    assert_eq!(items(&mut machine).join(&b","[..]), b"1,2,3");
    match machine.poll_action(now) {
        ReadAction::End(Some(error)) => assert!(matches!(error.kind(), Kind::Parse), "{error}"),
        other => panic!("{other:?}"),
    }
}

/// A read of `[1,2,3,…` that broke off after three items. The repetition ends after two, and says so as `end` does.
fn repeated_in_part(live: Live, end: &[(HeaderName, &str)]) -> (ReadMachine, Instant) {
    let (mut machine, now) = (machine(live, RetryPolicy::for_tests(), false), Instant::now());
    machine.request(now);
    let whole = headers(&[(STREAM_NEXT_OFFSET, "15"), (STREAM_UP_TO_DATE, "true")]);
    machine.handle_response(now, SystemTime::UNIX_EPOCH, StatusCode::OK, &whole, None);
    machine.handle_piece(now, Bytes::from_static(b"[1,2,3,4"));
    machine.handle_failure(now, lost());
    let later = now + pause(&machine, now);
    respond(&mut machine, later, 200, end, "[1,2]");
    (machine, later)
}

#[test]
fn hands_out_no_offset_before_what_was_handed_out() {
    let (mut machine, now) = repeated_in_part(Live::Off, &[(STREAM_NEXT_OFFSET, "12")]);
    let events: Vec<ReadEvent> = std::iter::from_fn(|| machine.poll_event()).collect();
    assert!(
        matches!(&events[..], [ReadEvent::Part(_), ReadEvent::Retry(_)]),
        "{events:?}"
    );
    let end = [(STREAM_NEXT_OFFSET, "15"), (STREAM_UP_TO_DATE, "true")];
    respond(&mut machine, now, 200, &end, "[3,4,5]");
    let events: Vec<ReadEvent> = std::iter::from_fn(|| machine.poll_event()).collect();
    let [ReadEvent::Part(_), ReadEvent::End(Some(part), progress)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(
        (&part.bytes()[..], &progress.next_offset[..], progress.skip),
        (&b"5"[..], "15", Units(0))
    );
}

#[test]
fn a_server_that_lags_behind_what_was_handed_out_is_not_up_to_date() {
    let tail = [(STREAM_NEXT_OFFSET, "12"), (STREAM_UP_TO_DATE, "true")];
    for live in [Live::Off, Live::LongPoll] {
        let (mut machine, mut now) = repeated_in_part(live, &tail);
        respond(&mut machine, now, 200, &tail, "[]");
        assert!(!pause(&machine, now).is_zero(), "{live:?}: it counts as a failure");
        now += pause(&machine, now);
        let end = [(STREAM_NEXT_OFFSET, "15"), (STREAM_UP_TO_DATE, "true")];
        respond(&mut machine, now, 200, &end, "[3,4,5]");
        assert_eq!(items(&mut machine), ["1,2,3", "4", "5"]);
    }
}
