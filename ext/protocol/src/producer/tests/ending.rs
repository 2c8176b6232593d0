//! flush, close, close_stream, abort.

use super::*;

#[test]
fn a_flush_sends_at_once_and_is_delivered_in_order() {
    let mut bench = Bench::established(config());
    bench.append(&["a", "b"]);
    bench.machine.flush().expect("running");
    let sent = bench.send();
    let later = bench.append_and_send(&["c"]);
    assert_eq!(later.len(), 1);
    bench.accept(&sent[1]);
    assert_eq!(bench.delivered(), []);
    bench.accept(&sent[0]);
    let tokens: Vec<u64> = bench.delivered().iter().map(|(first, ..)| *first).collect();
    assert_eq!(tokens, [1, 2]);
}

#[test]
fn a_flush_does_not_wait_for_the_linger() {
    let mut bench = Bench::new(ProducerConfig {
        linger: Duration::from_secs(60),
        max_batch_items: 9,
        ..config()
    });
    assert!(bench.append_and_send(&["a"]).is_empty());
    bench.machine.flush().expect("running");
    assert_eq!(bench.send().len(), 1);
}

#[test]
fn close_sends_what_is_left_and_accepts_nothing_more() {
    let mut bench = Bench::new(ProducerConfig {
        linger: Duration::from_secs(60),
        max_batch_items: 9,
        ..config()
    });
    bench.append(&["a"]);
    bench.machine.close().expect("running");
    assert_eq!(bench.machine.append(b"b"), Err(AppendError::Closed));
    let sent = bench.send();
    bench.machine.close().expect("closing twice is fine");
    bench.accept(&sent[0]);
    assert!(matches!(
        bench.events()[..],
        [ProducerEvent::Delivered(_), ProducerEvent::Closed]
    ));
    bench.machine.close().expect("closed already");
    assert!(bench.machine.close_stream(None).is_err());
    assert!(bench.events().is_empty());
}

