//! Claims, wakes, acks and the end, one rule after the other.

use std::time::Duration;

use serde_json::{Value, json};

use super::rig::{Rig, pair};
use crate::subscriptions::SubscriptionOperation::{Claim, Release};
use crate::worker::Work;

#[test]
fn claims_hands_out_acks_and_gives_back() {
    let mut rig = Rig::claimed(&["a"]);
    assert!(rig.sent().is_none());
    let expected = Work {
        generation: 1,
        stream: "a".to_owned(),
        from: "-1".to_owned(),
    };
    assert_eq!(rig.machine.poll_work(rig.now), Some(expected));
    assert_eq!(rig.work(), None);
    assert!(rig.sent().is_none());
    rig.machine.handle_batch("a", "0", false);
    assert_eq!(rig.progress("a"), None, "the ack is not confirmed");
    assert_eq!(rig.acks(), (vec![pair("a", "0")], false));
    rig.confirm(false);
    assert_eq!(rig.progress("a"), Some("go on"));
    rig.machine.handle_batch("a", "1", false);
    assert_eq!(rig.acks(), (vec![pair("a", "1")], true), "that is the tail");
    rig.confirm(false);
    assert_eq!(rig.progress("a"), Some("finished"));
    assert!(rig.sent().is_none());
    assert_eq!(rig.waits(), Some(45.0));
}

#[test]
fn claims_again_at_once_if_there_is_more() {
    let mut rig = Rig::claimed(&["a"]);
    rig.work();
    rig.machine.handle_batch("a", "1", true);
    rig.acks();
    rig.confirm(true);
    rig.claim(2, &["a"]);
    // The wake of generation 2 arrives late.
    rig.machine.handle_wake(rig.now, Some(2));
    assert_eq!(rig.progress("a"), Some("finished"));
    rig.work();
    rig.machine.handle_batch("a", "1", true);
    rig.acks();
    rig.confirm(false);
    assert!(rig.sent().is_none());
}

#[test]
fn acks_of_several_streams_share_a_request() {
    let mut rig = Rig::claimed(&["a", "b", "c"]);
    while rig.work().is_some() {}
    rig.machine.handle_batch("a", "1", true);
    assert_eq!(rig.acks(), (vec![pair("a", "1")], false));
    rig.machine.handle_batch("b", "1", true);
    rig.machine.handle_batch("c", "0", false);
    assert!(rig.sent().is_none(), "a request is in flight");
    rig.confirm(false);
    assert_eq!(rig.acks(), (vec![pair("b", "1"), pair("c", "0")], false));
}

#[test]
fn prolongs_the_lease_after_a_third_of_it() {
    let mut rig = Rig::claimed(&["a"]);
    rig.work();
    for _ in 0..9 {
        assert_eq!(rig.waits(), Some(10.0));
        rig.prolong(1);
    }
}

#[test]
fn ends_a_claim_after_the_time_of_a_lease() {
    let mut rig = Rig::claimed(&["a", "b"]);
    rig.work();
    rig.prolong(2);
    rig.machine.handle_batch("a", "0", false);
    rig.acks();
    rig.pass(10.0);
    rig.confirm(false);
    assert_eq!(rig.progress("a"), Some("finished"));
    assert_eq!(rig.work(), None, "b waits for the next claim");
    assert_eq!(rig.sent().unwrap().0, Release);
    rig.respond(204, &Value::Null);
    assert_eq!(rig.sent().unwrap().0, Claim);
}

#[test]
fn other_streams_do_not_wait_for_a_block_that_runs_for_longer_than_a_lease() {
    let mut rig = Rig::claimed(&["a", "b", "c"]);
    rig.work();
    rig.prolong(3);
    assert_eq!(rig.work().as_deref(), Some("b"));
    assert_eq!(rig.waits(), Some(10.0));
    rig.machine.handle_batch("b", "0", false);
    assert_eq!(rig.acks(), (vec![pair("b", "0")], false));
    rig.confirm(false);
    assert_eq!(rig.progress("b"), Some("go on"));
    rig.machine.handle_batch("a", "0", false);
    assert_eq!(rig.work(), None, "c waits for the next claim");
    assert_eq!(rig.acks(), (vec![pair("a", "0")], false));
    rig.confirm(false);
    assert_eq!(rig.progress("a"), Some("finished"));
    rig.machine.handle_batch("b", "1", false);
    assert_eq!(rig.acks(), (vec![pair("b", "1")], true));
}

#[test]
fn no_block_begins_when_the_lease_may_have_run_out() {
    let mut rig = Rig::claimed(&["a", "b"]);
    rig.work();
    rig.prolong(2);
    rig.pass(10.0);
    rig.acks();
    rig.lose();
    rig.pass(19.0);
    rig.acks();
    rig.pass(1.0);
    assert_eq!(rig.work(), None);
    rig.confirm(false);
    assert_eq!(rig.work().as_deref(), Some("b"));
}

