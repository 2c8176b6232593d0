//! [`RetryPolicy`] is what a user sets. [`Schedule`] counts the failures of one operation and computes its delays.

use std::time::Duration;

use http::StatusCode;

/// The shortest delay after a failure, so that no loop spins.
const SHORTEST: Duration = Duration::from_millis(1);
/// The longest delay of a patient retry, unless the server requests a longer one. Patient retries outlast long outages,
/// and this is how long one may go unnoticed after its end.
const LONGEST_PATIENT: Duration = Duration::from_secs(5);

/// How often a failed request is sent again, and after which delays.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// How many tries may follow the first one.
    pub max_retries: u32,
    /// The upper bound of the first delay.
    pub initial_delay: Duration,
    /// The longest upper bound of a delay.
    pub max_delay: Duration,
    /// The factor by which the upper bound grows from one delay to the next.
    pub multiplier: f64,
    /// The statuses after which a request is sent again.
    pub statuses: Vec<u16>,
}

impl RetryPolicy {
    /// Whether a request is sent again after a response with this status.
    pub fn covers(&self, status: StatusCode) -> bool {
        self.statuses.contains(&status.as_u16())
    }

    /// A policy for tests. The defaults for users are in Ruby.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        Self {
            max_retries: 5,
            initial_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(30),
            multiplier: 2.0,
            statuses: vec![429, 500, 502, 503, 504],
        }
    }
}

/// The consecutive failures of one operation.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    failures: u32,
}

impl Schedule {
    /// Starts the count again, after progress.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Counts a failure and returns the delay before the next try, or `None` if there is no next try.
    ///
    /// Exponential backoff with full jitter: `jitter`, from 0 to 1, places the delay between 0 and an upper bound that
    /// grows with every failure. The delay is at least `retry_after`, which is what the server requested. If that is
    /// longer than `max_delay`, there is no next try: the error reports `retry_after`, and the application decides.
    pub fn next_delay(&mut self, policy: &RetryPolicy, retry_after: Option<Duration>, jitter: f64) -> Option<Duration> {
        if self.failures >= policy.max_retries || retry_after.is_some_and(|delay| delay > policy.max_delay) {
            return None;
        }
        Some(self.next_bounded_delay(policy, policy.max_delay, retry_after, jitter))
    }

    /// Like [`Schedule::next_delay`], but there is always a next try. The delay is at most 5 seconds, unless
    /// `retry_after` is longer.
    pub fn next_patient_delay(&mut self, policy: &RetryPolicy, retry_after: Option<Duration>, jitter: f64) -> Duration {
        self.next_bounded_delay(policy, policy.max_delay.min(LONGEST_PATIENT), retry_after, jitter)
    }

    fn next_bounded_delay(
        &mut self,
        policy: &RetryPolicy,
        longest: Duration,
        retry_after: Option<Duration>,
        jitter: f64,
    ) -> Duration {
        let growth = policy.multiplier.powi(self.failures.min(1_000) as i32);
        let bound = (policy.initial_delay.as_secs_f64() * growth).min(longest.as_secs_f64());
        self.failures = self.failures.saturating_add(1);
        let delay = Duration::from_secs_f64(bound * jitter.clamp(0.0, 1.0));
        delay.max(retry_after.unwrap_or_default()).max(SHORTEST)
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
    fn delays_grow_up_to_max_delay_and_end_after_max_retries() {
        let mut schedule = Schedule::default();
        let delays: Vec<_> = std::iter::from_fn(|| schedule.next_delay(&policy(), None, 1.0)).collect();
        assert_eq!(delays, [100, 1000, 1000].map(Duration::from_millis));
    }

    #[test]
    fn a_delay_is_never_zero() {
        assert_eq!(Schedule::default().next_delay(&policy(), None, 0.0), Some(SHORTEST));
    }

    #[test]
    fn follows_retry_after_up_to_max_delay() {
        let mut schedule = Schedule::default();
        let retry_after = Duration::from_millis(900);
        assert_eq!(
            schedule.next_delay(&policy(), Some(retry_after), 0.5),
            Some(retry_after)
        );
        assert_eq!(schedule.next_delay(&policy(), Some(Duration::from_secs(2)), 0.5), None);
    }

    #[test]
    fn patient_delays_grow_up_to_max_delay_and_never_end() {
        let mut schedule = Schedule::default();
        let mut next = |retry_after| schedule.next_patient_delay(&policy(), retry_after, 1.0);
        let delays: Vec<_> = (0..10).map(|_| next(None)).collect();
        assert_eq!(delays[..3], [100, 1000, 1000].map(Duration::from_millis));
        assert_eq!(delays[9], Duration::from_secs(1));
        assert_eq!(next(Some(Duration::from_secs(7))), Duration::from_secs(7));
    }

    #[test]
    fn a_patient_delay_is_5_seconds_at_most_unless_the_server_requests_more() {
        let policy = RetryPolicy::for_tests();
        let mut schedule = Schedule::default();
        let delays: Vec<_> = (0..8)
            .map(|_| schedule.next_patient_delay(&policy, None, 1.0))
            .collect();
        assert_eq!(
            delays,
            [100, 200, 400, 800, 1600, 3200, 5000, 5000].map(Duration::from_millis)
        );
        let retry_after = Duration::from_secs(40);
        assert_eq!(
            schedule.next_patient_delay(&policy, Some(retry_after), 1.0),
            retry_after
        );
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
