//! Taking an id back, and the cases in which that is not safe.

use super::*;

fn claiming() -> ProducerConfig {
    ProducerConfig {
        auto_claim: true,
        ..config()
    }
}

/// A machine that has just taken epoch 6, with `messages` to re-send.
fn claimed(messages: &[&str]) -> (Bench, Vec<Transmit>) {
    let mut bench = Bench::new(claiming());
    let first = bench.append_and_send(messages);
    bench.respond(&first[0], stale(5));
    let sent = bench.send();
    assert!(matches!(
        bench.events()[..],
        [ProducerEvent::Claimed { from: 0, to: 6 }]
    ));
    (bench, sent)
}

#[test]
fn the_id_is_taken_back_and_everything_is_sent_anew_in_order() {
    let (mut bench, sent) = Bench::sending(claiming(), &["a", "b", "c"]);
    bench.append(&["d"]);
    bench.respond(&sent[2], stale(5));
    bench.respond(&sent[1], stale(5));
    assert!(bench.send().is_empty(), "the first may have landed");
    bench.accept(&sent[0]);
    let claim = bench.send();
    assert_eq!((claim[0].epoch, bodies(&claim)), (6, vec![(0, "b".to_owned())]));
    bench.accept(&claim[0]);
    assert_eq!(bodies(&bench.send()), [(1, "c".to_owned()), (2, "d".to_owned())]);
    assert_eq!((bench.machine.epoch(), bench.machine.seq()), (6, 2));
    assert_eq!(bench.delivered(), [(1, 1, 1), (2, 1, 0)]);
}

#[test]
fn messages_may_be_appended_while_a_claim_is_prepared() {
    let (mut bench, sent) = Bench::sending(claiming(), &["a", "b"]);
    bench.respond(&sent[1], stale(5));
    assert!(bench.append_and_send(&["c"]).is_empty());
    bench.respond(&sent[0], stale(5));
    let claim = bench.send();
    assert_eq!(bodies(&claim), [(0, "a".to_owned())]);
}

#[test]
fn a_request_that_was_lost_before_the_fence_is_unknown_and_nothing_is_claimed() {
    let (mut bench, sent) = Bench::sending(claiming(), &["a", "b"]);
    bench.lose(&sent[0]);
    bench.respond(&sent[1], stale(5));
    let failure = FailureReason::StaleEpoch { current_epoch: 5 };
    assert_eq!(bench.failed(), Some((failure, vec![unknown("a"), not_delivered("b")])));
}

#[test]
fn a_request_that_was_lost_behind_one_that_was_refused_is_not_in_doubt() {
    let (mut bench, sent) = Bench::sending(claiming(), &["a", "b"]);
    bench.lose(&sent[1]);
    bench.respond(&sent[0], stale(5));
    let claim = bench.send();
    assert_eq!(bodies(&claim), [(0, "a".to_owned())]);
    bench.accept(&claim[0]);
    assert_eq!(bodies(&bench.send()), [(1, "b".to_owned())]);
}

#[test]
fn a_request_that_was_lost_before_one_that_was_accepted_is_not_in_doubt() {
    let (mut bench, sent) = Bench::sending(claiming(), &["a", "b", "c"]);
    bench.lose(&sent[0]);
    bench.respond(&sent[2], stale(5));
    bench.accept(&sent[1]);
    assert_eq!(bodies(&bench.send()), [(0, "c".to_owned())]);
    assert_eq!(bench.delivered(), [(1, 1, 1), (2, 1, 2)]);
}

#[test]
fn a_duplicate_claim_that_is_not_found_was_somebody_elses() {
    let (mut bench, sent) = claimed(&["a", "b"]);
    bench.respond(&sent[0], ok(204, 0));
    assert_eq!(bench.finish_search(SearchResult::No), "tail");
    let next = bench.send();
    assert_eq!((next[0].epoch, bodies(&next)), (7, vec![(0, "a".to_owned())]));
    bench.accept(&next[0]);
    assert_eq!(bodies(&bench.send()), [(1, "b".to_owned())]);
    assert_eq!(bench.delivered(), [(0, 1, 0)]);
}

#[test]
fn a_duplicate_claim_that_is_found_was_its_own() {
    let (mut bench, sent) = claimed(&["a"]);
    bench.lose(&sent[0]);
    bench.pass(Duration::from_secs(1));
    let again = bench.send();
    bench.respond(&again[0], ok(204, 0));
    bench.finish_search(SearchResult::Yes);
    assert_eq!(bench.delivered(), [(0, 1, 0)]);
    assert_eq!(bench.machine.epoch(), 6);
}

