//! Numbers, retries and refusals within one epoch.

use super::*;

#[test]
fn the_first_request_of_an_epoch_travels_alone() {
    let mut bench = Bench::new(config());
    let first = bench.append_and_send(&["a", "b", "c"]);
    assert_eq!(bodies(&first), [(0, "a".to_owned())]);
    bench.accept(&first[0]);
    assert_eq!(bodies(&bench.send()), [(1, "b".to_owned()), (2, "c".to_owned())]);
}

#[test]
fn a_first_number_above_zero_is_not_the_first_request_of_its_epoch() {
    let mut bench = Bench::new(ProducerConfig {
        epoch: 4,
        next_seq: Some(7),
        ..config()
    });
    assert_eq!((bench.machine.epoch(), bench.machine.seq()), (4, 6));
    let sent = bench.append_and_send(&["a", "b"]);
    assert_eq!(
        sent.iter().map(|t| (t.epoch, t.seq)).collect::<Vec<_>>(),
        [(4, 7), (4, 8)]
    );
    assert_eq!(bench.machine.seq(), 8);
}

#[test]
fn a_new_producer_has_used_no_number() {
    assert_eq!(Bench::new(config()).machine.seq(), -1);
}

#[test]
fn deliveries_are_reported_in_append_order() {
    let (mut bench, sent) = Bench::sending(config(), &["a", "b", "c"]);
    bench.accept(&sent[2]);
    bench.accept(&sent[1]);
    assert_eq!(bench.delivered(), []);
    assert_eq!(bench.machine.pending(), 1);
    bench.accept(&sent[0]);
    assert_eq!(bench.delivered(), [(1, 1, 1), (2, 1, 2), (3, 1, 3)]);
}

#[test]
fn a_lost_response_repeats_the_same_request_after_a_delay() {
    let mut bench = Bench::new(ProducerConfig {
        next_seq: Some(0),
        ..config()
    });
    let first = bench.append_and_send(&["a"]);
    bench.lose(&first[0]);
    assert!(bench.send().is_empty());
    assert_eq!(bench.timer(), Some(Duration::from_millis(100)));
    bench.pass(Duration::from_millis(100));
    let again = bench.send();
    assert_eq!((again[0].epoch, again[0].seq, &again[0].body), (0, 0, &first[0].body));
    assert_eq!(again[0].body.as_ptr(), first[0].body.as_ptr(), "no copy is made");
    bench.respond(&again[0], ok(204, 0));
    let Some(ProducerEvent::Delivered(delivery)) = bench.events().into_iter().next() else {
        panic!("no delivery")
    };
    assert!(delivery.duplicate);
    assert_eq!(
        (delivery.next_offset.as_deref(), delivery.attempts),
        (Some("after 0"), 2)
    );
}

#[test]
fn a_duplicate_whose_offset_the_server_has_forgotten_is_a_delivery_without_offset() {
    let (mut bench, sent) = Bench::sending(config(), &["a", "b"]);
    sent.iter().for_each(|transmit| bench.lose(transmit));
    bench.pass(Duration::from_secs(1));
    let again = bench.send();
    let forgotten = SimulatedResponse {
        next_offset: None,
        // The last number of the epoch, not of the batch.
        ..ok(204, 2)
    };
    bench.respond(&again[0], forgotten);
    let Some(ProducerEvent::Delivered(delivery)) = bench.events().into_iter().next() else {
        panic!("no delivery")
    };
    assert_eq!(
        (delivery.seq, delivery.duplicate, delivery.next_offset),
        (1, true, None)
    );
    assert_eq!(bodies(&bench.send()), [(2, "b".to_owned())]);
}

#[test]
fn a_success_without_offset_and_epoch_is_no_delivery() {
    let (mut bench, sent) = Bench::sending(config(), &["a"]);
    bench.respond(&sent[0], status(200));
    assert_eq!(bench.failed(), Some((FailureReason::Rejected(200), vec![unknown("a")])));
}

#[test]
fn the_pause_that_the_server_requests_is_waited_for() {
    let mut bench = Bench::new(config());
    let first = bench.append_and_send(&["a"]);
    bench.respond(
        &first[0],
        SimulatedResponse {
            retry_after: Some(Duration::from_secs(2)),
            ..status(429)
        },
    );
    assert_eq!(bench.timer(), Some(Duration::from_secs(2)));
}

