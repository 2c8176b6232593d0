//! When batches go out, what they are on the wire, and how much may wait.

use bytes::Bytes;

use super::*;

fn batching() -> ProducerConfig {
    ProducerConfig {
        max_batch_items: usize::MAX,
        linger: Duration::from_millis(5),
        ..config()
    }
}

#[test]
fn json_messages_become_one_array_and_an_array_remains_one_element() {
    let mut bench = Bench::new(ProducerConfig {
        body: BodyKind::Json,
        ..batching()
    });
    bench.append(&["1", "[2,3]", "{\"a\": [4]}"]);
    bench.machine.flush().expect("running");
    assert_eq!(bodies(&bench.send()), [(0, "[1,[2,3],{\"a\": [4]}]".to_owned())]);
}

#[test]
fn bytes_are_joined() {
    let mut bench = Bench::new(batching());
    bench.append(&["ab", "c", "def"]);
    bench.machine.flush().expect("running");
    assert_eq!(bodies(&bench.send()), [(0, "abcdef".to_owned())]);
}

#[test]
fn a_batch_goes_out_after_the_linger_of_its_first_message() {
    let mut bench = Bench::new(batching());
    assert!(bench.machine.append(b"a").expect("room").wake);
    assert!(bench.send().is_empty());
    assert_eq!(bench.timer(), Some(Duration::from_millis(5)));
    bench.pass(Duration::from_millis(3));
    assert!(
        !bench.machine.append(b"b").expect("room").wake,
        "the timer is set once for a batch"
    );
    assert!(bench.send().is_empty());
    assert_eq!(bench.timer(), Some(Duration::from_millis(5)));
    bench.pass(Duration::from_millis(2));
    assert_eq!(bodies(&bench.send()), [(0, "ab".to_owned())]);
    assert_eq!(bench.timer(), None);
}

#[test]
fn a_batch_goes_out_when_it_is_full() {
    // A first number above 0 says that the epoch is established.
    let mut bench = Bench::new(ProducerConfig {
        max_batch_bytes: 6,
        next_seq: Some(7),
        ..batching()
    });
    let sent = bench.append_and_send(&["aaa", "bbb", "cccc", "ddd", "a large message", "e"]);
    let expected = ["aaabbb", "cccc", "ddd", "a large message"];
    assert_eq!(
        sent.iter().map(|t| &t.body[..]).collect::<Vec<_>>(),
        expected.map(str::as_bytes)
    );
}

#[test]
fn a_json_batch_counts_its_brackets_and_commas() {
    let mut bench = Bench::new(ProducerConfig {
        body: BodyKind::Json,
        max_batch_bytes: 7,
        ..batching()
    });
    bench.append(&["11", "22", "33"]);
    assert_eq!(bodies(&bench.send()), [(0, "[11,22]".to_owned())]);
}

#[test]
fn what_has_no_room_to_go_grows() {
    let mut bench = Bench::new(ProducerConfig {
        max_in_flight: 1,
        max_batch_items: 3,
        linger: Duration::ZERO,
        ..batching()
    });
    let first = bench.append_and_send(&["a"]);
    assert_eq!(bodies(&first), [(0, "a".to_owned())]);
    assert!(bench.append_and_send(&["b"]).is_empty());
    bench.pass(Duration::from_secs(1));
    assert!(bench.append_and_send(&["c"]).is_empty());
    bench.accept(&first[0]);
    assert_eq!(bodies(&bench.send()), [(1, "bc".to_owned())]);
}

#[test]
fn up_to_max_in_flight_are_out() {
    let (mut bench, sent) = Bench::sending(
        ProducerConfig {
            max_in_flight: 3,
            ..config()
        },
        &["a", "b", "c", "d", "e"],
    );
    assert_eq!(sent.len(), 3);
    bench.accept(&sent[1]);
    assert_eq!(bodies(&bench.send()), [(4, "d".to_owned())]);
}

#[test]
fn a_full_buffer_takes_nothing_until_there_is_room() {
    let (mut bench, sent) = Bench::sending(
        ProducerConfig {
            max_buffered_bytes: 5,
            ..config()
        },
        &["aaa", "bb"],
    );
    assert_eq!(bench.machine.append(b"c"), Err(AppendError::Full));
    assert_eq!((bench.machine.buffered(), bench.machine.pending()), (5, 2));
    bench.accept(&sent[1]);
    assert!(bench.events().iter().any(|event| matches!(event, ProducerEvent::Room)));
    assert_eq!(bench.machine.append(b"cccc"), Err(AppendError::Full));
    assert!(bench.machine.append(b"cc").is_ok());
}

#[test]
fn what_is_shared_is_sent_from_where_it_is_in_its_place() {
    // A first number above 0 says that the epoch is established.
    let mut bench = Bench::new(ProducerConfig {
        next_seq: Some(7),
        ..batching()
    });
    bench.append(&["a", "b"]);
    let message = Bytes::from(vec![b'c'; 3]);
    let appended = bench.machine.append_shared(message.clone()).expect("room");
    assert_eq!((appended.token, appended.wake), (2, true));
    bench.append(&["d"]);
    let sent = bench.send();
    let expected = [(7, "ab".to_owned()), (8, "ccc".to_owned())];
    assert_eq!(bodies(&sent), expected, "what was not full goes before it");
    assert_eq!(sent[1].body.as_ptr(), message.as_ptr());
    assert_eq!((bench.machine.buffered(), bench.machine.pending()), (6, 4));
    sent.iter().for_each(|transmit| bench.accept(transmit));
    assert_eq!(bench.delivered(), [(0, 2, 7), (2, 1, 8)]);
    drop(sent);
    assert!(message.is_unique(), "acknowledged messages are released");
}

