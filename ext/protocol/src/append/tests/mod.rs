//! Tests of single situations. `simulation` tests random sequences.

mod leader;
mod once;
mod simulation;

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::{Append, AppendAction, AppendBatch, Arrival, Caller, Group, Leader, LeaderAction};
use crate::error::{About, Error, Kind, Operation, Result};
use crate::operations::AppendSuccess;
use crate::protocol::STREAM_NEXT_OFFSET;
use crate::request::{Context, RequestFailure, Response};
use crate::retry::policy::RetryPolicy;
use crate::retry::so_far::FailedTry;

/// A caller that abandons its append when its cell is true.
#[derive(Clone, Debug, Default)]
struct TestCaller(Rc<Cell<bool>>);

impl Caller for TestCaller {
    fn has_abandoned(&self) -> bool {
        self.0.get()
    }
}

impl TestCaller {
    fn abandon(&self) {
        self.0.set(true);
    }
}

fn append(data: &'static str) -> Append {
    Append {
        data: Bytes::from_static(data.as_bytes()),
        content_type: "application/json".into(),
        json: true,
        seq: None,
        alone: false,
        closes: false,
    }
}

fn follow(group: &mut Group<TestCaller>, append: Append) -> TestCaller {
    let caller = TestCaller::default();
    match group.arrive() {
        Arrival::Follows(queue) => queue.push(append, caller.clone(), Instant::now()),
        Arrival::Leads(leader) => panic!("{leader:?} leads"),
    }
    caller
}

fn lead(group: &mut Group<TestCaller>) -> Leader {
    group.arrive().leader().expect("nobody else leads")
}

/// A group whose first leader has ended, the callers of `appends`, which followed it, and the next leader.
fn group(appends: Vec<Append>) -> (Group<TestCaller>, Vec<TestCaller>, Leader) {
    let mut group = Group::default();
    let first = lead(&mut group);
    let callers = appends.into_iter().map(|append| follow(&mut group, append)).collect();
    let leader = group.leader_ends(first).expect("followers wait");
    (group, callers, leader)
}

