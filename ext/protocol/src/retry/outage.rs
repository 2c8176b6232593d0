//! [`Outages`] follows the failed tries of something that goes on for long: a live read, a producer or
//! a worker.

use std::time::{Duration, Instant};

use super::so_far::TriesSoFar;

/// The failed tries since the last success.
#[derive(Clone, Debug, Default)]
pub struct Outages {
    has_succeeded: bool,
    current: Option<Outage>,
}

#[derive(Clone, Debug)]
struct Outage {
    since: Instant,
    failed_tries: u32,
    /// The reason that the event of its beginning had. `None`: there was no event.
    reported: Option<String>,
}

/// The beginning or the end of an outage. There is none before the first success: a first try that fails is no outage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutageEvent {
    /// A try failed after an earlier success. It is retried.
    Began {
        /// What happened.
        reason: String,
    },
    /// A try succeeded.
    Ended {
        /// How many tries failed.
        failed_tries: u32,
        /// The time since the first one.
        duration: Duration,
        /// What had happened at the beginning.
        reason: String,
    },
}

impl Outages {
    /// No failed tries. `has_succeeded`: there was a success before.
    pub fn new(has_succeeded: bool) -> Self {
        Self {
            has_succeeded,
            current: None,
        }
    }

    /// Whether there has been a success.
    pub fn has_succeeded(&self) -> bool {
        self.has_succeeded
    }

    /// The number of failed tries since the last success.
    pub fn failed_tries(&self) -> u32 {
        self.current.as_ref().map_or(0, |outage| outage.failed_tries)
    }

    /// Counts a failed try, which began at `started`.
    pub fn failed(&mut self, started: Instant) {
        let outage = self.current.get_or_insert(Outage {
            since: started,
            failed_tries: 0,
            reported: None,
        });
        outage.failed_tries = outage.failed_tries.saturating_add(1);
    }

    /// The failed tries since the last success.
    pub fn so_far(&self, now: Instant) -> TriesSoFar {
        self.current
            .as_ref()
            .map_or_else(TriesSoFar::default, |outage| TriesSoFar {
                attempts: outage.failed_tries,
                elapsed: now.saturating_duration_since(outage.since),
                in_doubt: false,
            })
    }

    /// The failed try is retried. Returns an event if this begins an outage. `reason` says what happened.
    pub fn retried(&mut self, reason: &str) -> Option<OutageEvent> {
        let outage = self.current.as_mut().filter(|_| self.has_succeeded)?;
        if outage.reported.is_some() {
            return None;
        }
        let reason = outage.reported.insert(reason.to_owned()).clone();
        Some(OutageEvent::Began { reason })
    }

    /// A try succeeded. Returns an event if this ends an outage that had an event.
    pub fn succeeded(&mut self, now: Instant) -> Option<OutageEvent> {
        self.has_succeeded = true;
        let outage = self.current.take()?;
        let reason = outage.reported?;
        Some(OutageEvent::Ended {
            failed_tries: outage.failed_tries,
            duration: now.saturating_duration_since(outage.since),
            reason,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_begins_once_after_a_success_and_ends_once() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let reason = "refused";
        let mut outages = Outages::default();
        outages.failed(at(0));
        assert_eq!(outages.retried(reason), None);
        assert_eq!(outages.succeeded(at(1)), None);
        outages.failed(at(2));
        let reason_text = reason.to_owned();
        assert_eq!(
            outages.retried(reason),
            Some(OutageEvent::Began { reason: reason_text })
        );
        outages.failed(at(3));
        assert_eq!(outages.retried(reason), None);
        let so_far = outages.so_far(at(4));
        assert_eq!((so_far.attempts, so_far.elapsed), (2, Duration::from_secs(2)));
        let ended = OutageEvent::Ended {
            failed_tries: 2,
            duration: Duration::from_secs(3),
            reason: reason.to_owned(),
        };
        assert_eq!(outages.succeeded(at(5)), Some(ended));
        assert_eq!(outages.succeeded(at(6)), None);
    }
}
