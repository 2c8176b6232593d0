//! A program that is run again, under the id and the epoch that an earlier run used.

use super::*;

/// A machine that has just sent its first batch, with one more waiting.
fn fresh(auto_claim: bool) -> (Bench, Vec<Transmit>) {
    let mut bench = Bench::new(ProducerConfig { auto_claim, ..config() });
    let sent = bench.append_and_send(&["a", "b"]);
    assert_eq!(bodies(&sent), [(0, "a".to_owned())]);
    (bench, sent)
}

fn assumed(events: &[ProducerEvent]) -> Vec<u64> {
    let assumed = events.iter().filter_map(|event| match event {
        ProducerEvent::Assumed { first, .. } => Some(*first),
        _ => None,
    });
    assumed.collect()
}

#[test]
fn nothing_is_sent_before_the_tail_is_known() {
    let mut bench = Bench::new(ProducerConfig {
        linger: Duration::from_millis(5),
        ..config()
    });
    assert!(
        bench.machine.poll_lookup(bench.now).is_none(),
        "there is nothing to send"
    );
    bench.append(&["a"]);
    assert!(matches!(
        bench.machine.poll_lookup(bench.now),
        Some(Lookup::Tail { once: false })
    ));
    assert!(bench.machine.poll_lookup(bench.now).is_none(), "it is requested once");
    assert!(bench.machine.poll_transmit(bench.now).is_none());
    bench.pass(Duration::from_secs(1));
    assert!(bench.machine.poll_transmit(bench.now).is_none());
    assert_eq!(bench.timer(), None);
    bench.machine.handle_tail(None);
    assert_eq!(bodies(&bench.send()), [(0, "a".to_owned())]);
}

#[test]
fn a_tail_that_could_not_be_had_is_asked_for_before_each_try_until_one_may_have_been_stored() {
    let mut bench = Bench::new(config());
    bench.append(&["a"]);
    bench.machine.poll_lookup(bench.now);
    bench.machine.handle_tail(None);
    let first = bench.machine.poll_transmit(bench.now).expect("a request");
    bench.machine.handle_failure(bench.now, first.id, not_sent());
    assert!(
        bench.machine.poll_lookup(bench.now).is_none(),
        "not before the next try"
    );
    assert_eq!(bench.timer(), Some(Duration::from_millis(100)));
    bench.pass(Duration::from_millis(100));
    assert!(bench.machine.poll_transmit(bench.now).is_none());
    assert!(matches!(
        bench.machine.poll_lookup(bench.now),
        Some(Lookup::Tail { once: true })
    ));
    bench.machine.handle_tail(None);
    let second = bench.machine.poll_transmit(bench.now).expect("a request");
    bench.lose(&second);
    bench.pass(Duration::from_secs(1));
    assert!(
        bench.machine.poll_lookup(bench.now).is_none(),
        "it would not be the tail before the batch"
    );
    assert!(bench.machine.poll_transmit(bench.now).is_some());
}

#[test]
fn the_tail_is_not_asked_for_if_the_owner_gave_the_first_number() {
    let mut bench = Bench::new(ProducerConfig {
        next_seq: Some(0),
        ..config()
    });
    bench.append(&["a"]);
    assert!(bench.machine.poll_lookup(bench.now).is_none());
    assert!(bench.machine.poll_transmit(bench.now).is_some());
}

#[test]
fn a_first_number_that_the_owner_gave_makes_a_duplicate_a_success() {
    let mut bench = Bench::new(ProducerConfig {
        next_seq: Some(0),
        ..config()
    });
    let sent = bench.append_and_send(&["a"]);
    bench.respond(&sent[0], ok(204, 9));
    assert_eq!(bench.delivered(), [(0, 1, 0)]);
}

#[test]
fn a_number_beyond_what_was_sent_is_an_earlier_runs() {
    let (mut bench, sent) = fresh(true);
    bench.respond(&sent[0], ok(204, 9));
    let claim = bench.send();
    assert_eq!((claim[0].epoch, bodies(&claim)), (1, vec![(0, "a".to_owned())]));
    assert!(matches!(
        bench.events()[..],
        [ProducerEvent::Claimed { from: 0, to: 1 }]
    ));
    bench.accept(&claim[0]);
    assert_eq!(bodies(&bench.send()), [(1, "b".to_owned())]);
    assert_eq!(bench.delivered(), [(0, 1, 0)]);
}

