//! Appends of a handle with `exactly_once`: their numbers, and what happens to them. `patience`: how long they are sent
//! again.

mod patience;

use std::sync::OnceLock;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};

use super::{TestCaller, append, error, follow, lead, next_batch};
use crate::append::{Append, AppendAction, AppendBatch, Group};
use crate::error::{About, Error, Kind, Operation, Result};
use crate::operations::AppendSuccess;
use crate::protocol::{
    PRODUCER_EPOCH, PRODUCER_EXPECTED_SEQ, PRODUCER_ID, PRODUCER_RECEIVED_SEQ, PRODUCER_SEQ, STREAM_CLOSED,
    STREAM_NEXT_OFFSET, STREAM_SEQ, text,
};
use crate::request::{Context, Repeat, Request, RequestFailure, Response};
use crate::retry::policy::RetryPolicy;
use crate::retry::so_far::TriesSoFar;

const OFFSET: (HeaderName, &str) = (STREAM_NEXT_OFFSET, "7");
const GAP: [(HeaderName, &str); 2] = [(PRODUCER_EXPECTED_SEQ, "0"), (PRODUCER_RECEIVED_SEQ, "1")];

type Outcome = std::result::Result<Response, RequestFailure>;

fn handle() -> Group<TestCaller> {
    Group::exactly_once(7, true)
}

/// The batch of a leader's own append.
fn own(group: &mut Group<TestCaller>, append: Append) -> AppendBatch<TestCaller> {
    group.own_batch(append, TestCaller::default(), Instant::now())
}

/// The next try.
fn request(batch: &mut AppendBatch<TestCaller>) -> Request {
    let mut now = Instant::now();
    if let AppendAction::Wait(until) = batch.poll_action(now) {
        now = until;
        assert!(matches!(batch.poll_action(now), AppendAction::Try));
    }
    batch.handle_values(now, Ok(())).expect("the first caller waits");
    batch.request(now, "http://h/s").expect("it can be sent")
}

/// The suffix of its producer id, its sequence number and its body.
fn number(request: &Request) -> (String, String, String) {
    assert_eq!(text(&request.headers, &PRODUCER_EPOCH), Some("0"));
    assert_eq!(request.repeat, Repeat::Safe);
    let header = |name: HeaderName| text(&request.headers, &name).expect("the header is set").to_owned();
    let id = header(PRODUCER_ID);
    let id = id.strip_prefix("append-00000000000000000000000000000007-");
    (
        id.expect("the id has the random number").to_owned(),
        header(PRODUCER_SEQ),
        String::from_utf8(request.body.clone().unwrap().to_vec()).unwrap(),
    )
}

fn numbered(id: &str, seq: &str, body: &str) -> (String, String, String) {
    (id.to_owned(), seq.to_owned(), body.to_owned())
}

fn response(status: u16, headers: &[(HeaderName, &'static str)]) -> Response {
    let headers = headers.iter().cloned();
    Response {
        status: StatusCode::from_u16(status).unwrap(),
        headers: headers
            .map(|(name, value)| (name, value.parse().unwrap()))
            .collect::<HeaderMap>(),
        body: Bytes::new(),
        tries: TriesSoFar::default(),
        redirected: None,
    }
}

fn lost() -> Outcome {
    Err(RequestFailure::ResponseLost(error(Kind::Connection)))
}

fn context(request: &Request) -> Context<'static> {
    Context {
        about: About {
            operation: request.operation,
            url: "http://h/s",
        },
        policy: policy(),
        now: SystemTime::UNIX_EPOCH,
    }
}

fn policy() -> &'static RetryPolicy {
    static POLICY: OnceLock<RetryPolicy> = OnceLock::new();
    POLICY.get_or_init(RetryPolicy::for_tests)
}

fn respond(batch: &mut AppendBatch<TestCaller>, request: &Request, outcome: Outcome) {
    let context = context(request);
    batch.handle_outcome(Instant::now(), &context, request.repeat, outcome, 1.0);
}

fn outcome(batch: &mut AppendBatch<TestCaller>) -> Result<AppendSuccess> {
    match batch.poll_action(Instant::now()) {
        AppendAction::Report { outcome, .. } => outcome,
        other => panic!("{other:?}"),
    }
}

/// Sends one append in a request of its own. Its only try ends with `end`. Returns the number, operation and outcome.
fn send(
    group: &mut Group<TestCaller>,
    append: Append,
    end: Outcome,
) -> ((String, String, String), Operation, Result<AppendSuccess>) {
    let mut batch = own(group, append);
    let sent = request(&mut batch);
    respond(&mut batch, &sent, end);
    let outcome = outcome(&mut batch);
    assert!(matches!(batch.poll_action(Instant::now()), AppendAction::End));
    group.batch_ends(batch);
    (number(&sent), sent.operation, outcome)
}

