//! [`Patience`]: how long a failed request is sent again, where the policy alone does not decide that: in live reads
//! and workers, and for writes that are stored once.

use std::time::Duration;

use super::policy::{RetryPolicy, Schedule};

/// How long a failed request is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Whether the number of retries is unlimited. If not, the policy limits it.
    pub without_limit: bool,
    /// How long after its first try it is sent again. `None`: without limit.
    pub timeout: Option<Duration>,
}

impl Patience {
    /// The delay before the next try, or `None` if there is none. `elapsed` is the time since the first try. A delay
    /// that would go beyond the timeout ends with it, and the try after it is the last one.
    pub fn next_delay(
        self,
        schedule: &mut Schedule,
        policy: &RetryPolicy,
        elapsed: Duration,
        retry_after: Option<Duration>,
        jitter: f64,
    ) -> Option<Duration> {
        let delay = match self.without_limit {
            true => schedule.next_patient_delay(policy, retry_after, jitter),
            false => schedule.next_delay(policy, retry_after, jitter)?,
        };
        let Some(timeout) = self.timeout else {
            return Some(delay);
        };
        let remaining = timeout.saturating_sub(elapsed);
        (!remaining.is_zero()).then(|| delay.min(remaining))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(patience: Patience) -> Vec<u64> {
        let (mut schedule, mut elapsed) = (Schedule::default(), Duration::ZERO);
        let next = || {
            let delay = patience.next_delay(&mut schedule, &RetryPolicy::for_tests(), elapsed, None, 1.0)?;
            elapsed += delay;
            Some(delay.as_millis() as u64)
        };
        std::iter::from_fn(next).take(20).collect()
    }

    #[test]
    fn the_policy_or_the_timeout_ends_the_tries_whichever_comes_first() {
        let timeout = |seconds| Some(Duration::from_secs(seconds));
        let limited = |timeout| Patience {
            without_limit: false,
            timeout,
        };
        let unlimited = |timeout| Patience {
            without_limit: true,
            timeout,
        };
        assert_eq!(delays(limited(None)), [100, 200, 400, 800, 1600]);
        assert_eq!(delays(limited(timeout(1))), [100, 200, 400, 300]);
        assert_eq!(delays(unlimited(timeout(7))), [100, 200, 400, 800, 1600, 3200, 700]);
        assert_eq!(delays(unlimited(None)).len(), 20);
    }
}