#[test]
fn after_a_failure_only_the_oldest_batch_is_tried() {
    let (mut bench, sent) = Bench::sending(config(), &["a", "b"]);
    bench.append(&["c"]);
    sent.iter().for_each(|transmit| bench.lose(transmit));
    bench.pass(Duration::from_secs(1));
    let again = bench.send();
    assert_eq!(bodies(&again), [(1, "a".to_owned())]);
    bench.accept(&again[0]);
    assert_eq!(bodies(&bench.send()), [(2, "b".to_owned()), (3, "c".to_owned())]);
}

#[test]
fn nothing_new_is_sent_beside_a_batch_that_failed() {
    let (mut bench, sent) = Bench::sending(config(), &["a"]);
    bench.lose(&sent[0]);
    bench.pass(Duration::from_secs(1));
    let again = bench.append_and_send(&["b"]);
    assert_eq!(bodies(&again), [(1, "a".to_owned())]);
    assert_eq!(bench.timer(), None, "there is nothing to wake up for");
    bench.accept(&again[0]);
    assert_eq!(bodies(&bench.send()), [(2, "b".to_owned())]);
}

#[test]
fn progress_starts_the_count_of_retries_anew() {
    let (mut bench, sent) = Bench::sending(config(), &["a", "b"]);
    sent.iter().for_each(|transmit| bench.lose(transmit));
    bench.pass(Duration::from_secs(1));
    let again = bench.send();
    bench.accept(&again[0]);
    for _ in 0..2 {
        let again = bench.send();
        bench.lose(&again[0]);
        bench.pass(Duration::from_secs(1));
    }
    let again = bench.send();
    assert_eq!(bodies(&again), [(2, "b".to_owned())]);
    bench.lose(&again[0]);
    assert!(bench.failed().is_some());
}

#[test]
fn being_refused_for_now_leaves_nothing_unknown() {
    let (mut bench, sent) = Bench::sending(without_retries(), &["a"]);
    bench.respond(&sent[0], status(429));
    assert_eq!(
        bench.failed(),
        Some((FailureReason::Rejected(429), vec![not_delivered("a")]))
    );
}

#[test]
fn an_old_batch_without_a_response_bounds_how_many_are_stored_behind_it() {
    let mut bench = Bench::established(config());
    bench.append_and_send(&["the old one"]);
    let mut behind = 0;
    for _ in 0..3_000 {
        for transmit in bench.append_and_send(&["a"]) {
            bench.accept(&transmit);
            behind += 1;
        }
    }
    assert_eq!(behind, 1023);
}

#[test]
fn out_of_retries_is_a_failure_and_the_outcome_is_unknown() {
    let mut bench = Bench::established(config());
    let mut sent = bench.append_and_send(&["a"]);
    for _ in 0..3 {
        sent.iter().for_each(|transmit| bench.lose(transmit));
        bench.pass(Duration::from_secs(1));
        sent = bench.append_and_send(&[]);
    }
    assert_eq!(
        bench.failed(),
        Some((FailureReason::NoResponse("lost".to_owned()), vec![unknown("a")]))
    );
}

#[test]
fn a_server_that_cannot_be_reached_leaves_nothing_unknown() {
    let (mut bench, sent) = Bench::sending(without_retries(), &["a", "b"]);
    bench.machine.handle_failure(bench.now, sent[0].id, not_sent());
    let (_, undelivered) = bench
        .failed()
        .expect("reported at once: what follows a batch that is not stored is not stored either");
    assert_eq!(undelivered, [not_delivered("a"), not_delivered("b")]);
}

#[test]
fn refusals_are_distinguished() {
    let closed = SimulatedResponse {
        stream_closed: true,
        next_offset: Some("end".to_owned()),
        ..status(409)
    };
    let cases = [
        (
            closed,
            FailureReason::StreamClosed {
                final_offset: Some("end".to_owned()),
            },
        ),
        (status(409), FailureReason::ContentTypeMismatch),
        (status(400), FailureReason::Rejected(400)),
        (status(401), FailureReason::Rejected(401)),
        (status(403), FailureReason::Rejected(403)),
        (status(404), FailureReason::Rejected(404)),
        (status(410), FailureReason::Rejected(410)),
        (status(413), FailureReason::Rejected(413)),
        (stale(3), FailureReason::StaleEpoch { current_epoch: 3 }),
    ];
    for (response, failure) in cases {
        let (mut bench, sent) = Bench::sending(config(), &["a", "b"]);
        bench.append(&["c"]);
        bench.respond(&sent[0], response);
        let rest = ["a", "b", "c"].map(not_delivered).to_vec();
        assert_eq!(bench.failed(), Some((failure, rest)));
        assert_eq!(bench.machine.append(b"d"), Err(AppendError::Failed));
        assert!(bench.machine.flush().is_err());
        assert!(bench.send().is_empty());
    }
}

