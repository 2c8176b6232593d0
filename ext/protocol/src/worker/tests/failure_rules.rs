//! What it does about failures, one rule after the other.

use serde_json::Value;

use super::rig::{Rig, pair};
use crate::error::{Error, Kind};
use crate::request::RequestFailure;
use crate::subscriptions::SubscriptionOperation::{Ack, Claim, Release};
use crate::worker::WorkerEvent;

#[test]
fn a_block_that_fails_while_its_ack_is_to_be_sent_again_leaves_nothing_to_send() {
    let mut rig = Rig::claimed(&["a", "b"]);
    while rig.work().is_some() {}
    rig.machine.handle_batch("a", "1", true);
    rig.acks();
    rig.lose();
    rig.machine.handle_failure(rig.now, 1, "a");
    rig.pass(0.05);
    assert!(rig.sent().is_none());
    assert_eq!(rig.waits(), Some(9.95));
}

#[test]
fn fenced_blocks_learn_it_and_nothing_more_is_acked() {
    let mut rig = Rig::claimed(&["a", "b"]);
    while rig.work().is_some() {}
    rig.pass(10.0);
    rig.acks();
    rig.reject("fenced");
    assert!(matches!(
        rig.machine.poll_event(),
        Some(WorkerEvent::Lost { generation: 1, .. })
    ));
    rig.machine.handle_batch("a", "1", true);
    assert_eq!(rig.progress("a"), Some("fenced"));
    assert!(rig.sent().is_none());
    rig.pass(1.0);
    rig.claim(2, &["a", "b"]);
    assert_eq!(rig.work().as_deref(), Some("a"));
    assert_eq!(rig.work(), None, "the old block of b still runs");
    rig.machine.handle_batch("b", "1", true);
    assert_eq!(rig.progress("b"), Some("fenced"));
    assert_eq!(rig.work().as_deref(), Some("b"));
}

#[test]
fn sends_an_ack_again_with_what_was_added() {
    let mut rig = Rig::claimed(&["a", "b"]);
    while rig.work().is_some() {}
    rig.machine.handle_batch("a", "1", true);
    rig.acks();
    rig.lose();
    assert!(rig.sent().is_none());
    assert_eq!(rig.waits(), Some(0.05));
    rig.machine.handle_batch("b", "1", true);
    rig.pass(0.05);
    assert_eq!(rig.acks(), (vec![pair("a", "1"), pair("b", "1")], true));
}

#[test]
fn a_refusal_after_a_lost_response_means_that_the_claim_has_ended() {
    let mut rig = Rig::claimed(&["a"]);
    rig.work();
    rig.machine.handle_batch("a", "1", true);
    rig.acks();
    rig.lose();
    rig.pass(0.05);
    assert_eq!(rig.acks(), (vec![pair("a", "1")], true));
    rig.reject("fenced");
    assert_eq!(rig.progress("a"), Some("finished"));
    let events: Vec<_> = std::iter::from_fn(|| rig.machine.poll_event()).collect();
    assert!(
        !events.iter().any(|event| matches!(event, WorkerEvent::Lost { .. })),
        "{events:?}"
    );
}

#[test]
fn a_refusal_after_a_lost_response_is_reported_if_the_lease_may_have_run_out() {
    let mut rig = Rig::claimed(&["a"]);
    rig.work();
    rig.machine.handle_batch("a", "1", true);
    rig.acks();
    rig.lose();
    rig.pass(29.0);
    rig.acks();
    rig.pass(1.0);
    rig.reject("fenced");
    assert_eq!(rig.progress("a"), Some("fenced"));
}

#[test]
fn a_refusal_without_a_lost_response_is_reported() {
    let mut rig = Rig::claimed(&["a"]);
    rig.work();
    rig.machine.handle_batch("a", "1", true);
    rig.acks();
    rig.reject("fenced");
    assert_eq!(rig.progress("a"), Some("fenced"));
}

#[test]
fn finds_the_ack_that_the_server_refuses() {
    let mut rig = Rig::claimed(&["a", "b"]);
    while rig.work().is_some() {}
    rig.machine.handle_batch("a", "1", true);
    rig.machine.handle_batch("b", "1", true);
    assert_eq!(rig.acks(), (vec![pair("a", "1"), pair("b", "1")], true));
    rig.reject("refused");
    assert_eq!(rig.acks(), (vec![pair("a", "1")], false));
    rig.reject("refused");
    assert_eq!(rig.acks(), (vec![pair("b", "1")], true));
    rig.confirm(true);
    assert_eq!(
        (rig.progress("a"), rig.progress("b")),
        (Some("failed"), Some("finished"))
    );
    rig.claim(2, &["a"]);
    assert_eq!(rig.work(), None, "a is left alone for a while");
}