#[test]
fn a_claim_of_which_nobody_can_tell_whose_it_was_is_unknown() {
    let (mut bench, sent) = claimed(&["a", "b"]);
    bench.respond(&sent[0], ok(204, 0));
    bench.finish_search(SearchResult::Unknown);
    let failure = FailureReason::StaleEpoch { current_epoch: 6 };
    assert_eq!(bench.failed(), Some((failure, vec![unknown("a"), not_delivered("b")])));
}

#[test]
fn claims_of_epochs_that_others_use_are_a_fight() {
    let (mut bench, mut sent) = claimed(&["a"]);
    for _ in 0..2 {
        bench.respond(&sent[0], ok(204, 0));
        bench.finish_search(SearchResult::No);
        sent = bench.send();
    }
    bench.respond(&sent[0], ok(204, 0));
    bench.finish_search(SearchResult::No);
    let failure = FailureReason::StaleEpoch { current_epoch: 8 };
    assert_eq!(bench.failed(), Some((failure, vec![not_delivered("a")])));
}

#[test]
fn a_later_batch_of_a_claimed_epoch_that_a_proxy_doubled_is_found() {
    let (mut bench, sent) = claimed(&["a", "b", "c", "d"]);
    bench.accept(&sent[0]);
    let sent = bench.send();
    bench.respond(&sent[0], ok(204, 1));
    bench.accept(&sent[2]);
    assert!(
        bench.machine.poll_lookup(bench.now).is_none(),
        "one of those sent since is still out"
    );
    bench.respond(&sent[1], ok(204, 2));
    bench.append(&["e"]);
    assert!(bench.machine.poll_transmit(bench.now).is_none(), "it may be in vain");
    assert_eq!(bench.finish_search(SearchResult::Yes), "after 0");
    assert_eq!(bench.finish_search(SearchResult::Yes), "after 0");
    assert_eq!(bodies(&bench.send()), [(4, "e".to_owned())]);
    assert_eq!(bench.delivered(), [(0, 1, 0), (1, 1, 1), (2, 1, 2), (3, 1, 3)]);
}

#[test]
fn a_later_batch_of_a_claimed_epoch_that_others_resemble_cannot_be_found() {
    let (mut bench, sent) = claimed(&["a", "b", "b"]);
    bench.accept(&sent[0]);
    let sent = bench.send();
    bench.accept(&sent[1]);
    bench.respond(&sent[0], ok(204, 2));
    assert!(bench.machine.poll_lookup(bench.now).is_none());
    let failure = FailureReason::StaleEpoch { current_epoch: 6 };
    assert_eq!(bench.failed(), Some((failure, vec![unknown("b")])));
}

#[test]
fn a_claim_whose_request_was_lost_is_repeated() {
    let (mut bench, sent) = claimed(&["a"]);
    bench.lose(&sent[0]);
    bench.pass(Duration::from_secs(1));
    let again = bench.send();
    assert_eq!((again[0].epoch, again[0].seq), (6, 0));
    bench.accept(&again[0]);
    assert_eq!(bench.delivered(), [(0, 1, 0)]);
}

#[test]
fn a_number_beyond_what_was_sent_in_a_claimed_epoch_is_somebody_elses() {
    let (mut bench, sent) = claimed(&["a", "b"]);
    bench.accept(&sent[0]);
    let sent = bench.send();
    bench.respond(&sent[0], ok(204, 9));
    assert_eq!(
        bench.failed(),
        Some((FailureReason::StaleEpoch { current_epoch: 6 }, vec![unknown("b")]))
    );
}

#[test]
fn in_an_epoch_that_two_claimed_numbers_prove_nothing() {
    let (mut bench, sent) = claimed(&["a", "b", "c", "d"]);
    bench.accept(&sent[0]);
    let sent = bench.send();
    bench.respond(&sent[0], status(429));
    bench.lose(&sent[1]);
    bench.respond(&sent[2], ok(204, 9));
    let rest = vec![not_delivered("b"), unknown("c"), unknown("d")];
    assert_eq!(
        bench.failed(),
        Some((FailureReason::StaleEpoch { current_epoch: 6 }, rest))
    );
}