fn batch(messages: &[&'static str]) -> (AppendBatch<TestCaller>, Vec<TestCaller>) {
    let (mut group, callers, leader) = group(messages.iter().map(|message| append(message)).collect());
    (next_batch(&mut group, leader), callers)
}

fn next_batch(group: &mut Group<TestCaller>, leader: Leader) -> AppendBatch<TestCaller> {
    match group.poll_next(leader, Instant::now()) {
        LeaderAction::Send(batch) => batch,
        other => panic!("{other:?}"),
    }
}

/// The body of the next try.
fn body(batch: &mut AppendBatch<TestCaller>) -> String {
    match batch.poll_action(Instant::now()) {
        AppendAction::Try => {}
        other => panic!("{other:?}"),
    }
    batch
        .handle_values(Instant::now(), Ok(()))
        .expect("the first caller waits");
    let request = batch.request(Instant::now(), "http://h/s").expect("it can be sent");
    String::from_utf8(request.body.unwrap().to_vec()).unwrap()
}

/// Ends the try. Returns the failed try if another one follows.
fn respond(
    batch: &mut AppendBatch<TestCaller>,
    outcome: std::result::Result<u16, RequestFailure>,
) -> Option<FailedTry> {
    let mut headers = HeaderMap::new();
    headers.insert(STREAM_NEXT_OFFSET, "7".parse().unwrap());
    let outcome = outcome.map(|status| Response {
        status: StatusCode::from_u16(status).unwrap(),
        headers,
        body: Bytes::new(),
        tries: Default::default(),
        redirected: None,
    });
    let operation = Operation::Append;
    let context = Context {
        about: About {
            operation,
            url: "http://h/s",
        },
        policy: &RetryPolicy::for_tests(),
        now: SystemTime::UNIX_EPOCH,
    };
    let repeat = crate::request::Repeat::UnlessSent;
    batch.handle_outcome(Instant::now(), &context, repeat, outcome, 1.0)
}

/// How many callers a report is for, their outcome, and whether the next one is expected soon.
fn reported(batch: &mut AppendBatch<TestCaller>) -> (usize, Result<AppendSuccess>, bool) {
    match batch.poll_action(Instant::now()) {
        AppendAction::Report {
            followers,
            outcome,
            soon,
            ..
        } => (followers.len(), outcome, soon),
        other => panic!("{other:?}"),
    }
}

fn ended(batch: &mut AppendBatch<TestCaller>) -> bool {
    matches!(batch.poll_action(Instant::now()), AppendAction::End)
}

#[test]
fn followers_share_a_request_in_the_order_of_their_arrival() {
    let (mut batch, _waiters) = batch(&["1", "2", "3"]);
    assert_eq!(body(&mut batch), "[1,2,3]");
    respond(&mut batch, Ok(204));
    assert!(
        matches!(reported(&mut batch), (3, Ok(AppendSuccess { next_offset, duplicate: false }), false) if next_offset.as_deref() == Some("7"))
    );
    assert!(ended(&mut batch));
}

#[test]
fn bytes_follow_each_other_in_a_request() {
    let bytes = |data| Append {
        json: false,
        ..append(data)
    };
    let (mut group, _waiters, leader) = group(vec![bytes("a"), bytes("b")]);
    assert_eq!(body(&mut next_batch(&mut group, leader)), "ab");
}

#[test]
fn appends_with_a_seq_or_of_another_type_share_no_request() {
    let with_seq = Append {
        seq: Some("a".to_owned()),
        ..append("2")
    };
    let other = Append {
        content_type: "application/problem+json".into(),
        ..append("4")
    };
    let (mut group, _waiters, leader) = group(vec![append("1"), with_seq, append("3"), other]);
    for alone in ["[1]", "[2]", "[3]", "[4]"] {
        assert_eq!(body(&mut next_batch(&mut group, leader)), alone);
    }
}

#[test]
fn a_request_is_bounded_in_bytes() {
    let large = |size: usize| Append {
        data: Bytes::from(vec![b'1'; size]),
        ..append("")
    };
    let (mut group, _waiters, leader) = group(vec![large(2 << 20), large(600_000), large(400_000), large(100_000)]);
    let sizes = [(); 3].map(|()| body(&mut next_batch(&mut group, leader)).len());
    assert_eq!(sizes, [(2 << 20) + 2, 1_000_003, 100_002]);
}

#[test]
fn a_try_has_the_appends_whose_callers_still_wait() {
    let (mut batch, callers) = batch(&["1", "2", "3"]);
    assert_eq!(body(&mut batch), "[1,2,3]");
    respond(&mut batch, Err(RequestFailure::NotSent(error(Kind::Connection))));
    callers[1].abandon();
    let until = match batch.poll_action(Instant::now()) {
        AppendAction::Wait(until) => until,
        other => panic!("{other:?}"),
    };
    assert!(matches!(batch.poll_action(until), AppendAction::Try));
    batch.handle_values(Instant::now(), Ok(())).unwrap();
    assert_eq!(
        batch.request(Instant::now(), "http://h/s").unwrap().body.unwrap(),
        "[1,3]"
    );
}

#[test]
fn the_next_caller_computes_the_values_after_the_first_one_abandons() {
    let (mut batch, callers) = batch(&["1", "2"]);
    assert!(matches!(batch.poll_action(Instant::now()), AppendAction::Try));
    callers[0].abandon();
    assert_eq!(
        batch.handle_values(Instant::now(), Err::<(), _>(error(Kind::Abandoned))),
        None
    );
    assert_eq!(body(&mut batch), "[2]");
}

#[test]
fn an_error_of_a_value_callable_is_the_outcome_of_all() {
    let (mut batch, _waiters) = batch(&["1", "2"]);
    assert!(matches!(batch.poll_action(Instant::now()), AppendAction::Try));
    assert_eq!(
        batch.handle_values(Instant::now(), Err::<(), _>(error(Kind::Parse))),
        None
    );
    assert!(matches!(reported(&mut batch), (2, Err(_), false)));
}

#[test]
fn the_next_caller_executes_an_in_memory_request_after_the_first_one_abandons() {
    let (mut batch, callers) = batch(&["1", "2"]);
    assert_eq!(body(&mut batch), "[1,2]");
    callers[0].abandon();
    respond(&mut batch, Err(RequestFailure::Final(error(Kind::Abandoned))));
    assert_eq!(body(&mut batch), "[2]");
}

#[test]
fn a_rejected_request_is_sent_again_in_halves() {
    let (mut batch, callers) = batch(&["1", "2", "3", "4", "5"]);
    let mut outcomes = Vec::new();
    for (sent, status) in [
        ("[1,2,3,4,5]", 400),
        ("[1,2]", 204),
        ("[3,4,5]", 413),
        ("[3]", 400),
        ("[5]", 204),
    ] {
        assert_eq!(body(&mut batch), sent);
        if sent == "[3]" {
            callers[3].abandon();
        }
        respond(&mut batch, Ok(status));
        if sent.len() < 7 {
            outcomes.push(
                reported(&mut batch)
                    .1
                    .map(|appended| appended.next_offset)
                    .map_err(|error| error.status()),
            );
        }
    }
    let stored = || Ok(Some("7".to_owned()));
    assert_eq!(outcomes, [stored(), Err(Some(400)), stored()]);
    assert!(ended(&mut batch));
}

/// How many appends the reported request had.
fn together(batch: &mut AppendBatch<TestCaller>) -> Option<usize> {
    match batch.poll_action(Instant::now()) {
        AppendAction::Report { together, .. } => together,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_report_says_how_many_appends_the_request_had() {
    let (mut batch, callers) = batch(&["1", "2", "3", "4", "5"]);
    callers[1].abandon();
    callers[0].abandon();
    assert_eq!(body(&mut batch), "[3,4,5]");
    respond(&mut batch, Ok(413));
    for (sent, count) in [("[3]", 1), ("[4,5]", 2)] {
        assert_eq!(body(&mut batch), sent);
        respond(&mut batch, Ok(200));
        assert_eq!(together(&mut batch), Some(count));
    }
}

#[test]
fn a_report_without_a_request_says_so() {
    let (mut batch, _callers) = batch(&["1"]);
    assert!(matches!(batch.poll_action(Instant::now()), AppendAction::Try));
    assert!(
        batch
            .handle_values::<()>(Instant::now(), Err(error(Kind::Internal)))
            .is_none()
    );
    assert_eq!(together(&mut batch), None);
}

#[test]
fn tries_are_counted_from_1_and_a_failed_one_says_what_follows() {
    let (mut batch, _callers) = batch(&["1", "2"]);
    assert_eq!(batch.attempt(), 1);
    for attempt in [1, 2] {
        batch.handle_values(Instant::now(), Ok(())).unwrap();
        batch.request(Instant::now(), "http://h/s").unwrap();
        let failed = respond(&mut batch, Ok(429)).unwrap();
        let reason = "rate limited (429)".to_owned();
        let delay = failed.delay;
        assert_eq!(failed, FailedTry { attempt, delay, reason });
        assert!(!delay.is_zero());
        assert_eq!(batch.attempt(), attempt + 1);
    }
    batch.request(Instant::now(), "http://h/s").unwrap();
    assert_eq!(respond(&mut batch, Ok(200)), None);
}

#[test]
fn an_abandoned_request_is_not_sent_again() {
    let (mut batch, callers) = batch(&["1", "2"]);
    assert_eq!(body(&mut batch), "[1,2]");
    callers.iter().for_each(TestCaller::abandon);
    assert!(ended(&mut batch));
}

#[test]
fn a_batch_without_callers_is_not_sent() {
    let (mut group, callers, leader) = group(vec![append("1"), append("2")]);
    callers.iter().for_each(TestCaller::abandon);
    assert!(matches!(group.poll_next(leader, Instant::now()), LeaderAction::End));
    lead(&mut group);
}

#[test]
fn the_next_batch_is_expected_soon_after_many_appends_whose_response_came_soon() {
    let (mut batch, _waiters) = batch(&["1", "2", "3", "4", "5", "6"]);
    let now = Instant::now();
    assert!(matches!(batch.poll_action(now), AppendAction::Try));
    batch.handle_values(Instant::now(), Ok(())).unwrap();
    batch.request(Instant::now(), "http://h/s").unwrap();
    respond(&mut batch, Ok(204));
    let responded_at = now + Duration::from_micros(499);
    assert!(matches!(
        batch.poll_action(responded_at),
        AppendAction::Report { soon: true, .. }
    ));
}

fn error(kind: Kind) -> Error {
    Error::plain(kind, "a fault".to_owned())
}
