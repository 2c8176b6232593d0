//! Many callers append through one handle to a simulated server, in virtual time. Each run has a seed.
//!
//! `APPEND_SIM_SEEDS=100000 cargo test -p durable-streams-protocol append` runs more seeds, `APPEND_SIM_SEED=7` only
//! that one. A run that fails prints its seed.

mod checks;
mod client;
mod run;
mod server;
mod steps;

use std::collections::BTreeMap;

use run::AppendRun;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs a seed and adds its events to `counts`.
fn run(seed: u64, counts: &mut BTreeMap<&'static str, u64>) {
    struct AppendSeedReport(u64);
    impl Drop for AppendSeedReport {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("append simulation failed: APPEND_SIM_SEED={}", self.0);
            }
        }
    }
    let _report = AppendSeedReport(seed);
    for (what, times) in AppendRun::new(seed).run() {
        *counts.entry(what).or_default() += times;
    }
}

#[test]
fn every_append_has_one_true_outcome() {
    let mut counts = BTreeMap::new();
    if let Some(seed) = number("APPEND_SIM_SEED") {
        return run(seed, &mut counts);
    }
    let seeds = number("APPEND_SIM_SEEDS").unwrap_or(4_000);
    for seed in 0..seeds {
        run(seed, &mut counts);
    }
    println!("{counts:#?}");
    // Without shared requests and failures the simulation would test nothing.
    if seeds >= 1_000 {
        for what in [
            "stored",
            "unknown",
            "rejected alone",
            "given up",
            "shared",
            "many",
            "abandoned",
            "abandoned a shared request",
            "request cancelled",
            "values failed",
            "next caller computed values",
            "nested",
            "new leader",
            "busy",
            "gathered",
            "duplicate",
            "producer forgotten",
            "abandoned and repeated",
            "unknown although numbered",
            "apart",
            "not sent in time",
            "stored and closed",
            "closed",
            "closed, and unknown",
            "close repeated",
            "closed by another writer",
            "seq of another writer",
            "created again",
            "late request stored",
            "late copy",
            "response of a gateway",
            "retry after",
            "waited as requested",
            "not begun",
        ] {
            let times = counts.get(what).copied().unwrap_or(0);
            assert!(times > seeds / 100, "too rare: {what} ({times})");
        }
    }
}