#[test]
fn an_epoch_that_the_server_has_closed_is_followed_by_the_next() {
    let mut bench = Bench::new(claiming());
    let first = bench.append_and_send(&["a", "b", "c"]);
    bench.accept(&first[0]);
    let sent = bench.send();
    bench.respond(&sent[1], stale(0));
    assert!(bench.send().is_empty(), "the other may be stored");
    bench.respond(&sent[0], stale(0));
    let claim = bench.send();
    assert_eq!((claim[0].epoch, bodies(&claim)), (1, vec![(0, "b".to_owned())]));
    bench.accept(&claim[0]);
    assert_eq!(bodies(&bench.send()), [(1, "c".to_owned())]);
}

#[test]
fn a_request_that_was_lost_before_its_epoch_was_closed_is_unknown() {
    let (mut bench, sent) = Bench::sending(claiming(), &["a"]);
    bench.lose(&sent[0]);
    bench.pass(Duration::from_secs(1));
    let again = bench.send();
    bench.respond(&again[0], stale(0));
    let failure = FailureReason::StaleEpoch { current_epoch: 0 };
    assert_eq!(bench.failed(), Some((failure, vec![unknown("a")])));
}

#[test]
fn a_server_that_closes_every_epoch_at_once_is_given_up() {
    let mut bench = Bench::new(claiming());
    let mut sent = bench.append_and_send(&["a"]);
    for epoch in 0..3 {
        bench.respond(&sent[0], stale(epoch));
        sent = bench.send();
        assert_eq!(sent[0].epoch, epoch + 1);
    }
    bench.respond(&sent[0], stale(3));
    let failure = FailureReason::StaleEpoch { current_epoch: 3 };
    assert_eq!(bench.failed(), Some((failure, vec![not_delivered("a")])));
}

#[test]
fn without_auto_claim_a_closed_epoch_is_a_failure() {
    let mut bench = Bench::new(config());
    let sent = bench.append_and_send(&["a"]);
    bench.respond(&sent[0], stale(0));
    let failure = FailureReason::StaleEpoch { current_epoch: 0 };
    assert_eq!(bench.failed(), Some((failure, vec![not_delivered("a")])));
}

#[test]
fn an_epoch_before_this_one_is_no_reason_to_claim() {
    let mut bench = Bench::new(ProducerConfig { epoch: 4, ..claiming() });
    let sent = bench.append_and_send(&["a"]);
    bench.respond(&sent[0], stale(3));
    let failure = FailureReason::StaleEpoch { current_epoch: 3 };
    assert_eq!(bench.failed(), Some((failure, vec![not_delivered("a")])));
}

#[test]
fn there_is_no_epoch_beyond_the_last() {
    let mut bench = Bench::new(claiming());
    let sent = bench.append_and_send(&["a"]);
    bench.respond(&sent[0], stale(MAX_NUMBER));
    assert!(matches!(
        bench.failed(),
        Some((
            FailureReason::StaleEpoch {
                current_epoch: MAX_NUMBER
            },
            _
        ))
    ));
}

/// Fences the machine after each batch that was stored; returns how many claims it made before it gave up.
fn fight(bench: &mut Bench, pause: Duration, batches: u32, rounds: u64) -> u64 {
    for round in 1..=rounds {
        for _ in 0..batches {
            let sent = bench.append_and_send(&["a"]);
            bench.accept(&sent[0]);
            bench.pass(pause);
        }
        let sent = bench.append_and_send(&["b"]);
        bench.respond(&sent[0], stale(round * 2));
        if bench.machine.failure().is_some() {
            return round - 1;
        }
        let claim = bench.send();
        bench.accept(&claim[0]);
        bench.events();
    }
    rounds
}

#[test]
fn a_quick_fight_ends() {
    let mut bench = Bench::new(claiming());
    assert_eq!(fight(&mut bench, Duration::from_millis(1), 100, 50), 3);
    assert_eq!(
        bench.failed(),
        Some((FailureReason::StaleEpoch { current_epoch: 8 }, vec![not_delivered("b")]))
    );
}

#[test]
fn a_slow_fight_ends() {
    let mut bench = Bench::new(claiming());
    assert_eq!(fight(&mut bench, Duration::from_secs(3_600), 1, 50), 3);
}

#[test]
fn an_id_that_was_used_for_a_while_may_be_claimed_again() {
    let mut bench = Bench::new(claiming());
    assert_eq!(fight(&mut bench, Duration::from_secs(2), 20, 50), 50);
}