#[test]
fn requests_are_numbered_from_0_under_one_id() {
    let mut group = handle();
    for (data, seq) in [("5", "0"), ("6", "1"), ("7", "2")] {
        let (sent, operation, outcome) = send(&mut group, append(data), Ok(response(200, &[OFFSET])));
        assert_eq!(sent, numbered("1", seq, &format!("[{data}]")));
        assert_eq!(operation, Operation::AppendOnce { with_seq: false });
        let appended = outcome.unwrap();
        assert_eq!(
            (appended.next_offset.as_deref(), appended.duplicate),
            (Some("7"), false)
        );
    }
}

#[test]
fn a_repeated_request_has_the_same_number_and_bytes_even_without_its_callers() {
    let mut group = handle();
    let first = lead(&mut group);
    let callers = ["1", "2", "3"].map(|data| follow(&mut group, append(data)));
    let leader = group.leader_ends(first).unwrap();
    callers[2].abandon();
    let mut batch = next_batch(&mut group, leader);
    let sent = request(&mut batch);
    assert_eq!(number(&sent), numbered("1", "0", "[1,2]"));
    for end in [lost(), Ok(response(503, &[])), Ok(response(429, &[]))] {
        respond(&mut batch, &sent, end);
        callers[0].abandon();
        assert_eq!(number(&request(&mut batch)), number(&sent));
    }
    respond(&mut batch, &sent, Ok(response(204, &[OFFSET])));
    assert!(outcome(&mut batch).unwrap().duplicate);
}

#[test]
fn a_number_that_was_surely_not_stored_is_used_again() {
    let mut group = handle();
    let mut batch = own(&mut group, append("1"));
    for end in [
        Err(RequestFailure::NotSent(error(Kind::Connection))),
        Ok(response(429, &[])),
        Ok(response(404, &[])),
    ] {
        let sent = request(&mut batch);
        assert_eq!(number(&sent), numbered("1", "0", "[1]"));
        respond(&mut batch, &sent, end);
    }
    assert!(!outcome(&mut batch).unwrap_err().outcome_unknown());
    group.batch_ends(batch);
    assert_eq!(
        send(&mut group, append("2"), Ok(response(400, &[]))).0,
        numbered("1", "0", "[2]")
    );
    assert_eq!(
        send(&mut group, append("3"), Ok(response(200, &[OFFSET]))).0,
        numbered("1", "0", "[3]")
    );
}

#[test]
fn the_halves_of_a_rejected_request_have_one_number_each() {
    let mut group = handle();
    let first = lead(&mut group);
    let callers = ["1", "2"].map(|data| follow(&mut group, append(data)));
    let leader = group.leader_ends(first).unwrap();
    let mut batch = next_batch(&mut group, leader);
    for (status, sent_as) in [
        (400, numbered("1", "0", "[1,2]")),
        (200, numbered("1", "0", "[1]")),
        (200, numbered("1", "1", "[2]")),
    ] {
        let sent = request(&mut batch);
        assert_eq!(number(&sent), sent_as);
        respond(&mut batch, &sent, Ok(response(status, &[OFFSET])));
        if status == 200 {
            outcome(&mut batch).unwrap();
        }
    }
    drop(callers);
}

#[test]
fn an_append_that_shared_a_rejected_request_with_an_abandoned_one_is_sent_alone() {
    let mut group = handle();
    let first = lead(&mut group);
    let callers = ["1", "2"].map(|data| follow(&mut group, append(data)));
    let leader = group.leader_ends(first).unwrap();
    let mut batch = next_batch(&mut group, leader);
    let sent = request(&mut batch);
    callers[0].abandon();
    respond(&mut batch, &sent, Ok(response(400, &[])));
    assert_eq!(number(&request(&mut batch)), numbered("1", "0", "[2]"));
}

#[test]
fn after_an_unknown_outcome_there_is_a_new_id() {
    let mut group = handle();
    send(&mut group, append("1"), Ok(response(200, &[OFFSET]))).2.unwrap();
    // A success without the offset.
    let unknown = send(&mut group, append("2"), Ok(response(200, &[]))).2.unwrap_err();
    assert!(unknown.outcome_unknown());
    assert!(!unknown.to_string().contains("exactly_once"), "{unknown}");
    assert_eq!(
        send(&mut group, append("3"), Ok(response(200, &[OFFSET]))).0,
        numbered("1.1", "0", "[3]")
    );
}

