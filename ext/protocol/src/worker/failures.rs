//! [`Failures`]: the streams whose blocks fail, and how long each is left alone.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The pause after the first failure of a stream. It doubles with each one in a row. These are the pauses of a server
/// that calls a webhook again (PROTOCOL.md 7.1).
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The streams whose last block failed.
#[derive(Debug, Default)]
pub(super) struct Failures(BTreeMap<String, FailingStream>);

#[derive(Debug)]
struct FailingStream {
    failures: u32,
    /// It is not handed out before.
    until: Instant,
}

impl Failures {
    /// Counts a failure. `jitter`, from 0 to 1, makes the pause up to 20 % shorter or longer.
    pub(super) fn add(&mut self, now: Instant, stream: &str, jitter: f64) {
        let failing = self.0.entry(stream.to_owned()).or_insert(FailingStream {
            failures: 0,
            until: now,
        });
        let pause = FIRST_PAUSE * 2_u32.pow(failing.failures.min(10));
        failing.failures = failing.failures.saturating_add(1);
        failing.until = now + pause.min(LONGEST_PAUSE).mul_f64(0.8 + 0.4 * jitter.clamp(0.0, 1.0));
    }

    /// A batch of the stream was handled.
    pub(super) fn remove(&mut self, stream: &str) {
        self.0.remove(stream);
    }

    /// Whether the stream may be handed out.
    pub(super) fn allow(&self, now: Instant, stream: &str) -> bool {
        self.0.get(stream).is_none_or(|failing| failing.until <= now)
    }

    /// When the first pause ends.
    pub(super) fn first_end(&self, now: Instant) -> Option<Instant> {
        let ends = self.0.values().map(|failing| failing.until);
        ends.filter(|end| now < *end).min()
    }

    /// Forgets the streams that are not among those of the subscription.
    pub(super) fn retain<'a>(&mut self, linked: impl Iterator<Item = &'a str>) {
        self.0 = linked.filter_map(|stream| self.0.remove_entry(stream)).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_of_a_failing_stream_grow_up_to_a_minute() {
        let now = Instant::now();
        let mut failures = Failures::default();
        let mut pauses = Vec::new();
        for _ in 0..9 {
            failures.add(now, "a", 0.5);
            pauses.push(failures.first_end(now).unwrap().duration_since(now).as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert!(!failures.allow(now + Duration::from_secs(59), "a"));
        assert!(failures.allow(now + Duration::from_secs(60), "a"));
        assert!(failures.allow(now, "b"));
        failures.remove("a");
        assert!(failures.allow(now, "a") && failures.first_end(now).is_none());
    }

    #[test]
    fn forgets_streams_that_were_removed() {
        let now = Instant::now();
        let mut failures = Failures::default();
        failures.add(now, "a", 0.0);
        failures.add(now, "b", 1.0);
        failures.retain(["b", "c"].into_iter());
        assert!(failures.allow(now, "a") && !failures.allow(now, "b"));
    }
}
