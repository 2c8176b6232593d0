//! When to try again: the policy a user sets, and the schedule one operation follows. No clock, no sleeping here.

use std::time::Duration;

use http::StatusCode;

/// The shortest delay after a failure: a schedule never spins.
const SHORTEST: Duration = Duration::from_millis(1);

/// How often and how patiently failed requests are repeated.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// How many times a request is repeated after its first try; 0 for never.
    pub max_retries: u32,
    /// The upper bound of the first delay.
    pub initial_delay: Duration,
    /// No delay's upper bound is longer.
    pub max_delay: Duration,
    /// How much the upper bound grows from one delay to the next.
    pub multiplier: f64,
    /// The statuses that are worth another try.
    pub statuses: Vec<u16>,
}

impl RetryPolicy {
    /// Whether an answer with this status is worth another try.
    pub fn covers(&self, status: StatusCode) -> bool {
        self.statuses.contains(&status.as_u16())
    }

    /// A policy to test with: users get theirs from Ruby, where the defaults are.
    #[cfg(test)]
    pub(crate) fn for_tests() -> RetryPolicy {
        RetryPolicy {
            max_retries: 5,
            initial_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(30),
            multiplier: 2.0,
            statuses: vec![429, 500, 502, 503, 504],
        }
    }
}

/// The failures in a row of one operation.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    failures: u32,
}

impl Schedule {
    /// Starts the count anew: there was progress.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Counts a failure. Answers how long to wait before the next try, or `None` when there is to be none.
    ///
    /// The delay is exponential with full jitter: between nothing and an upper bound that grows with every failure.
    /// What the server asked for (`Retry-After`) is waited for in full; a wait longer than `max_delay` is not made
    /// behind the caller's back: there is no next try then, and the error tells what the server asked for.
    pub fn next_delay(&mut self, policy: &RetryPolicy, asked: Option<Duration>, jitter: f64) -> Option<Duration> {
        if self.failures >= policy.max_retries || asked.is_some_and(|asked| asked > policy.max_delay) {
            return None;
        }
        let growth = policy.multiplier.powi(self.failures.min(1_000) as i32);
        let bound = (policy.initial_delay.as_secs_f64() * growth).min(policy.max_delay.as_secs_f64());
        self.failures += 1;
        let delay = Duration::from_secs_f64(bound * jitter.clamp(0.0, 1.0));
        Some(delay.max(asked.unwrap_or_default()).max(SHORTEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> RetryPolicy {
        RetryPolicy {
            max_retries: 3,
            max_delay: Duration::from_secs(1),
            multiplier: 10.0,
            ..RetryPolicy::for_tests()
        }
    }

    #[test]
    fn delays_grow_to_the_longest_and_end_with_the_retries() {
        let mut schedule = Schedule::default();
        let delays: Vec<_> = std::iter::from_fn(|| schedule.next_delay(&policy(), None, 1.0)).collect();
        assert_eq!(delays, [100, 1000, 1000].map(Duration::from_millis));
    }

    #[test]
    fn a_delay_is_never_zero() {
        assert_eq!(Schedule::default().next_delay(&policy(), None, 0.0), Some(SHORTEST));
    }

    #[test]
    fn follows_retry_after_up_to_the_longest_delay() {
        let mut schedule = Schedule::default();
        let asked = Duration::from_millis(900);
        assert_eq!(schedule.next_delay(&policy(), Some(asked), 0.5), Some(asked));
        assert_eq!(schedule.next_delay(&policy(), Some(Duration::from_secs(2)), 0.5), None);
    }

    #[test]
    fn progress_resets_the_count_of_failures() {
        let mut schedule = Schedule::default();
        while schedule.next_delay(&policy(), None, 1.0).is_some() {}
        schedule.reset();
        assert_eq!(
            schedule.next_delay(&policy(), None, 1.0),
            Some(Duration::from_millis(100))
        );
    }

    #[test]
    fn huge_counts_and_multipliers_do_not_overflow() {
        let policy = RetryPolicy {
            max_retries: u32::MAX,
            multiplier: 1e9,
            ..policy()
        };
        let mut schedule = Schedule { failures: u32::MAX - 1 };
        assert_eq!(schedule.next_delay(&policy, None, 1.0), Some(Duration::from_secs(1)));
    }
}
