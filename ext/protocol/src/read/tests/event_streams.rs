//! SSE connections: their ends, their errors, and servers that have none.

use std::time::{Duration, Instant, SystemTime};

use http::StatusCode;

use super::{
    Error, Kind, Live, ReadAction, RequestFailure, RetryPolicy, headers, items, machine, machine_at, pause,
    receive_events, respond,
};
use crate::protocol::{STREAM_NEXT_OFFSET, STREAM_UP_TO_DATE};

#[test]
fn falls_back_to_long_poll_if_live_is_auto_and_sse_has_no_response() {
    let timed_out = || RequestFailure::ResponseLost(Error::plain(Kind::Timeout, "no response".to_owned()));
    for (live, falls_back) in [(Live::Auto, true), (Live::Sse, false)] {
        let (mut machine, now) = (machine_at("now", live), Instant::now());
        let tail = [(STREAM_NEXT_OFFSET, "3"), (STREAM_UP_TO_DATE, "true")];
        respond(&mut machine, now, 200, &tail, "[]");
        assert!(machine.request(now).query.contains(&("live", "sse".to_owned())));
        machine.handle_failure(now, timed_out());
        assert_eq!(pause(&machine, now).is_zero(), falls_back);
        let mode = if falls_back { "long-poll" } else { "sse" };
        assert!(machine.request(now).query.contains(&("live", mode.to_owned())));
    }
}

#[test]
fn falls_back_to_long_poll_if_live_is_auto_and_the_server_refuses_sse() {
    let (mut machine, now) = (machine(Live::Auto, RetryPolicy::for_tests(), false), Instant::now());
    let tail = [(STREAM_NEXT_OFFSET, "3"), (STREAM_UP_TO_DATE, "true")];
    respond(&mut machine, now, 200, &tail, "[]");
    respond(&mut machine, now, 400, &[], "");
    let query = machine.request(now).query;
    assert!(query.contains(&("live", "long-poll".to_owned())), "{query:?}");
}

#[test]
fn an_event_stream_that_ends_at_once_is_a_failure_but_one_that_lasted_is_not() {
    for (lasted, at_once) in [(Duration::from_millis(10), false), (Duration::from_secs(60), true)] {
        let (mut machine, now) = (machine(Live::Sse, RetryPolicy::for_tests(), false), Instant::now());
        machine.request(now);
        let events = [(http::header::CONTENT_TYPE, "text/event-stream")];
        machine.handle_response(now, SystemTime::UNIX_EPOCH, StatusCode::OK, &headers(&events), None);
        machine.handle_end(now + lasted);
        assert_eq!(pause(&machine, now + lasted).is_zero(), at_once, "{lasted:?}");
    }
}

fn error_event(code: &str) -> String {
    format!(
        "event: data\ndata: [1]\n\nevent: error\ndata: {{\"error\":{{\"code\":\"{code}\",\"message\":\"why\"}}}}\n\n"
    )
}

#[test]
fn an_error_event_means_what_the_status_of_its_code_means() {
    for (code, status) in [
        ("UNAUTHORIZED", 401),
        ("STREAM_NOT_FOUND", 404),
        ("NOT_FOUND", 404),
        ("STREAM_GONE", 410),
        ("OFFSET_OUT_OF_RANGE", 400),
    ] {
        let (mut machine, now) = (machine(Live::Sse, RetryPolicy::for_tests(), false), Instant::now());
        receive_events(&mut machine, now, &error_event(code));
        let ReadAction::End(Some(error)) = machine.poll_action(now) else {
            panic!("{code} is not final")
        };
        assert_eq!(error.status(), Some(status), "{error}");
        assert!(error.message().contains(&format!("({status}): {code}: why")), "{error}");
        assert!(
            items(&mut machine).is_empty(),
            "data without a control event have no position"
        );
    }
}

#[test]
fn retries_after_an_error_event_with_another_code() {
    let policy = RetryPolicy {
        max_retries: 1,
        ..RetryPolicy::for_tests()
    };
    let (mut machine, now) = (machine(Live::Sse, policy, false), Instant::now());
    receive_events(&mut machine, now, &error_event("NO_LEADER"));
    assert_eq!(pause(&machine, now), Duration::from_millis(50));
    receive_events(&mut machine, now, "event: error\ndata: out of order\n\n");
    let ReadAction::End(Some(error)) = machine.poll_action(now) else {
        panic!("more than one retry")
    };
    assert!(error.message().contains("reported an error: out of order"), "{error}");
}

#[test]
fn an_error_event_about_credentials_is_retried_once_if_values_can_be_fresh() {
    let (mut machine, now) = (machine(Live::Sse, RetryPolicy::for_tests(), true), Instant::now());
    let progress = "event: control\ndata: {\"streamNextOffset\":\"4\"}\n\n";
    for before in ["", progress] {
        receive_events(&mut machine, now, &format!("{before}{}", error_event("UNAUTHORIZED")));
        assert_eq!(pause(&machine, now), Duration::ZERO);
    }
    receive_events(&mut machine, now, &error_event("UNAUTHORIZED"));
    assert!(
        matches!(machine.poll_action(now), ReadAction::End(Some(error)) if matches!(error.kind(), Kind::Unauthorized))
    );
}
