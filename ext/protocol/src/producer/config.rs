//! What a producer is told at its birth, and the bounds of it.

use std::fmt;
use std::time::Duration;

use super::batch::BodyKind;
use crate::retry;

/// The largest value of `Producer-Epoch` and `Producer-Seq`: 2^53 - 1 (protocol, "Idempotent producers").
pub const MAX_NUMBER: u64 = (1 << 53) - 1;

/// The largest `max_batch_bytes`: message positions within a body are kept in 32 bits.
const MAX_BATCH_BYTES: usize = 1 << 30;

/// When repeated claims of one id are given up as a fight with another claimant.
#[derive(Clone, Debug)]
pub struct ClaimLimits {
    /// How many claims may follow one another without the epoch being held in between; 0 never claims.
    pub max_claims: u32,
    /// An epoch was held once it lasted this long after its claim and `stable_batches` were acknowledged in it.
    pub stable_for: Duration,
    /// See `stable_for`. Both are asked for: neither a quick fight nor a slow one passes for holding the id.
    pub stable_batches: u32,
}

impl Default for ClaimLimits {
    fn default() -> ClaimLimits {
        ClaimLimits {
            max_claims: 3,
            stable_for: Duration::from_secs(30),
            stable_batches: 16,
        }
    }
}

/// The settings of one producer.
#[derive(Clone, Debug)]
pub struct ProducerConfig {
    /// How messages are joined into a body.
    pub body: BodyKind,
    /// The epoch to start in.
    pub epoch: u64,
    /// The first number to use in it. Above 0 the epoch counts as established on the server. `None` is 0 in an epoch that
    /// should be new: whether it is shows in the answer to the first batch.
    pub next_seq: Option<u64>,
    /// Whether a fenced producer takes its id back, and one whose epoch was used before takes the next.
    pub auto_claim: bool,
    /// How often it may.
    pub claims: ClaimLimits,
    /// The most bytes of a body, separators included. A message that is larger travels alone.
    pub max_batch_bytes: usize,
    /// The most messages of a batch.
    pub max_batch_items: usize,
    /// How long a message may wait for company.
    pub linger: Duration,
    /// The most requests out at a time.
    pub max_in_flight: usize,
    /// The most bytes that may be unacknowledged, those in flight included. One message may exceed it when it is alone.
    pub max_buffered_bytes: usize,
    /// How requests without a final answer are repeated.
    pub retry: retry::policy::RetryPolicy,
}

impl ProducerConfig {
    /// Settings to test with, with this retry policy: users get theirs from Ruby, where the defaults are.
    #[cfg(test)]
    pub(crate) fn new(retry: retry::policy::RetryPolicy) -> ProducerConfig {
        ProducerConfig {
            body: BodyKind::Json,
            epoch: 0,
            next_seq: None,
            auto_claim: false,
            claims: ClaimLimits::default(),
            max_batch_bytes: 1 << 20,
            max_batch_items: usize::MAX,
            linger: Duration::from_millis(5),
            max_in_flight: 5,
            max_buffered_bytes: 64 << 20,
            retry,
        }
    }

    /// Checks the bounds; the error names the first setting that breaks one.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let error = |setting, rule| Err(ConfigError { setting, rule });
        if self.epoch > MAX_NUMBER {
            return error("epoch", "must be at most 2^53 - 1");
        }
        if self.next_seq.is_some_and(|seq| seq > MAX_NUMBER) {
            return error("next_seq", "must be at most 2^53 - 1");
        }
        if self.max_batch_bytes == 0 || self.max_batch_bytes > MAX_BATCH_BYTES {
            return error("max_batch_bytes", "must be between 1 and 2^30");
        }
        if self.max_batch_items == 0 {
            return error("max_batch_items", "must be at least 1");
        }
        if self.max_in_flight == 0 {
            return error("max_in_flight", "must be at least 1");
        }
        if self.max_buffered_bytes == 0 {
            return error("max_buffered_bytes", "must be at least 1");
        }
        Ok(())
    }
}

/// A setting outside its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The name of the setting.
    pub setting: &'static str,
    /// What it must be.
    pub rule: &'static str,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.setting, self.rule)
    }
}

impl std::error::Error for ConfigError {}
