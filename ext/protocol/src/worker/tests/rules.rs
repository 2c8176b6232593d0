//! The rules one by one.

use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::error::{About, Error, Kind, Operation};
use crate::request::{Context, RequestFailure, Response, ResponseTimeout};
use crate::retry::policy::RetryPolicy;
use crate::subscriptions::SubscriptionOperation::{self, Ack, Claim, Release};
use crate::worker::{BlockProgress, Work, WorkerConfig, WorkerEvent, WorkerJitter, WorkerMachine};

/// A machine, its clock, and the operation in flight.
struct Rig {
    machine: WorkerMachine,
    now: Instant,
    in_flight: Option<SubscriptionOperation>,
}

const CODES: [(&str, &str); 3] = [
    ("fenced", "FENCED"),
    ("nothing", "NO_PENDING_WORK"),
    ("refused", "INVALID_OFFSET"),
];

impl Rig {
    fn new() -> Self {
        let now = Instant::now();
        let config = WorkerConfig {
            name: "me".to_owned(),
            retry: RetryPolicy::for_tests(),
            fresh_values: true,
        };
        Self {
            machine: WorkerMachine::new(config, WorkerJitter(Box::new(|| 0.5)), now),
            now,
            in_flight: None,
        }
    }

    /// A machine with a claim of these streams, which all have one event, at offset "1". The lease is 30 s.
    fn claimed(streams: &[&str]) -> Self {
        let mut rig = Self::new();
        rig.claim(1, streams);
        rig
    }

    fn claim(&mut self, generation: u64, streams: &[&str]) {
        assert_eq!(self.sent(), Some((Claim, json!({ "worker": "me" }))));
        let stream = |path| json!({ "path": path, "acked_offset": "-1", "tail_offset": "1", "has_pending": true });
        let granted = json!({
            "wake_id": "w", "generation": generation, "token": "t", "lease_ttl_ms": 30_000,
            "streams": streams.iter().map(stream).collect::<Vec<_>>(),
        });
        self.respond(200, &granted);
        assert!(matches!(self.machine.poll_event(), Some(WorkerEvent::Claimed { .. })));
    }

    fn pass(&mut self, seconds: f64) {
        self.now += Duration::from_secs_f64(seconds);
    }

    /// Sends the next request. Its operation and body.
    fn sent(&mut self) -> Option<(SubscriptionOperation, Value)> {
        let (operation, request) = self.machine.poll_request(self.now, true)?;
        let limit = (operation != Claim).then_some(ResponseTimeout::AtMost(Duration::from_secs(10)));
        assert_eq!(request.response_timeout, limit.unwrap_or(ResponseTimeout::Normal));
        self.in_flight = Some(operation);
        Some((
            operation,
            serde_json::from_slice(request.body.as_ref().unwrap()).unwrap(),
        ))
    }

    /// The acks and `done` of the next request, which is an ack.
    fn acks(&mut self) -> (Vec<(String, String)>, bool) {
        let (operation, body) = self.sent().expect("a request");
        assert_eq!(operation, Ack);
        let pair = |ack: &Value| {
            let text = |name: &str| ack[name].as_str().unwrap().to_owned();
            (text("stream"), text("offset"))
        };
        let acks = body["acks"].as_array().unwrap().iter().map(pair).collect();
        (acks, body["done"].as_bool().unwrap())
    }

    fn end(&mut self, outcome: Result<Response, RequestFailure>) {
        let operation = Operation::Subscription(self.in_flight.take().expect("a request"));
        let context = Context {
            about: About {
                operation,
                url: "http://h",
            },
            policy: &RetryPolicy::for_tests(),
            now: SystemTime::UNIX_EPOCH,
        };
        self.machine.handle_outcome(self.now, &context, outcome);
    }

    fn respond(&mut self, status: u16, body: &Value) {
        self.end(Ok(super::simulation::response(status, body)));
    }

    fn reject(&mut self, what: &str) {
        let (_, code) = CODES.iter().find(|(name, _)| *name == what).unwrap();
        self.respond(409, &json!({ "error": { "code": code } }));
    }

    fn confirm(&mut self, next_wake: bool) {
        self.respond(200, &json!({ "ok": true, "next_wake": next_wake }));
    }

    /// Lets a third of the lease pass so many times, and prolongs it each time.
    fn prolong(&mut self, times: usize) {
        for _ in 0..times {
            self.pass(10.0);
            assert_eq!(self.acks(), (vec![], false));
            self.confirm(false);
        }
    }

    fn lose(&mut self) {
        let error = Error::plain(Kind::Connection, "lost".to_owned());
        self.end(Err(RequestFailure::ResponseLost(error)));
    }

    fn work(&mut self) -> Option<String> {
        self.machine.poll_work(self.now).map(|work| work.stream)
    }

    fn progress(&mut self, stream: &str) -> Option<&'static str> {
        self.machine
            .poll_progress(self.now, stream)
            .map(|progress| match progress {
                BlockProgress::GoOn => "go on",
                BlockProgress::Finished => "finished",
                BlockProgress::Failed(error) if matches!(error.kind(), Kind::Fenced) => "fenced",
                BlockProgress::Failed(_) => "failed",
            })
    }

    /// Seconds until it polls without a change.
    fn waits(&self) -> Option<f64> {
        let until = self.machine.poll_timeout(self.now, true)?;
        Some(until.saturating_duration_since(self.now).as_secs_f64())
    }
}

fn pair(stream: &str, offset: &str) -> (String, String) {
    (stream.to_owned(), offset.to_owned())
}

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
