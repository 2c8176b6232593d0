//! How long a batch is sent again.

use super::*;

/// Loses each request for the batch until none is sent any more, at most 50 times. Returns how many were lost.
fn lose_all(bench: &mut Bench, mut sent: Vec<Transmit>) -> u32 {
    let mut lost = 0;
    while let Some(transmit) = sent.first() {
        bench.lose(transmit);
        lost += 1;
        match bench.machine.poll_timeout() {
            Some(until) if lost < 50 => bench.now = until,
            _ => break,
        }
        sent = bench.send();
    }
    lost
}

fn patient(delivery_timeout: Option<Duration>) -> ProducerConfig {
    ProducerConfig {
        patient: true,
        delivery_timeout,
        ..config()
    }
}

fn error(bench: &Bench) -> Error {
    match bench.machine.failure() {
        Some(ProducerFailure::Request(error)) => error.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_patient_producer_follows_the_policy_until_its_first_success() {
    let mut bench = Bench::new(patient(None));
    let sent = bench.append_and_send(&["a"]);
    assert_eq!(lose_all(&mut bench, sent), 3);
    let error = error(&bench);
    assert_eq!(
        (error.attempts(), error.elapsed()),
        (Some(3), Some(Duration::from_millis(300)))
    );
    assert_eq!(bench.outages(), []);
}

#[test]
fn a_patient_producer_retries_without_limit_of_number_after_its_first_success() {
    let (mut bench, sent) = Bench::sending(patient(None), &["a"]);
    assert_eq!(lose_all(&mut bench, sent), 50);
    let began = OutageEvent::Began {
        reason: "lost".to_owned(),
    };
    assert_eq!(bench.outages(), [began]);
    bench.now = bench.machine.poll_timeout().expect("a delay");
    let sent = bench.send();
    bench.accept(&sent[0]);
    let outages = bench.outages();
    assert!(
        matches!(outages[..], [OutageEvent::Ended { failed_tries: 50, .. }]),
        "{outages:?}"
    );
}

#[test]
fn failed_tries_that_are_followed_by_another_one_are_reported() {
    let (mut bench, sent) = Bench::sending(patient(None), &["a"]);
    assert_eq!(sent[0].attempt, 1);
    bench.lose(&sent[0]);
    bench.now = bench.machine.poll_timeout().expect("a delay");
    let sent = bench.send();
    assert_eq!(sent[0].attempt, 2);
    bench.lose(&sent[0]);
    let retries = std::iter::from_fn(|| bench.machine.poll_event()).filter_map(|event| match event {
        ProducerEvent::Retry(failed) => Some((failed.attempt, failed.delay.as_millis(), failed.reason)),
        _ => None,
    });
    let lost = || "lost".to_owned();
    assert_eq!(retries.collect::<Vec<_>>(), [(1, 100, lost()), (2, 200, lost())]);
}

#[test]
fn what_was_sent_of_undelivered_batches_is_known() {
    let (mut bench, sent) = Bench::sending(config(), &["a", "b"]);
    let began = bench.now;
    bench.append(&["c"]);
    bench.respond(&sent[0], status(404));
    bench.respond(&sent[1], status(404));
    let undelivered = std::iter::from_fn(|| bench.machine.poll_event()).find_map(|event| match event {
        ProducerEvent::Failed { undelivered, .. } => Some(undelivered),
        _ => None,
    });
    let undelivered = undelivered.expect("it has failed");
    assert_eq!(undelivered.len(), 3);
    let sent = undelivered
        .sent()
        .map(|batch| (batch.count, batch.bytes, batch.seq, batch.attempts, batch.first_try));
    let first_seq = 1;
    let expected = [(1, 1, first_seq, 1, Some(began)), (1, 1, first_seq + 1, 1, Some(began))];
    assert_eq!(sent.collect::<Vec<_>>(), expected);
}

#[test]
fn a_batch_is_sent_again_until_the_delivery_timeout_and_a_last_time_when_it_passes() {
    let timeout = Duration::from_secs(120);
    let (mut bench, sent) = Bench::sending(patient(Some(timeout)), &["a"]);
    let lost = lose_all(&mut bench, sent);
    assert!((20..40).contains(&lost), "{lost}");
    let error = error(&bench);
    assert_eq!((error.attempts(), error.elapsed()), (Some(lost), Some(timeout)));
}

#[test]
fn the_delivery_timeout_also_ends_retries_by_an_explicit_policy() {
    let config = ProducerConfig {
        delivery_timeout: Some(Duration::from_millis(150)),
        ..config()
    };
    let (mut bench, sent) = Bench::sending(config, &["a"]);
    assert_eq!(lose_all(&mut bench, sent), 3);
    assert_eq!(error(&bench).elapsed(), Some(Duration::from_millis(150)));
}

#[test]
fn the_delivery_timeout_counts_from_the_first_try_in_any_epoch() {
    let config = ProducerConfig {
        auto_claim: true,
        ..patient(Some(Duration::from_secs(10)))
    };
    let (mut bench, sent) = Bench::sending(config, &["a"]);
    bench.pass(Duration::from_secs(9));
    bench.respond(&sent[0], stale(4));
    let sent = bench.send();
    assert_eq!(sent[0].epoch, 5);
    bench.pass(Duration::from_secs(1));
    bench.lose(&sent[0]);
    assert!(bench.failure().is_some());
}

#[test]
fn a_patient_producer_waits_for_a_long_retry_after() {
    let (mut bench, sent) = Bench::sending(patient(Some(Duration::from_secs(120))), &["a"]);
    let response = SimulatedResponse {
        retry_after: Some(Duration::from_secs(90)),
        ..status(429)
    };
    bench.respond(&sent[0], response);
    assert_eq!(bench.timer(), Some(Duration::from_secs(90)));
}
