//! Many callers that append through one handle to a simulated server, in virtual time, many seeded runs.
//!
//! `APPEND_SIM_SEEDS=100000 cargo test -p durable-streams-protocol append` runs more of them, `APPEND_SIM_SEED=7` that one
//! alone. A run that fails prints its seed.

mod checks;
mod client;
mod run;
mod server;

use std::collections::BTreeMap;

use run::Run;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs a seed and counts what happened in it.
fn run(seed: u64, happened: &mut BTreeMap<&'static str, u64>) {
    struct Report(u64);
    impl Drop for Report {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("append simulation failed: APPEND_SIM_SEED={}", self.0);
            }
        }
    }
    let _report = Report(seed);
    for (what, times) in Run::new(seed).go() {
        *happened.entry(what).or_default() += times;
    }
}

#[test]
fn every_append_has_one_outcome_which_is_true() {
    let mut happened = BTreeMap::new();
    if let Some(seed) = number("APPEND_SIM_SEED") {
        return run(seed, &mut happened);
    }
    let seeds = number("APPEND_SIM_SEEDS").unwrap_or(4_000);
    for seed in 0..seeds {
        run(seed, &mut happened);
    }
    println!("{happened:#?}");
    // A simulation in which nothing is shared, or nothing fails, proves nothing.
    if seeds >= 1_000 {
        for what in [
            "stored",
            "unknown",
            "refused alone",
            "given up",
            "shared",
            "many",
            "left",
            "left a shared request",
            "request cancelled",
            "values failed",
            "asked the next",
            "nested",
            "new leader",
            "busy",
            "gathered",
        ] {
            let times = happened.get(what).copied().unwrap_or(0);
            assert!(times > seeds / 100, "too seldom: {what} ({times})");
        }
    }
}
