use super::*;
use crate::read::cursor::Mode;
use crate::read::event::ReadOutage;
use crate::request::ResponseTimeout;
use crate::retry::outage::OutageEvent;

/// A live read whose policy allows one retry.
fn live(patient: bool, retry: Option<RetryPolicy>) -> ReadMachine {
    read_live(Live::LongPoll, patient, retry, false)
}

fn read_live(live: Live, patient: bool, retry: Option<RetryPolicy>, has_succeeded: bool) -> ReadMachine {
    let options = ReadOptions {
        retry,
        has_succeeded,
        ..options("", live)
    };
    let config = ReadConfig {
        patient,
        ..config(policy(1))
    };
    ReadMachine::new(options, config, Jitter::new(|| 1.0))
}

fn policy(max_retries: u32) -> RetryPolicy {
    RetryPolicy {
        max_retries,
        ..RetryPolicy::for_tests()
    }
}

fn succeed(machine: &mut ReadMachine, now: Instant) {
    respond(machine, now, 200, &[(STREAM_NEXT_OFFSET, "5")], "[1]");
}

/// Fails requests until the read ends. Returns its error, and how many requests failed; at most 50.
fn fail(machine: &mut ReadMachine, now: &mut Instant) -> (Option<Error>, u32) {
    for failed in 0..50 {
        match machine.poll_action(*now) {
            ReadAction::Wait(until) => *now = until,
            ReadAction::Request => {}
            ReadAction::End(error) => return (error, failed),
            other => panic!("{other:?}"),
        }
        machine.request(*now);
        machine.handle_failure(*now, lost());
    }
    (None, 50)
}

fn outages(machine: &mut ReadMachine) -> Vec<OutageEvent> {
    let outage = |event| match event {
        ReadEvent::Outage(outage) => Some(outage.event),
        _ => None,
    };
    std::iter::from_fn(|| machine.poll_event()).filter_map(outage).collect()
}

#[test]
fn a_patient_read_follows_the_policy_until_its_first_success() {
    let (mut machine, mut now) = (live(true, None), Instant::now());
    let (error, failed) = fail(&mut machine, &mut now);
    assert_eq!(failed, 2);
    let error = error.unwrap();
    assert_eq!(
        (error.attempts(), error.elapsed()),
        (Some(2), Some(Duration::from_millis(100)))
    );
    assert_eq!(outages(&mut machine), []);
}

#[test]
fn a_patient_read_retries_without_limit_after_its_first_success() {
    let (mut machine, mut now) = (live(true, None), Instant::now());
    succeed(&mut machine, now);
    assert!(fail(&mut machine, &mut now).0.is_none());
    let events = outages(&mut machine);
    assert!(
        matches!(&events[..], [OutageEvent::Began { reason }] if reason.contains("lost")),
        "{events:?}"
    );
    if let ReadAction::Wait(until) = machine.poll_action(now) {
        now = until;
    }
    respond(&mut machine, now, 200, &[(STREAM_NEXT_OFFSET, "9")], "[2]");
    let events = outages(&mut machine);
    assert!(
        matches!(events[..], [OutageEvent::Ended { failed_tries: 50, .. }]),
        "{events:?}"
    );
}

#[test]
fn a_read_that_is_patient_itself_retries_without_limit_after_its_first_success_beside_any_policy() {
    for (live, failures) in [(Live::LongPoll, 50), (Live::Off, 4)] {
        let make = || {
            let options = ReadOptions {
                retry: Some(policy(3)),
                patient: true,
                ..options("", live)
            };
            ReadMachine::new(options, config(policy(1)), Jitter::new(|| 1.0))
        };
        let (mut unconnected, mut connected, mut now) = (make(), make(), Instant::now());
        assert_eq!(fail(&mut unconnected, &mut now).1, 4);
        succeed(&mut connected, now);
        assert_eq!(fail(&mut connected, &mut now).1, failures);
    }
}

#[test]
fn an_outage_names_the_mode_and_the_offset_of_its_beginning() {
    let (mut machine, mut now) = (live(true, None), Instant::now());
    succeed(&mut machine, now);
    fail(&mut machine, &mut now);
    if let ReadAction::Wait(until) = machine.poll_action(now) {
        now = until;
    }
    respond(&mut machine, now, 200, &[(STREAM_NEXT_OFFSET, "9")], "[2]");
    let outages = std::iter::from_fn(|| machine.poll_event()).filter_map(|event| match event {
        ReadEvent::Outage(outage) => Some(outage),
        _ => None,
    });
    let outages: Vec<ReadOutage> = outages.collect();
    assert_eq!(outages.len(), 2);
    assert!(
        outages
            .iter()
            .all(|outage| (outage.mode, &outage.offset[..]) == (Mode::CatchUp, "5"))
    );
    assert!(matches!(&outages[1].event, OutageEvent::Ended { reason, .. } if reason == "lost"));
}

#[test]
fn tries_are_counted_from_the_last_success_and_failed_ones_are_reported() {
    let (mut machine, mut now) = (live(false, Some(policy(3))), Instant::now());
    assert_eq!(machine.attempt(), 1);
    succeed(&mut machine, now);
    assert_eq!(machine.attempt(), 1);
    fail(&mut machine, &mut now);
    assert_eq!(machine.attempt(), 5);
    let retries = std::iter::from_fn(|| machine.poll_event()).filter_map(|event| match event {
        ReadEvent::Retry(failed) => Some((failed.attempt, failed.delay.as_millis(), failed.reason)),
        _ => None,
    });
    let lost = || "lost".to_owned();
    assert_eq!(
        retries.collect::<Vec<_>>(),
        [(1, 100, lost()), (2, 200, lost()), (3, 400, lost())]
    );
}

