//! What a run checks: no worker waits without need, events come in order, and they are repeated only after failures.

use std::time::Duration;

use super::super::client::{Span, WorkerProcess};
use super::WorkerRun;

impl WorkerRun {
    /// If nothing fails, a worker that has a free thread claims soon after something is pending.
    pub(super) fn check_neglect(&mut self) {
        let is_neglected = !self.all_handled()
            && self.server.holder.is_none()
            && self.network.is_idle()
            && self.workers.iter().any(WorkerProcess::has_capacity);
        self.neglected_since = is_neglected.then(|| self.neglected_since.unwrap_or(self.now));
        let neglected = self.neglected_since.map_or(0, |since| self.now - since);
        assert!(!self.calm || neglected < 4_000, "nobody claims: {}", self.state());
    }

    pub(super) fn mark_handled(&mut self, span: &Span) {
        for event in span.from..span.to {
            self.server.stream(&span.path).handled[event] = true;
            *self.handled.entry((span.path.clone(), event)).or_default() += 1;
        }
        // In order: nothing before this batch is missing.
        let before = &self.server.stream(&span.path).handled[..span.from];
        assert!(before.iter().all(|handled| *handled), "{span:?} is handled too early");
    }

    pub(super) fn check_repetitions(&self) {
        let failures = self.repetitions + self.server.expired;
        for ((path, event), times) in &self.handled {
            assert!(
                *times <= 1 + failures,
                "{path} {event} was handled {times} times after {failures} failures"
            );
        }
        // Each claim takes a few requests: itself, acks, prolongations and its end.
        let seconds = Duration::from_millis(self.now).as_secs();
        let per_second = 60 * self.workers.len() as u64;
        assert!(
            self.requests < 1_000 + per_second * seconds,
            "{} requests in {seconds} s",
            self.requests
        );
        let times = |what| self.counts.get(what).copied().unwrap_or(0);
        let released = times("released");
        let expected = 50 + times("failed block") + self.workers.len() as u64 * seconds / 2;
        assert!(released < expected, "released {released} times in {seconds} s");
    }
}