#[test]
fn a_claim_that_got_no_thread_is_given_back_after_the_time_of_a_lease() {
    let mut rig = Rig::claimed(&["a"]);
    for wait in [10.0, 10.0, 10.0] {
        assert_eq!(rig.waits(), Some(wait));
        rig.pass(wait);
        if rig.sent() == Some((Release, json!({ "wake_id": "w", "generation": 1 }))) {
            break;
        }
        rig.confirm(false);
    }
    rig.respond(204, &Value::Null);
    assert_eq!(rig.waits(), Some(5.0));
}

#[test]
fn waits_for_a_wake_while_another_worker_has_the_claim() {
    let mut rig = Rig::new();
    rig.sent();
    let claimed = json!({ "error": { "code": "ALREADY_CLAIMED", "current_holder": "x", "generation": 4 } });
    rig.respond(409, &claimed);
    rig.machine.handle_wake(rig.now, Some(4));
    assert_eq!(rig.waits(), Some(45.0), "that wake was claimed");
    rig.machine.handle_wake(rig.now, Some(5));
    rig.claim(5, &["a"]);
}

#[test]
fn a_wake_that_comes_during_a_claim_is_not_forgotten() {
    for wake in [Some(1), None] {
        let mut rig = Rig::new();
        rig.sent();
        rig.machine.handle_wake(rig.now, wake);
        rig.reject("nothing");
        assert_eq!(rig.sent().unwrap().0, Claim);
    }
    let mut rig = Rig::claimed(&["a"]);
    rig.machine.handle_wake(rig.now, Some(2));
    rig.work();
    rig.machine.handle_batch("a", "1", true);
    rig.acks();
    rig.confirm(false);
    assert_eq!(rig.sent().unwrap().0, Claim);
}

#[test]
fn claims_now_and_then_without_a_wake() {
    let mut rig = Rig::new();
    for _ in 0..3 {
        assert_eq!(rig.sent().unwrap().0, Claim);
        rig.reject("nothing");
        assert_eq!(rig.waits(), Some(45.0));
        rig.pass(45.0);
    }
}

#[test]
fn leaves_a_subscription_to_others_while_all_threads_are_busy() {
    let mut rig = Rig::new();
    assert!(rig.machine.poll_request(rig.now, false).is_none());
    assert_eq!(rig.machine.poll_timeout(rig.now, false), None);
    rig.claim(1, &["a"]);
}

#[test]
fn says_when_it_claims() {
    let mut rig = Rig::new();
    assert_eq!(rig.machine.poll_claim(), Some(rig.now));
    rig.sent();
    assert_eq!(rig.machine.poll_claim(), Some(rig.now), "it claims");
    rig.reject("nothing");
    let later = rig.now + Duration::from_secs(45);
    assert_eq!(rig.machine.poll_claim(), Some(later));
    rig.pass(45.0);
    rig.claim(1, &["a"]);
    assert_eq!(rig.machine.poll_claim(), None, "it has a claim");
    let mut rig = Rig::new();
    rig.machine.stop();
    assert_eq!(rig.machine.poll_claim(), None, "it ends");
}

#[test]
fn stops_when_the_running_blocks_have_returned() {
    let mut rig = Rig::claimed(&["a", "b"]);
    rig.work();
    rig.machine.stop();
    assert_eq!(rig.work(), None);
    rig.pass(10.0);
    assert_eq!(rig.acks(), (vec![], false), "the block still runs");
    rig.confirm(false);
    rig.machine.handle_batch("a", "0", false);
    assert_eq!(rig.acks(), (vec![pair("a", "0")], true));
    rig.confirm(true);
    assert_eq!(rig.progress("a"), Some("finished"));
    assert!(matches!(rig.machine.poll_end(), Some(Ok(()))));
}

#[test]
fn stops_at_once_without_a_claim_and_releases_one_that_is_granted_late() {
    let mut rig = Rig::new();
    rig.machine.stop();
    assert!(rig.sent().is_none());
    assert!(matches!(rig.machine.poll_end(), Some(Ok(()))));
    let mut rig = Rig::new();
    rig.sent();
    rig.machine.stop();
    assert!(rig.machine.poll_end().is_none());
    let stream = json!({ "path": "a", "acked_offset": "-1", "tail_offset": "1", "has_pending": true });
    let granted = json!({ "wake_id": "w", "generation": 1, "token": "t", "lease_ttl_ms": 30_000, "streams": [stream] });
    rig.respond(200, &granted);
    assert_eq!(rig.work(), None);
    assert_eq!(rig.sent().unwrap().0, Release);
    rig.respond(204, &Value::Null);
    assert!(matches!(rig.machine.poll_end(), Some(Ok(()))));
}
