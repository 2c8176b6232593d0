//! Workers share a subscription of a simulated server over a simulated network, in virtual time. Each run has a seed.
//! Processes are killed, and paused for longer than a lease. Clocks jump, requests and responses get lost, late or
//! doubled, blocks fail, and streams are removed. After that time, all events must be handled soon.
//!
//! `WORKER_SIM_SEEDS=100000 cargo test -p durable-streams-protocol worker_sim` runs more seeds, `WORKER_SIM_SEED=7`
//! only that one. A run that fails prints its seed.

mod client;
mod network;
mod run;
mod server;

pub(super) use server::response;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use run::WorkerRun;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs a seed and adds its events to `counts`.
fn run(seed: u64, counts: &mut BTreeMap<&'static str, u64>) {
    struct WorkerSeedReport(u64);
    impl Drop for WorkerSeedReport {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("worker simulation failed: WORKER_SIM_SEED={}", self.0);
            }
        }
    }
    let _report = WorkerSeedReport(seed);
    for (what, times) in WorkerRun::new(seed).run() {
        *counts.entry(what).or_default() += times;
    }
}

#[test]
fn worker_sim_handles_every_event_in_order() {
    let mut counts = BTreeMap::new();
    if let Some(seed) = number("WORKER_SIM_SEED") {
        return run(seed, &mut counts);
    }
    // Without WORKER_SIM_SEEDS the time is limited too, because the machine may be busy.
    let seeds = number("WORKER_SIM_SEEDS");
    let until = Instant::now() + Duration::from_secs(8);
    let mut runs = 0;
    for seed in 0..seeds.unwrap_or(2_000) {
        if seeds.is_none() && Instant::now() > until {
            break;
        }
        run(seed, &mut counts);
        runs += 1;
    }
    println!("{runs} runs: {counts:#?}");
    // Without failures the simulation would test nothing.
    if runs >= 500 {
        for what in [
            "already claimed",
            "claimed",
            "doubled request",
            "ended by an ack",
            "error of a gateway",
            "failed ack",
            "failed block",
            "fenced",
            "fenced at the end",
            "killed",
            "late request",
            "lost",
            "lost response",
            "lost wake",
            "no response",
            "nothing pending",
            "outage",
            "paused for longer than a lease",
            "refused ack",
            "released",
            "removed",
        ] {
            let times = counts.get(what).copied().unwrap_or(0);
            assert!(times > runs / 100, "too rare: {what} ({times})");
        }
    }
}
