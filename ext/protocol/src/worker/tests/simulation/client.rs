//! A worker process: its machine, its clock, and the threads that run blocks.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::Value;

use super::server::Millis;
use crate::request::Request;
use crate::retry::jitter::Jitter;
use crate::retry::policy::RetryPolicy;
use crate::subscriptions::SubscriptionOperation;
use crate::worker::{WorkerConfig, WorkerMachine};

/// What a thread does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ThreadStep {
    Free,
    /// It reads the next batch.
    Reads(Span),
    /// It runs the block.
    Runs(Span),
    /// The block has returned.
    Waits(Span),
}

/// A batch of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub generation: u64,
    pub path: String,
    pub from: usize,
    pub to: usize,
    pub up_to_date: bool,
    /// When the step ends.
    pub until: Millis,
}

impl ThreadStep {
    pub(super) fn span(&self) -> Option<&Span> {
        match self {
            Self::Free => None,
            Self::Reads(span) | Self::Runs(span) | Self::Waits(span) => Some(span),
        }
    }
}

/// The request that a worker has sent.
pub(super) struct Flight {
    pub id: u64,
    pub operation: SubscriptionOperation,
    pub sent: Instant,
    pub generation: Option<u64>,
    pub is_end: bool,
}

pub(super) struct WorkerProcess {
    pub machine: WorkerMachine,
    pub threads: Vec<ThreadStep>,
    pub flight: Option<Flight>,
    /// How far its clock is ahead of the server's. Milliseconds.
    pub clock: i64,
    /// By how much it changes at the end of the pause.
    pub clock_step: i64,
    pub paused_until: Millis,
    /// How many wakes it has seen, and when it sees the next ones.
    pub wakes_seen: usize,
    pub next_wakes: Option<Millis>,
    /// The generation of its claim and the known end of its lease.
    pub lease: Option<(u64, Instant)>,
    /// Generations that the server has called fenced.
    pub fenced: BTreeSet<u64>,
    pub stopped: bool,
    start: Instant,
}

impl WorkerProcess {
    pub(super) fn new(name: String, start: Instant, now: Millis, rng: &mut Rng) -> Self {
        let mut jitter = Rng::with_seed(rng.u64(..));
        let config = WorkerConfig {
            name,
            retry: RetryPolicy {
                max_delay: Duration::from_secs(2),
                ..RetryPolicy::for_tests()
            },
            fresh_values: false,
        };
        let clock = rng.i64(0..100_000) + 1_000_000;
        let at = start + Duration::from_millis(now.checked_add_signed(clock).unwrap());
        Self {
            machine: WorkerMachine::new(config, Jitter::new(move || jitter.f64()), at),
            threads: vec![ThreadStep::Free; rng.usize(1..4)],
            flight: None,
            clock,
            clock_step: 0,
            paused_until: 0,
            wakes_seen: 0,
            next_wakes: None,
            lease: None,
            fenced: BTreeSet::new(),
            stopped: false,
            start,
        }
    }

    /// Ends a pause.
    pub(super) fn go_on(&mut self, now: Millis) {
        if self.paused_until <= now {
            self.clock += std::mem::take(&mut self.clock_step);
        }
    }

    /// What its clock shows.
    pub(super) fn time(&self, now: Millis) -> Instant {
        self.start + Duration::from_millis(now.checked_add_signed(self.clock).unwrap())
    }

    /// When its clock shows this.
    fn millis(&self, at: Instant) -> Millis {
        let own = at.saturating_duration_since(self.start).as_micros().div_ceil(1_000) as u64;
        own.saturating_add_signed(-self.clock)
    }

    pub(super) fn has_capacity(&self) -> bool {
        self.threads.contains(&ThreadStep::Free)
    }

    pub(super) fn next_time(&self, now: Millis) -> Option<Millis> {
        if now < self.paused_until {
            return Some(self.paused_until);
        }
        let machine = self.machine.poll_timeout(self.time(now), self.has_capacity());
        let threads = self.threads.iter().filter_map(|thread| match thread {
            ThreadStep::Reads(span) | ThreadStep::Runs(span) => Some(span.until),
            ThreadStep::Free | ThreadStep::Waits(_) => None,
        });
        threads
            .chain(machine.map(|at| self.millis(at)))
            .chain(self.next_wakes)
            .min()
    }

    /// A request before it is sent.
    pub(super) fn send(&mut self, id: u64, now: Millis, operation: SubscriptionOperation, request: &Request) {
        assert!(self.flight.is_none(), "two requests are in flight");
        let body: Value = serde_json::from_slice(request.body.as_ref().unwrap()).unwrap();
        let generation = body["generation"].as_u64();
        if let Some(generation) = generation {
            assert!(!self.fenced.contains(&generation), "a request of a fenced claim");
        }
        for ack in body["acks"].as_array().into_iter().flatten() {
            let is_handled = |thread: &ThreadStep| match thread {
                ThreadStep::Waits(span) => {
                    span.path == ack["stream"] && super::server::offset(span.to) == ack["offset"]
                }
                _ => false,
            };
            assert!(
                self.threads.iter().any(is_handled),
                "{ack} is not what a block has handled"
            );
        }
        self.flight = Some(Flight {
            id,
            operation,
            sent: self.time(now),
            generation,
            is_end: operation == SubscriptionOperation::Release || body["done"] == true,
        });
    }

    /// Checks that a block may begin.
    pub(super) fn check_begin(&self, now: Millis, generation: u64) {
        assert!(!self.fenced.contains(&generation), "a block of a fenced claim begins");
        assert!(!self.stopped, "a block begins after stop");
        let (current, valid_until) = self.lease.expect("a claim");
        assert_eq!(current, generation);
        assert!(
            self.time(now) < valid_until,
            "a block begins after the known end of the lease"
        );
    }
}