#[test]
fn a_policy_of_its_own_limits_a_live_read_also_after_a_success() {
    let (mut machine, mut now) = (live(true, Some(policy(3))), Instant::now());
    succeed(&mut machine, now);
    let (error, failed) = fail(&mut machine, &mut now);
    assert_eq!((failed, error.unwrap().attempts()), (4, Some(4)));
    assert_eq!(outages(&mut machine).len(), 1);
}

#[test]
fn a_patient_read_fails_at_once_if_a_retry_cannot_help() {
    let (mut machine, now) = (live(true, None), Instant::now());
    succeed(&mut machine, now);
    respond(&mut machine, now, 404, &[], "");
    let ReadAction::End(Some(error)) = machine.poll_action(now) else {
        panic!("it goes on")
    };
    assert_eq!((error.status(), error.attempts()), (Some(404), Some(1)));
}

#[test]
fn a_patient_read_waits_for_a_long_retry_after() {
    let (mut machine, now) = (live(true, None), Instant::now());
    succeed(&mut machine, now);
    respond(&mut machine, now, 503, &[(http::header::RETRY_AFTER, "90")], "");
    assert_eq!(pause(&machine, now), Duration::from_secs(90));
}

#[test]
fn a_failure_after_a_long_wait_counts_as_any_other() {
    let (mut machine, mut now) = (live(false, None), Instant::now());
    respond(
        &mut machine,
        now,
        200,
        &[(STREAM_NEXT_OFFSET, "5"), (STREAM_UP_TO_DATE, "true")],
        "[]",
    );
    for _ in 0..2 {
        now += pause(&machine, now);
        machine.request(now);
        now += Duration::from_secs(60);
        let status = StatusCode::GATEWAY_TIMEOUT;
        machine.handle_response(now, SystemTime::UNIX_EPOCH, status, &HeaderMap::new(), None);
        let response = Response {
            status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            tries: Default::default(),
            redirected: None,
        };
        machine.handle_error_response(now, SystemTime::UNIX_EPOCH, response);
    }
    let ReadAction::End(Some(error)) = machine.poll_action(now) else {
        panic!("it goes on")
    };
    assert_eq!((error.status(), error.attempts()), (Some(504), Some(2)));
}

#[test]
fn an_event_stream_without_headers_is_a_failed_try() {
    let (mut machine, mut now) = (read_live(Live::Sse, false, None, false), Instant::now());
    for _ in 0..2 {
        now += pause(&machine, now);
        let request = machine.request(now);
        assert_eq!(request.response_timeout, ResponseTimeout::Normal);
        now += Duration::from_secs(130);
        let timeout = Error::plain(Kind::Timeout, "no response".to_owned());
        machine.handle_failure(now, RequestFailure::ResponseLost(timeout));
    }
    let ReadAction::End(Some(error)) = machine.poll_action(now) else {
        panic!("it goes on")
    };
    assert!(
        error.elapsed() >= Some(Duration::from_secs(260)),
        "{:?}",
        error.elapsed()
    );
}

const CONTROL: &str = "event: control\ndata: {\"streamNextOffset\":\"5\",\"upToDate\":true}\n\n";

#[test]
fn event_streams_that_end_at_once_are_one_outage_and_a_limited_number_of_failures() {
    for (patient, connections) in [(false, 2), (true, 10)] {
        let (mut machine, mut now) = (read_live(Live::Sse, patient, None, false), Instant::now());
        for _ in 0..connections {
            now += pause(&machine, now);
            receive_events(&mut machine, now, CONTROL);
            machine.handle_end(now + Duration::from_millis(1));
            now += Duration::from_millis(1);
        }
        assert_eq!(matches!(machine.poll_action(now), ReadAction::End(Some(_))), !patient);
        assert_eq!(outages(&mut machine).len(), 1);
    }
}

#[test]
fn a_quiet_event_stream_that_lasts_ends_an_outage_and_resets_the_count_of_failures() {
    let (mut machine, mut now) = (read_live(Live::Sse, false, None, false), Instant::now());
    for _ in 0..5 {
        now += pause(&machine, now);
        receive_events(&mut machine, now, CONTROL);
        now += Duration::from_secs(60);
        machine.handle_failure(now, lost());
    }
    assert!(matches!(machine.poll_action(now), ReadAction::Wait(_)));
    assert_eq!(outages(&mut machine).len(), 9, "five beginnings, four ends");
}

#[test]
fn a_patient_read_is_patient_from_the_beginning_if_an_earlier_session_succeeded() {
    let (mut machine, mut now) = (read_live(Live::LongPoll, true, None, true), Instant::now());
    assert!(fail(&mut machine, &mut now).0.is_none());
}

#[test]
fn the_end_of_a_closed_stream_ends_an_outage() {
    let (mut machine, mut now) = (read_live(Live::Sse, false, None, false), Instant::now());
    receive_events(&mut machine, now, CONTROL);
    machine.handle_end(now);
    now += pause(&machine, now);
    receive_events(
        &mut machine,
        now,
        "event: control\ndata: {\"streamNextOffset\":\"5\",\"streamClosed\":true}\n\n",
    );
    assert!(matches!(machine.poll_action(now), ReadAction::End(None)));
    assert_eq!(outages(&mut machine).len(), 2);
}