#[test]
fn a_stream_that_fails_is_left_alone_while_others_are_handled() {
    let mut rig = Rig::claimed(&["a", "b"]);
    while rig.work().is_some() {}
    rig.machine.handle_failure(rig.now, 9, "a");
    rig.machine.handle_failure(rig.now, 1, "a");
    rig.machine.handle_batch("b", "1", true);
    assert_eq!(rig.acks(), (vec![pair("b", "1")], true));
    rig.confirm(true);
    rig.progress("b");
    // There was progress: at once.
    rig.claim(2, &["a"]);
    assert_eq!(rig.work(), None);
    assert_eq!(rig.sent().unwrap().0, Release);
    rig.respond(204, &Value::Null);
    rig.machine.handle_wake(rig.now, Some(3));
    assert_eq!(rig.waits(), Some(1.0), "the wake is for a");
    rig.pass(1.0);
    rig.claim(3, &["a"]);
    assert_eq!(rig.work().as_deref(), Some("a"));
    for (generation, pause) in (3..).zip([2.0, 4.0, 5.0, 5.0, 5.0]) {
        rig.machine.handle_failure(rig.now, generation, "a");
        assert_eq!(rig.sent().unwrap().0, Release);
        rig.respond(204, &Value::Null);
        assert_eq!(rig.waits(), Some(pause));
        rig.pass(60.0);
        rig.claim(generation + 1, &["a"]);
        assert_eq!(rig.work().as_deref(), Some("a"));
    }
}

#[test]
fn claims_once_more_if_the_credentials_are_refused() {
    let mut rig = Rig::new();
    for status in [401, 403] {
        rig.sent();
        rig.respond(status, &Value::Null);
        rig.sent();
        rig.reject("nothing");
        rig.pass(45.0);
    }
    for _ in 0..2 {
        assert!(rig.machine.poll_end().is_none());
        rig.sent();
        rig.respond(401, &Value::Null);
    }
    assert!(matches!(rig.machine.poll_end(), Some(Err(error)) if matches!(error.kind(), Kind::Unauthorized)));
}

#[test]
fn stops_without_the_server_when_the_lease_has_run_out() {
    let mut rig = Rig::claimed(&["a"]);
    rig.work();
    rig.machine.stop();
    rig.machine.handle_batch("a", "1", true);
    let mut waited = 0.0;
    while rig.machine.poll_end().is_none() {
        rig.acks();
        rig.lose();
        let wait = rig.waits().unwrap_or_default();
        waited += wait;
        rig.pass(wait);
    }
    assert!((20.0..30.0).contains(&waited), "{waited}");
    assert_eq!(rig.progress("a"), Some("failed"));
}

#[test]
fn ends_with_an_error_that_no_retry_mends() {
    for status in [400, 401, 403, 404] {
        let mut rig = Rig::new();
        rig.machine.config.fresh_values = false;
        rig.sent();
        rig.respond(status, &Value::Null);
        assert!(matches!(rig.machine.poll_end(), Some(Err(_))), "{status}");
    }
}

#[test]
fn retries_without_limit() {
    let mut rig = Rig::new();
    for _ in 0..20 {
        assert_eq!(rig.sent().unwrap().0, Claim);
        rig.lose();
        let wait = rig.waits().unwrap();
        assert!((0.05..=5.0).contains(&wait), "{wait}");
        rig.pass(wait);
    }
}

#[test]
fn reports_an_outage_when_it_begins_and_when_it_ends() {
    let mut rig = Rig::claimed(&["a"]);
    rig.work();
    rig.pass(10.0);
    for _ in 0..3 {
        rig.acks();
        rig.lose();
        rig.pass(10.0);
    }
    rig.acks();
    rig.confirm(false);
    rig.pass(10.0);
    rig.acks();
    let interrupted = Error::plain(Kind::Abandoned, "interrupted".to_owned());
    rig.end(Err(RequestFailure::ResponseLost(interrupted)));
    let events: Vec<_> = std::iter::from_fn(|| rig.machine.poll_event()).collect();
    assert!(
        matches!(events[..], [WorkerEvent::Outage(Ack, _), WorkerEvent::Outage(Ack, _)]),
        "{events:?}"
    );
}