#[test]
fn a_failure_waits_only_for_the_responses_that_decide() {
    let (mut bench, sent) = Bench::sending(config(), &["a", "b", "c"]);
    bench.respond(&sent[1], status(413));
    assert_eq!(bench.failure(), Some(FailureReason::Rejected(413)));
    assert!(bench.events().is_empty(), "the first may have landed");
    bench.accept(&sent[0]);
    let (_, undelivered) = bench.failed().expect("all is known");
    assert_eq!(undelivered, [not_delivered("b"), not_delivered("c")]);
}

#[test]
fn a_higher_number_that_was_accepted_proves_a_lost_response() {
    let (mut bench, sent) = Bench::sending(config(), &["a", "b", "c"]);
    bench.lose(&sent[0]);
    bench.accept(&sent[1]);
    bench.respond(&sent[2], status(404));
    let events = bench.events();
    assert!(
        matches!(&events[..], [ProducerEvent::Delivered(a), ProducerEvent::Delivered(b), ProducerEvent::Failed { .. }]
        if a.seq == 1 && a.duplicate && a.next_offset.is_none() && b.seq == 2)
    );
}

#[test]
fn a_gateway_error_may_hide_a_success() {
    let (mut bench, sent) = Bench::sending(without_retries(), &["a"]);
    bench.respond(&sent[0], status(502));
    assert_eq!(bench.failed(), Some((FailureReason::Rejected(502), vec![unknown("a")])));
}

#[test]
fn headers_that_cannot_be_made_fail_the_producer() {
    let (mut bench, sent) = Bench::sending(config(), &["a"]);
    bench.machine.handle_failure(bench.now, sent[0].id, no_headers());
    assert_eq!(
        bench.failed(),
        Some((
            FailureReason::NoResponse("no headers".to_owned()),
            vec![not_delivered("a")]
        ))
    );
}

#[test]
fn numbers_end_at_two_to_the_53() {
    let mut bench = Bench::new(ProducerConfig {
        next_seq: Some(MAX_NUMBER),
        ..config()
    });
    let sent = bench.append_and_send(&["a"]);
    assert_eq!(sent[0].seq, MAX_NUMBER);
    bench.accept(&sent[0]);
    assert!(bench.append_and_send(&["b"]).is_empty());
    assert_eq!(
        bench.failed(),
        Some((FailureReason::NumbersExhausted, vec![not_delivered("b")]))
    );
}

#[test]
fn a_response_to_a_request_that_is_over_is_ignored() {
    let mut bench = Bench::new(config());
    let first = bench.append_and_send(&["a"]);
    bench.lose(&first[0]);
    bench.accept(&first[0]);
    assert_eq!(bench.machine.pending(), 1);
}

#[test]
fn a_success_that_says_nothing_of_the_stream_or_the_producer_is_no_acknowledgement() {
    for code in [200, 204] {
        let (mut bench, sent) = Bench::sending(config(), &["a"]);
        bench.respond(&sent[0], status(code));
        assert_eq!(
            bench.failed(),
            Some((FailureReason::Rejected(code), vec![unknown("a")]))
        );
    }
    for (code, is_found) in [(200, false), (204, true)] {
        let (mut bench, sent) = Bench::sending(config(), &["a"]);
        bench.lose(&sent[0]);
        bench.pass(Duration::from_secs(1));
        let again = bench.send();
        bench.respond(
            &again[0],
            SimulatedResponse {
                status: code,
                ..duplicate()
            },
        );
        let [ProducerEvent::Delivered(delivery)] = &bench.events()[..] else {
            panic!("not delivered")
        };
        assert_eq!((delivery.duplicate, &delivery.next_offset), (is_found, &None));
    }
}