#[test]
fn the_response_to_a_duplicate_need_not_have_the_offset() {
    let mut group = handle();
    let duplicate = Ok(response(204, &[(PRODUCER_SEQ, "0")]));
    let success = send(&mut group, append("1"), duplicate).2.unwrap();
    assert_eq!((success.next_offset, success.duplicate), (None, true));
    // Such a response is not from a server of this protocol.
    let unknown = send(&mut group, append("2"), Ok(response(204, &[])));
    assert!(unknown.2.unwrap_err().outcome_unknown());
}

#[test]
fn an_id_whose_request_was_cancelled_is_not_used_again() {
    let mut group = handle();
    request(&mut own(&mut group, append("1")));
    assert_eq!(
        send(&mut group, append("2"), Ok(response(200, &[OFFSET]))).0,
        numbered("2", "0", "[2]")
    );
}

#[test]
fn requests_at_the_same_time_have_different_ids() {
    let mut group = handle();
    let mut first = own(&mut group, append("1"));
    let mut second = own(&mut group, append("2"));
    assert_eq!(number(&request(&mut first)), numbered("1", "0", "[1]"));
    assert_eq!(number(&request(&mut second)), numbered("2", "0", "[2]"));
}

#[test]
fn an_append_is_sent_under_a_new_id_if_the_server_has_forgotten_the_id() {
    let expired = [(PRODUCER_EPOCH, "0")];
    for (status, headers) in [(409, &GAP[..]), (403, &expired[..])] {
        let mut group = handle();
        send(&mut group, append("1"), Ok(response(200, &[OFFSET]))).2.unwrap();
        let mut batch = own(&mut group, append("2"));
        let sent = request(&mut batch);
        assert_eq!(number(&sent), numbered("1", "1", "[2]"));
        respond(&mut batch, &sent, Ok(response(status, headers)));
        let again = request(&mut batch);
        assert_eq!(number(&again), numbered("1.1", "0", "[2]"));
        // A server that rejects a new id too.
        respond(&mut batch, &again, Ok(response(status, headers)));
        let failure = outcome(&mut batch).unwrap_err();
        assert_eq!((failure.status(), failure.attempts()), (Some(status), Some(2)));
    }
}

#[test]
fn a_server_that_forgets_the_id_between_two_tries_leaves_the_outcome_unknown() {
    let mut group = handle();
    send(&mut group, append("1"), Ok(response(200, &[OFFSET]))).2.unwrap();
    let mut batch = own(&mut group, append("2"));
    let sent = request(&mut batch);
    respond(&mut batch, &sent, lost());
    let sent = request(&mut batch);
    respond(&mut batch, &sent, Ok(response(409, &GAP)));
    assert!(outcome(&mut batch).unwrap_err().outcome_unknown());
}

#[test]
fn an_id_that_another_producer_uses_is_given_up() {
    let mut group = handle();
    send(&mut group, append("1"), Ok(response(200, &[OFFSET]))).2.unwrap();
    let stale = send(&mut group, append("2"), Ok(response(403, &[(PRODUCER_EPOCH, "1")])));
    let error: Error = stale.2.unwrap_err();
    assert!(matches!(error.kind(), Kind::StaleEpoch { current_epoch: Some(1) }));
    assert!(!error.outcome_unknown());
    assert_eq!(
        send(&mut group, append("3"), Ok(response(200, &[OFFSET]))).0,
        numbered("1.1", "0", "[3]")
    );
}

#[test]
fn an_append_with_seq_has_both_kinds_of_headers() {
    let mut group = handle();
    let with_seq = Append {
        seq: Some("a".to_owned()),
        ..append("1")
    };
    let mut batch = own(&mut group, with_seq);
    let sent = request(&mut batch);
    assert_eq!(text(&sent.headers, &STREAM_SEQ), Some("a"));
    assert_eq!(number(&sent), numbered("1", "0", "[1]"));
    respond(&mut batch, &sent, Ok(response(409, &[])));
    assert!(matches!(outcome(&mut batch).unwrap_err().kind(), Kind::SeqConflict));
}

#[test]
fn a_close_with_data_is_numbered_too() {
    let mut group = handle();
    let closing = Append {
        closes: true,
        alone: true,
        ..append("1")
    };
    let mut batch = own(&mut group, closing);
    let sent = request(&mut batch);
    assert_eq!(text(&sent.headers, &STREAM_CLOSED), Some("true"));
    assert_eq!(
        (sent.operation, number(&sent)),
        (Operation::CloseOnce, numbered("1", "0", "[1]"))
    );
    respond(&mut batch, &sent, lost());
    assert_eq!(number(&request(&mut batch)), numbered("1", "0", "[1]"));
    respond(&mut batch, &sent, Ok(response(204, &[OFFSET])));
    assert_eq!(outcome(&mut batch).unwrap().next_offset.as_deref(), Some("7"));
}