#[test]
fn a_batch_that_is_not_found_was_an_earlier_runs() {
    let (mut bench, sent) = fresh(true);
    bench.respond(&sent[0], duplicate());
    assert!(
        bench.machine.poll_transmit(bench.now).is_none(),
        "it is not known whose epoch it is"
    );
    assert_eq!(bench.finish_search(SearchResult::No), "tail");
    let claim = bench.send();
    assert_eq!((claim[0].epoch, bodies(&claim)), (1, vec![(0, "a".to_owned())]));
}

#[test]
fn without_auto_claim_an_epoch_that_was_used_before_is_a_failure_and_nothing_is_delivered() {
    for beyond in [false, true] {
        let (mut bench, sent) = fresh(false);
        match beyond {
            true => bench.respond(&sent[0], ok(204, 9)),
            false => {
                bench.respond(&sent[0], ok(204, 0));
                bench.finish_search(SearchResult::No);
            }
        }
        let failure = FailureReason::EpochReused { epoch: 0 };
        assert_eq!(
            bench.failed(),
            Some((failure, vec![not_delivered("a"), not_delivered("b")]))
        );
    }
}

#[test]
fn a_request_that_a_proxy_doubled_is_found() {
    let (mut bench, sent) = fresh(true);
    bench.respond(&sent[0], ok(204, 0));
    bench.finish_search(SearchResult::Yes);
    assert_eq!(bodies(&bench.send()), [(1, "b".to_owned())]);
    assert_eq!((bench.machine.epoch(), bench.delivered()), (0, vec![(0, 1, 0)]));
}

#[test]
fn a_batch_that_cannot_be_looked_up_is_taken_for_delivered_and_reported_so() {
    let (mut bench, sent) = fresh(true);
    bench.respond(&sent[0], ok(204, 0));
    bench.finish_search(SearchResult::Unknown);
    let events = bench.events();
    assert_eq!(assumed(&events), [0]);
    assert!(matches!(events[..], [_, ProducerEvent::Delivered(_)]), "{events:?}");
    let second = bench.send();
    bench.accept(&second[0]);
    assert!(assumed(&bench.events()).is_empty());
}

#[test]
fn after_one_that_could_not_be_looked_up_the_next_is() {
    let (mut bench, sent) = fresh(true);
    bench.append(&["c"]);
    bench.respond(&sent[0], ok(204, 0));
    bench.finish_search(SearchResult::Unknown);
    let second = bench.send();
    assert_eq!(bodies(&second), [(1, "b".to_owned())]);
    bench.respond(&second[0], duplicate());
    bench.finish_search(SearchResult::No);
    assert_eq!(bodies(&bench.send()), [(0, "b".to_owned())]);
    assert_eq!(bench.machine.epoch(), 1);
}

#[test]
fn a_batch_that_was_sent_once_and_found_may_be_anothers_and_so_may_the_epoch() {
    for auto_claim in [false, true] {
        let (mut bench, sent) = fresh(auto_claim);
        bench.respond(&sent[0], ok(204, 0));
        bench.finish_search(SearchResult::Yes);
        bench.append(&["c"]);
        assert_eq!(assumed(&bench.events()), [0]);
        let second = bench.send();
        assert_eq!(bodies(&second), [(1, "b".to_owned())], "it travels alone");
        bench.respond(&second[0], ok(204, 1));
        assert_eq!(bench.finish_search(SearchResult::No), "tail");
        if auto_claim {
            assert_eq!(bodies(&bench.send()), [(0, "b".to_owned())]);
            assert_eq!(bench.machine.epoch(), 1);
        } else {
            let rest = vec![not_delivered("b"), not_delivered("c")];
            assert_eq!(bench.failed(), Some((FailureReason::EpochReused { epoch: 0 }, rest)));
        }
    }
}

#[test]
fn a_batch_that_was_sent_again_after_a_lost_response_and_is_found_is_certain() {
    let (mut bench, sent) = fresh(true);
    bench.lose(&sent[0]);
    bench.pass(Duration::from_secs(1));
    let again = bench.send();
    bench.respond(&again[0], ok(204, 0));
    bench.finish_search(SearchResult::Yes);
    assert!(matches!(bench.events()[..], [ProducerEvent::Delivered(_)]));
}

#[test]
fn a_later_batch_that_was_sent_once_and_is_a_duplicate_is_looked_up() {
    for found in [SearchResult::Yes, SearchResult::No, SearchResult::Unknown] {
        let (mut bench, sent) = Bench::sending(config(), &["a", "b"]);
        bench.accept(&sent[1]);
        bench.respond(&sent[0], ok(204, 1));
        assert!(bench.events().is_empty());
        assert_eq!(bench.finish_search(found), "after 0");
        if found == SearchResult::No {
            let failure = FailureReason::StaleEpoch { current_epoch: 0 };
            assert_eq!(bench.failed(), Some((failure, vec![unknown("a")])));
        } else {
            let events = bench.events();
            assert_eq!(assumed(&events), [1], "{events:?}");
            assert!(
                matches!(
                    events[..],
                    [_, ProducerEvent::Delivered(_), ProducerEvent::Delivered(_)]
                ),
                "{events:?}"
            );
        }
    }
}

