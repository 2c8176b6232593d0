//! Retries of requests. [`policy`] has the user's settings and the delays between tries. [`tries`] decides whether a
//! request is sent again. [`patience`] limits the tries where the policy alone does not. [`so_far`] says what is known
//! after some tries. [`outage`] follows the failures of live reads, producers and workers. [`jitter`] randomizes delays.
//!
//! Nothing here sleeps or reads a clock: the caller waits.

use std::time::{Duration, Instant};

pub mod jitter;
pub mod outage;
pub mod patience;
pub mod policy;
pub mod so_far;
pub mod tries;

/// The moment `delay` after `now`, or a year after it if that is earlier: some systems' clocks overflow beyond that.
pub(crate) fn later(now: Instant, delay: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(86_400 * 365);
    now + delay.min(YEAR)
}
