//! Sequence gaps: batches that overtake others, and servers that lack a batch.

use super::*;

#[test]
fn a_batch_that_overtook_is_sent_again_when_those_before_it_are_in() {
    let (mut bench, sent) = Bench::sending(config(), &["a", "b", "c"]);
    bench.respond(&sent[1], gap(1, 2));
    bench.respond(&sent[2], gap(1, 3));
    assert!(bench.append_and_send(&["d"]).is_empty(), "it would only be refused too");
    bench.accept(&sent[0]);
    let again = bench.send();
    assert_eq!(bodies(&again), [(2, "b".to_owned())]);
    bench.accept(&again[0]);
    assert_eq!(bodies(&bench.send()), [(3, "c".to_owned()), (4, "d".to_owned())]);
}

#[test]
fn a_late_response_of_a_gap_is_no_true_gap() {
    let (mut bench, sent) = Bench::sending(config(), &["a", "b"]);
    bench.accept(&sent[0]);
    bench.respond(&sent[1], gap(1, 2));
    assert_eq!(bodies(&bench.send()), [(2, "b".to_owned())]);
}

#[test]
fn a_server_that_lacks_what_it_acknowledged_is_a_sequence_gap() {
    let (mut bench, sent) = Bench::sending(config(), &["a"]);
    bench.respond(&sent[0], gap(0, 1));
    let failure = FailureReason::SequenceGap {
        expected: Some(0),
        received: 1,
    };
    assert_eq!(bench.failed(), Some((failure, vec![not_delivered("a")])));
}

#[test]
fn a_wrong_first_number_is_a_sequence_gap() {
    let mut bench = Bench::new(ProducerConfig {
        next_seq: Some(7),
        ..config()
    });
    let sent = bench.append_and_send(&["a", "b"]);
    bench.respond(&sent[1], gap(3, 8));
    let failure = FailureReason::SequenceGap {
        expected: Some(3),
        received: 8,
    };
    assert_eq!(bench.failure(), Some(failure));
}

#[test]
fn a_gap_without_its_number_is_mended_once() {
    let (mut bench, sent) = Bench::sending(config(), &["a", "b"]);
    let vague = SimulatedResponse {
        received_seq: Some(2),
        ..status(409)
    };
    bench.respond(&sent[1], vague.clone());
    bench.accept(&sent[0]);
    let again = bench.send();
    bench.respond(&again[0], vague);
    assert!(matches!(
        bench.failed(),
        Some((
            FailureReason::SequenceGap {
                expected: None,
                received: 2
            },
            _
        ))
    ));
}
