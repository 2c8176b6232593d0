//! The epochs that a producer has claimed, and what is done once the outcome of every request is known.

use std::time::Instant;

use super::config::ClaimLimits;
use super::event::ProducerFailure;
use crate::error::Error;

/// What is done when all is known.
#[derive(Debug)]
pub(super) enum Settling {
    /// The epoch is over: take the id back.
    Claim {
        current_epoch: u64,
        /// The response that said so, if one did.
        response: Option<Error>,
    },
    /// The producer is over.
    Fail(ProducerFailure),
}

/// The claims of one producer.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// When the epoch in use was claimed.
    since: Option<Instant>,
    /// How many claims there were since an epoch was last held.
    pub in_a_row: u32,
    /// How many batches were acknowledged since the last claim.
    acknowledged: u32,
    /// The epoch in use is another's too, or there is reason to think so: numbers prove nothing in it.
    pub collided: bool,
}

impl Claims {
    /// Whether the epoch in use is a claimed one.
    pub fn any(&self) -> bool {
        self.since.is_some()
    }

    /// A batch was acknowledged: an epoch that is held makes earlier claims forgotten.
    pub fn acknowledged(&mut self, now: Instant, limits: &ClaimLimits) {
        self.acknowledged = self.acknowledged.saturating_add(1);
        let lasted = self
            .since
            .is_some_and(|since| now.saturating_duration_since(since) >= limits.stable_for);
        if lasted && self.acknowledged >= limits.stable_batches {
            self.in_a_row = 0;
        }
    }

    /// The id was claimed.
    pub fn claim(&mut self, now: Instant) {
        self.since = Some(now);
        self.in_a_row += 1;
        self.acknowledged = 0;
        self.collided = false;
    }
}