#[test]
fn what_is_shared_waits_for_room_and_is_given_back_as_all_else() {
    let (mut bench, sent) = Bench::sending(
        ProducerConfig {
            max_buffered_bytes: 5,
            ..without_retries()
        },
        &["aaa"],
    );
    let message = Bytes::from_static(b"bbb");
    assert_eq!(bench.machine.append_shared(message.clone()), Err(AppendError::Full));
    assert_eq!(bench.machine.append_shared(Bytes::new()), Err(AppendError::Empty));
    bench.accept(&sent[0]);
    assert!(bench.machine.append_shared(message).is_ok());
    let sent = bench.send();
    bench.respond(&sent[0], status(400));
    let (_, undelivered) = bench.failed().expect("a failure");
    assert_eq!(undelivered, [not_delivered("bbb")]);
}

#[test]
fn json_that_is_shared_gets_its_brackets() {
    let mut bench = Bench::new(ProducerConfig {
        body: BodyKind::Json,
        ..batching()
    });
    let message = Bytes::from_static(b"[1]");
    bench.machine.append_shared(message).expect("room");
    assert_eq!(bodies(&bench.send()), [(0, "[[1]]".to_owned())]);
}

#[test]
fn a_message_larger_than_the_buffer_is_taken_alone() {
    let mut bench = Bench::new(ProducerConfig {
        max_buffered_bytes: 5,
        ..config()
    });
    assert!(bench.machine.append(b"larger than five").is_ok());
    assert_eq!(bench.machine.append(b"c"), Err(AppendError::Full));
}

#[test]
fn a_full_buffer_does_not_wait_for_the_linger() {
    let mut bench = Bench::new(ProducerConfig {
        max_buffered_bytes: 5,
        linger: Duration::from_secs(60),
        ..batching()
    });
    bench.append(&["aaaa"]);
    assert_eq!(bench.machine.append(b"bb"), Err(AppendError::Full));
    assert_eq!(bodies(&bench.send()), [(0, "aaaa".to_owned())]);
}

#[test]
fn messages_without_bytes_are_refused() {
    assert_eq!(Bench::new(config()).machine.append(b""), Err(AppendError::Empty));
}

#[test]
fn an_endless_linger_is_no_overflow() {
    let mut bench = Bench::new(ProducerConfig {
        linger: Duration::MAX,
        ..batching()
    });
    bench.append(&["a"]);
    assert!(bench.send().is_empty());
    assert!(bench.timer().is_some());
}

#[test]
fn impossible_settings_are_named() {
    let broken = [
        ProducerConfig {
            epoch: MAX_NUMBER + 1,
            ..config()
        },
        ProducerConfig {
            next_seq: Some(MAX_NUMBER + 1),
            ..config()
        },
        ProducerConfig {
            max_batch_bytes: 0,
            ..config()
        },
        ProducerConfig {
            max_batch_items: 0,
            ..config()
        },
        ProducerConfig {
            max_in_flight: 0,
            ..config()
        },
        ProducerConfig {
            max_buffered_bytes: 0,
            ..config()
        },
    ];
    let named = broken.map(|config| {
        ProducerMachine::new(config, Jitter::new(|| 0.0))
            .map(|_| ())
            .unwrap_err()
            .setting
    });
    let expected = [
        "epoch",
        "next_seq",
        "max_batch_bytes",
        "max_batch_items",
        "max_in_flight",
        "max_buffered_bytes",
    ];
    assert_eq!(named, expected);
}

fn accept_without_body(bench: &mut Bench, mut transmit: Transmit) {
    transmit.body = Bytes::new();
    bench.accept(&transmit);
}

#[test]
fn the_memory_of_an_acknowledged_batch_is_used_again_while_there_is_more_to_send() {
    for next_seq in [None, Some(0)] {
        let full = "x".repeat(1000);
        let config = ProducerConfig {
            max_batch_bytes: full.len(),
            next_seq,
            ..batching()
        };
        let mut bench = Bench::new(config);
        let sent = bench.append_and_send(&[&full]);
        bench.accept(&sent[0]);
        let sent = bench.append_and_send(&[&full, &full]);
        let [first, second]: [Transmit; 2] = sent.try_into().expect("two batches");
        let memory = first.body.as_ptr();
        accept_without_body(&mut bench, first);
        let third = bench.append_and_send(&[&full]);
        assert_eq!(third[0].body.as_ptr(), memory);
        // The body of this request is still in use.
        bench.accept(&second);
        let fourth = bench.append_and_send(&[&full]);
        assert_ne!(fourth[0].body.as_ptr(), second.body.as_ptr());
        for transmit in third.into_iter().chain(fourth) {
            accept_without_body(&mut bench, transmit);
        }
        assert_eq!((bench.machine.pending(), bench.machine.spare.capacity()), (0, 0));
    }
}
