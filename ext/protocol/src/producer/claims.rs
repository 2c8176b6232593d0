//! [`Claims`] counts the epochs that a producer has claimed. [`Settling`] is what follows when every request has ended.

use std::time::Instant;

use super::config::ClaimLimits;
use super::event::ProducerFailure;
use crate::error::Error;

/// What to do when the outcome of every batch is known.
#[derive(Debug)]
pub(super) enum Settling {
    /// Claim the next epoch, because this one is fenced or not the producer's.
    Claim {
        current_epoch: u64,
        /// The response that fenced the epoch, if there was one.
        response: Option<Error>,
    },
    /// Fail the producer.
    Fail(ProducerFailure),
}

/// The claims of one producer.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// When the current epoch was claimed.
    since: Option<Instant>,
    /// The number of claims since an epoch was last stable. See [`ClaimLimits`].
    pub claims_in_a_row: u32,
    /// The number of batches acknowledged since the last claim.
    acknowledged: u32,
    /// Another producer uses the current epoch too, or may do so. Then sequence numbers prove nothing.
    pub collided: bool,
}

impl Claims {
    /// Whether the current epoch was claimed.
    pub(super) fn any(&self) -> bool {
        self.since.is_some()
    }

    /// A batch was acknowledged. If the epoch is stable now, earlier claims no longer count.
    pub(super) fn acknowledged(&mut self, now: Instant, limits: &ClaimLimits) {
        self.acknowledged = self.acknowledged.saturating_add(1);
        let lasted_long_enough = self
            .since
            .is_some_and(|since| now.saturating_duration_since(since) >= limits.stable_for);
        if lasted_long_enough && self.acknowledged >= limits.stable_batches {
            self.claims_in_a_row = 0;
        }
    }

    /// A new epoch was claimed.
    pub(super) fn claim(&mut self, now: Instant) {
        self.since = Some(now);
        self.claims_in_a_row += 1;
        self.acknowledged = 0;
        self.collided = false;
    }
}
