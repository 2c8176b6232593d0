//! Runs the producer against a simulated server over a simulated network, in virtual time, with many seeds.
//!
//! `PRODUCER_SIM_SEEDS=100000 cargo test -p durable-streams-protocol producer` runs more seeds, `PRODUCER_SIM_SEED=7`
//! only this one. A run that fails prints its seed.

mod client;
mod plan;
mod run;
mod server;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use run::{EndLabel, ProducerRun};

/// Seeds that once failed: a gap after a collision, a copy of a rejected request, responses reordered by a pause, a
/// request doubled after a claim, a second duplicate after one that could not be looked up, two such duplicates at the
/// same time, and a conclusion from sequence numbers in an epoch that two producers use.
const REGRESSIONS: &[u64] = &[8, 100, 1_712, 19_122, 31, 85, 10_942, 97_047];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn run(seed: u64) -> ProducerRun {
    struct ProducerSeedReport(u64);
    impl Drop for ProducerSeedReport {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("producer simulation failed: PRODUCER_SIM_SEED={}", self.0);
            }
        }
    }
    let _report = ProducerSeedReport(seed);
    let mut run = ProducerRun::new(seed);
    run.run();
    run
}

#[test]
fn stores_every_message_once_or_reports_it() {
    if let Some(seed) = number("PRODUCER_SIM_SEED") {
        run(seed);
        return;
    }
    // Without PRODUCER_SIM_SEEDS the time is limited too, because the machine may be busy.
    let seeds = number("PRODUCER_SIM_SEEDS");
    let until = Instant::now() + Duration::from_secs(8);
    let mut ends: BTreeMap<String, u64> = BTreeMap::new();
    let mut count = |ended: Vec<EndLabel>| ended.into_iter().for_each(|end| *ends.entry(end.0).or_default() += 1);
    let mut runs = 0;
    for seed in 0..seeds.unwrap_or(8_000) {
        if seeds.is_none() && Instant::now() > until {
            break;
        }
        count(run(seed).ends());
        runs += 1;
    }
    println!("{runs} runs: {ends:#?}");
    // The simulation proves something only if it has runs of every kind.
    if runs >= 1_000 {
        for end in [
            "closed",
            "stream closed",
            "StaleEpoch",
            "EpochReused",
            "assumed",
            "found",
            "twin closed",
            "twin StaleEpoch",
            "twin EpochReused",
            "StreamClosed",
            "SequenceGap",
            "gap after 403",
            "producer forgotten",
            "created again",
            "gateway",
            "Rejected",
            "NoResponse",
            "Aborted",
        ] {
            assert!(
                ends.get(end).is_some_and(|times| *times > 3),
                "too few runs ended with {end}: {ends:?}"
            );
        }
        assert!(ends.get("claimed").is_some_and(|times| *times > 30), "{ends:?}");
        assert!(ends.get("unknown").is_some_and(|times| *times > 3), "{ends:?}");
    }
}

#[test]
fn seeds_that_once_failed() {
    for seed in REGRESSIONS {
        run(*seed);
    }
}