#[test]
fn closing_the_stream_is_the_last_request_and_travels_alone() {
    let mut bench = Bench::established(ProducerConfig {
        body: BodyKind::Json,
        ..config()
    });
    bench.append(&["1"]);
    assert_eq!(bench.machine.close_stream(Some(b"[2]")), Ok(Some(2)));
    assert_eq!(bench.machine.close_stream(Some(b"3")), Err(AppendError::StreamClosing));
    assert_eq!(bench.machine.close_stream(Some(b"[2]")), Ok(None), "called already");
    assert_eq!(bench.machine.close_stream(None), Ok(None), "called already");
    let sent = bench.send();
    assert_eq!(bodies(&sent), [(1, "[1]".to_owned())]);
    bench.accept(&sent[0]);
    let close = bench.send();
    assert_eq!(bodies(&close), [(2, "[[2]]".to_owned())]);
    assert!(close[0].closes);
    bench.lose(&close[0]);
    bench.pass(Duration::from_secs(1));
    let again = bench.send();
    assert!(again[0].closes && again[0].seq == 2);
    bench.respond(
        &again[0],
        SimulatedResponse {
            stream_closed: true,
            ..ok(204, 2)
        },
    );
    let events = bench.events();
    let [
        ..,
        ProducerEvent::Delivered(last),
        ProducerEvent::StreamClosed { final_offset },
        ProducerEvent::Closed,
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((last.first, last.count), (2, 1));
    assert_eq!(final_offset.as_deref(), Some("after 2"));
}

#[test]
fn closing_the_stream_without_data_sends_no_body() {
    let mut bench = Bench::new(ProducerConfig {
        body: BodyKind::Json,
        ..config()
    });
    assert_eq!(bench.machine.close_stream(None), Ok(None));
    let sent = bench.send();
    assert!(sent[0].closes && sent[0].body.is_empty());
    bench.respond(
        &sent[0],
        SimulatedResponse {
            stream_closed: true,
            ..ok(204, 0)
        },
    );
    bench.finish_search(SearchResult::Yes);
    assert!(matches!(
        bench.events()[..],
        [
            ProducerEvent::Delivered(_),
            ProducerEvent::StreamClosed { .. },
            ProducerEvent::Closed
        ]
    ));
}

#[test]
fn closing_without_data_is_not_mistaken_for_anothers_claim() {
    let mut bench = Bench::new(ProducerConfig {
        auto_claim: true,
        ..config()
    });
    bench.machine.close_stream(None).expect("running");
    let sent = bench.send();
    bench.respond(&sent[0], stale(5));
    let claim = bench.send();
    bench.respond(
        &claim[0],
        SimulatedResponse {
            stream_closed: true,
            ..ok(204, 0)
        },
    );
    bench.finish_search(SearchResult::Yes);
    assert!(
        bench
            .events()
            .iter()
            .any(|event| matches!(event, ProducerEvent::Closed))
    );
}

#[test]
fn a_stream_that_somebody_else_closed_is_a_failure_even_with_nothing_to_add() {
    let closed = || SimulatedResponse {
        stream_closed: true,
        next_offset: Some("9".to_owned()),
        ..status(409)
    };
    let mut bench = Bench::new(config());
    bench.machine.close_stream(None).expect("running");
    let sent = bench.send();
    bench.respond(&sent[0], closed());
    assert_eq!(
        bench.failed(),
        Some((
            FailureReason::StreamClosed {
                final_offset: Some("9".to_owned())
            },
            vec![]
        ))
    );

    let mut bench = Bench::new(config());
    bench.machine.close_stream(Some(b"1")).expect("running");
    let sent = bench.send();
    bench.respond(&sent[0], closed());
    assert!(
        matches!(bench.failed(), Some((FailureReason::StreamClosed { .. }, undelivered)) if undelivered.len() == 1)
    );
}

#[test]
fn a_fence_after_everything_was_delivered_does_not_spoil_the_close() {
    let (mut bench, sent) = Bench::sending(config(), &["a", "b"]);
    bench.lose(&sent[0]);
    bench.accept(&sent[1]);
    bench.machine.close().expect("running");
    bench.pass(Duration::from_secs(1));
    let again = bench.send();
    bench.respond(&again[0], stale(5));
    assert!(matches!(
        bench.events()[..],
        [
            ProducerEvent::Delivered(_),
            ProducerEvent::Delivered(_),
            ProducerEvent::Closed
        ]
    ));
}

#[test]
fn giving_up_tells_what_is_known_at_once() {
    let (mut bench, sent) = Bench::sending(
        ProducerConfig {
            max_in_flight: 2,
            ..config()
        },
        &["a", "b", "c"],
    );
    bench.machine.flush().expect("running");
    bench.machine.abort(bench.now);
    assert_eq!(
        bench.failed(),
        Some((
            FailureReason::Aborted,
            vec![unknown("a"), unknown("b"), not_delivered("c")]
        ))
    );
    bench.accept(&sent[0]);
    bench.machine.abort(bench.now);
    assert!(bench.events().is_empty());
}

#[test]
fn messages_come_back_as_they_were_appended() {
    let mut bench = Bench::new(ProducerConfig {
        body: BodyKind::Json,
        max_batch_items: 9,
        ..config()
    });
    bench.append(&["[1, 2]", " {\"a\" : 3} ", "\"x\"", "4"]);
    bench.machine.abort(bench.now);
    let (_, undelivered) = bench.failed().expect("aborted");
    assert_eq!(
        undelivered,
        ["[1, 2]", " {\"a\" : 3} ", "\"x\"", "4"].map(not_delivered)
    );
}

#[test]
fn a_failure_wakes_callers_that_wait_for_room() {
    let mut bench = Bench::new(ProducerConfig {
        max_buffered_bytes: 1,
        ..config()
    });
    let sent = bench.append_and_send(&["a"]);
    assert_eq!(bench.machine.append(b"b"), Err(AppendError::Full));
    bench.respond(&sent[0], status(404));
    assert!(matches!(
        bench.events()[..],
        [ProducerEvent::Room, ProducerEvent::Failed { .. }]
    ));
}

#[test]
fn the_outcome_of_a_request_that_only_closes_the_stream_counts() {
    let any_unknown = |bench: &mut Bench| {
        bench.events().into_iter().find_map(|event| match event {
            ProducerEvent::Failed { undelivered, .. } => Some((undelivered.len(), undelivered.any_unknown())),
            _ => None,
        })
    };
    let closing = || {
        let mut bench = Bench::established(without_retries());
        bench.machine.close_stream(None).expect("running");
        let sent = bench.send();
        (bench, sent)
    };
    let (mut bench, sent) = closing();
    bench.lose(&sent[0]);
    assert_eq!(any_unknown(&mut bench), Some((0, true)));
    let (mut bench, sent) = closing();
    bench.respond(&sent[0], status(503));
    assert_eq!(any_unknown(&mut bench), Some((0, true)));
    let (mut bench, _) = closing();
    bench.machine.abort(bench.now);
    assert_eq!(any_unknown(&mut bench), Some((0, true)));
    let (mut bench, sent) = closing();
    bench.respond(&sent[0], status(404));
    assert_eq!(any_unknown(&mut bench), Some((0, false)));
}
