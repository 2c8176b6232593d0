//! How long appends with `exactly_once` are sent again.

use std::time::{Duration, Instant};

use super::{OFFSET, append, context, handle, lead, lost, number, numbered, response, send};
use crate::append::tests::TestCaller;
use crate::append::{AppendAction, AppendBatch, Arrival, Group, LeaderAction};
use crate::error::{Error, Kind};

/// How many tries an append has that never gets a response, and how long after the first one the last one is.
fn tries_without_response(group: &mut Group<TestCaller>) -> (u32, Duration) {
    let began = Instant::now();
    let mut batch = group.own_batch(append("1"), TestCaller::default(), began);
    let (mut now, mut tries) = (began, 0);
    loop {
        match batch.poll_action(now) {
            AppendAction::Try => {
                batch.handle_values(now, Ok(())).unwrap();
                let sent = batch.request(now, "http://h/s").unwrap();
                tries += 1;
                batch.handle_outcome(now, &context(&sent), sent.repeat, lost(), 1.0);
            }
            AppendAction::Wait(until) => now = until,
            AppendAction::Report { .. } => return (tries, now - began),
            AppendAction::End => panic!("there is an outcome first"),
        }
    }
}

#[test]
fn the_policy_limits_the_tries_until_the_first_success() {
    let mut group = handle();
    assert_eq!(tries_without_response(&mut group).0, 6);
    send(&mut group, append("2"), Ok(response(200, &[OFFSET]))).2.unwrap();
    let (tries, elapsed) = tries_without_response(&mut group);
    assert_eq!((tries, elapsed), (30, Duration::from_secs(120)));
}

#[test]
fn a_policy_that_was_chosen_limits_the_tries() {
    let mut group = Group::exactly_once(7, false);
    send(&mut group, append("2"), Ok(response(200, &[OFFSET]))).2.unwrap();
    assert_eq!(tries_without_response(&mut group).0, 6);
}

/// Followers that arrive at these seconds, and their leader, whose request ends at the last argument.
fn followers(arrivals: &[u64], ends: u64) -> (Instant, Group<TestCaller>, AppendBatch<TestCaller>) {
    const DATA: [&str; 3] = ["1", "2", "3"];
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut group = handle();
    send(&mut group, append("0"), Ok(response(200, &[OFFSET]))).2.unwrap();
    let first = lead(&mut group);
    for (data, seconds) in DATA.into_iter().zip(arrivals) {
        match group.arrive() {
            Arrival::Follows(queue) => queue.push(append(data), TestCaller::default(), at(*seconds)),
            Arrival::Leads(leader) => panic!("{leader:?} leads"),
        }
    }
    let leader = group.leader_ends(first).unwrap();
    let batch = match group.poll_next(leader, at(ends)) {
        LeaderAction::Send(batch) => batch,
        other => panic!("{other:?}"),
    };
    (start, group, batch)
}

/// What becomes of a batch that never gets a response, from this second on: for each append the time at which it fails
/// (seconds), and the error; and the body of every try.
fn fail_all(start: Instant, batch: &mut AppendBatch<TestCaller>, from: u64) -> (Vec<(u64, Error)>, Vec<String>) {
    let mut now = start + Duration::from_secs(from);
    let (mut failures, mut bodies) = (Vec::new(), Vec::new());
    loop {
        match batch.poll_action(now) {
            AppendAction::Try => {
                batch.handle_values(now, Ok(())).unwrap();
                let Some(sent) = batch.request(now, "http://h/s") else {
                    continue;
                };
                bodies.push(number(&sent).2);
                batch.handle_outcome(now, &context(&sent), sent.repeat, lost(), 1.0);
            }
            AppendAction::Wait(until) => now = until,
            AppendAction::Report { followers, outcome, .. } => {
                assert_eq!(followers.len(), 1);
                failures.push(((now - start).as_secs(), outcome.unwrap_err()));
            }
            AppendAction::End => return (failures, bodies),
        }
    }
}

#[test]
fn the_time_of_an_append_counts_from_its_arrival() {
    let (start, _, mut batch) = followers(&[1], 100);
    let (failures, _) = fail_all(start, &mut batch, 100);
    let [(121, error)] = &failures[..] else {
        panic!("{failures:?}")
    };
    assert!(error.outcome_unknown());
    assert_eq!(error.elapsed(), Some(Duration::from_secs(120)));
}

#[test]
fn an_append_that_has_waited_too_long_fails_without_a_try() {
    let (start, mut group, mut batch) = followers(&[1, 2], 130);
    let (failures, bodies) = fail_all(start, &mut batch, 130);
    assert!(bodies.is_empty(), "{bodies:?}");
    let elapsed: Vec<_> = failures
        .iter()
        .map(|(_, error)| error.elapsed().unwrap().as_secs())
        .collect();
    assert_eq!(elapsed, [129, 128]);
    for (_, error) in failures {
        assert!(
            !error.outcome_unknown() && matches!(error.kind(), Kind::Timeout),
            "{error}"
        );
        assert_eq!((error.attempts(), error.url()), (None, "http://h/s"));
    }
    group.batch_ends(batch);
    assert_eq!(
        send(&mut group, append("3"), Ok(response(200, &[OFFSET]))).0,
        numbered("1", "1", "[3]")
    );
}

#[test]
fn appends_of_one_request_fail_each_at_its_own_time() {
    let (start, _, mut batch) = followers(&[0, 90, 110], 115);
    let (failures, bodies) = fail_all(start, &mut batch, 115);
    let ends: Vec<_> = failures.iter().map(|(ends, _)| *ends).collect();
    for (ends, limit) in ends.iter().zip([120, 210, 230]) {
        assert!((limit..=limit + 5).contains(ends), "{ends} {limit}");
    }
    for ((ends, error), arrived) in failures.iter().zip([0, 90, 110]) {
        assert!(error.outcome_unknown());
        assert_eq!(error.elapsed().map(|elapsed| elapsed.as_secs()), Some(ends - arrived));
    }
    // The server may have stored the request, so it does not change.
    assert!(bodies.iter().all(|body| body == "[1,2,3]"), "{bodies:?}");
}

#[test]
fn those_that_have_waited_too_long_are_not_in_the_request_of_the_others() {
    let (start, _, mut batch) = followers(&[0, 1, 100], 130);
    let (failures, bodies) = fail_all(start, &mut batch, 130);
    let ends: Vec<_> = failures.iter().map(|(ends, _)| *ends).collect();
    assert_eq!(ends, [130, 130, 220]);
    assert!(bodies.iter().all(|body| body == "[3]"), "{bodies:?}");
}