#[test]
fn later_batches_that_cannot_be_looked_up_are_assumed_one_after_the_other() {
    let (mut bench, sent) = Bench::sending(config(), &["a", "a", "b"]);
    bench.append(&["c"]);
    for (transmit, seq) in sent.iter().zip(1..) {
        bench.respond(transmit, ok(204, seq));
    }
    bench.finish_search(SearchResult::Yes);
    let events = bench.events();
    assert_eq!(assumed(&events), [1, 2, 3], "{events:?}");
}

#[test]
fn after_a_batch_that_may_be_anothers_numbers_prove_nothing() {
    let (mut bench, sent) = Bench::sending(config(), &["a", "b", "c"]);
    bench.respond(&sent[0], ok(204, 1));
    bench.lose(&sent[1]);
    bench.accept(&sent[2]);
    bench.finish_search(SearchResult::Yes);
    bench.machine.abort(bench.now);
    assert_eq!(bench.failed(), Some((FailureReason::Aborted, vec![unknown("b")])));
}

#[test]
fn a_first_batch_that_is_equal_to_one_that_was_found_is_assumed_and_the_next_one_goes_out() {
    let mut bench = Bench::new(config());
    let sent = bench.append_and_send(&["a", "a", "b"]);
    bench.respond(&sent[0], ok(204, 0));
    bench.finish_search(SearchResult::Yes);
    let second = bench.send();
    bench.respond(&second[0], ok(204, 1));
    assert_eq!(bodies(&bench.send()), [(2, "b".to_owned())]);
    assert_eq!(assumed(&bench.events()), [0, 1]);
}

#[test]
fn a_later_batch_that_was_sent_again_after_a_lost_response_is_not_looked_up() {
    let (mut bench, sent) = Bench::sending(config(), &["a"]);
    bench.lose(&sent[0]);
    bench.pass(Duration::from_secs(1));
    let again = bench.send();
    bench.respond(&again[0], ok(204, 1));
    assert!(matches!(bench.events()[..], [ProducerEvent::Delivered(_)]));
}

#[test]
fn closing_the_stream_under_an_earlier_runs_epoch_closes_it_under_the_next() {
    let mut bench = Bench::new(claiming());
    bench.machine.close_stream(None).expect("an open producer");
    let sent = bench.send();
    bench.respond(&sent[0], ok(204, 0));
    bench.finish_search(SearchResult::No);
    let again = bench.send();
    assert_eq!((again[0].epoch, again[0].closes), (1, true));
    bench.respond(&again[0], ok(204, 0));
    bench.finish_search(SearchResult::Yes);
    assert!(matches!(bench.events().last(), Some(ProducerEvent::Closed)));
}

#[test]
fn a_lost_first_request_before_a_fence_is_looked_up_and_then_the_id_is_taken_back() {
    for found in [SearchResult::Yes, SearchResult::No, SearchResult::Unknown] {
        let (mut bench, sent) = fresh(true);
        bench.lose(&sent[0]);
        bench.pass(Duration::from_secs(1));
        let again = bench.send();
        bench.respond(&again[0], stale(5));
        bench.finish_search(found);
        let rest = bodies(&bench.send());
        match found {
            SearchResult::Yes => assert_eq!(rest, [(0, "b".to_owned())]),
            SearchResult::No => assert_eq!(rest, [(0, "a".to_owned())]),
            SearchResult::Unknown => {
                let failure = FailureReason::StaleEpoch { current_epoch: 5 };
                assert_eq!(bench.failed(), Some((failure, vec![unknown("a"), not_delivered("b")])));
            }
        }
    }
}

#[test]
fn giving_up_while_a_batch_is_looked_up_leaves_it_unknown() {
    let (mut bench, sent) = fresh(true);
    bench.respond(&sent[0], ok(204, 0));
    bench.machine.abort(bench.now);
    assert_eq!(
        bench.failed(),
        Some((FailureReason::Aborted, vec![unknown("a"), not_delivered("b")]))
    );
    bench.machine.handle_search_result(bench.now, SearchResult::Yes);
    assert!(bench.events().is_empty());
}

fn claiming() -> ProducerConfig {
    ProducerConfig {
        auto_claim: true,
        ..config()
    }
}
