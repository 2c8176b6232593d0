//! [`ProducerConfig`]: the settings of a producer, and their bounds.

use std::fmt;
use std::time::Duration;

use super::batch::BodyKind;
use crate::retry;

/// The largest value of `Producer-Epoch` and `Producer-Seq`: 2^53 - 1 (PROTOCOL.md 5.2.1).
pub const MAX_NUMBER: u64 = (1 << 53) - 1;

/// The largest `max_batch_bytes`. The position of a message within a body has 32 bits.
const MAX_BATCH_BYTES: usize = 1 << 30;

/// How often a producer claims its id before it fails, because another producer claims the same id again and again.
#[derive(Clone, Debug)]
pub struct ClaimLimits {
    /// The most consecutive claims without a stable epoch in between. 0 means no claims at all.
    pub max_claims: u32,
    /// A claimed epoch is stable when it has lasted this long and `stable_batches` batches were acknowledged in it.
    pub stable_for: Duration,
    /// See `stable_for`. Both are required: two producers that take the id from each other must never look stable,
    /// whether they do so quickly or slowly.
    pub stable_batches: u32,
}

impl Default for ClaimLimits {
    fn default() -> Self {
        Self {
            max_claims: 3,
            stable_for: Duration::from_secs(30),
            stable_batches: 16,
        }
    }
}

/// The settings of one producer.
#[derive(Clone, Debug)]
pub struct ProducerConfig {
    /// How messages are combined into a body.
    pub body: BodyKind,
    /// The epoch to start in.
    pub epoch: u64,
    /// The first sequence number to use in the epoch. The owner thereby says that the epoch is this producer's. `None`
    /// means 0 in an epoch that should be new; the response to the first batch shows whether it is.
    pub next_seq: Option<u64>,
    /// Whether the producer claims the next epoch when it is fenced, or when its epoch was used before.
    pub auto_claim: bool,
    /// How often it may claim.
    pub claims: ClaimLimits,
    /// The most bytes of a body, separators included. A larger message has a batch of its own.
    pub max_batch_bytes: usize,
    /// The most messages of a batch.
    pub max_batch_items: usize,
    /// How long a batch waits for more messages.
    pub linger: Duration,
    /// The most requests in flight.
    pub max_in_flight: usize,
    /// The most bytes that may be unacknowledged, including those in flight. A single message may exceed it if there
    /// are no others.
    pub max_buffered_bytes: usize,
    /// How often a batch is sent again.
    pub retry: retry::policy::RetryPolicy,
    /// Whether only `delivery_timeout` limits the retries after the first success, because nobody has chosen a retry
    /// policy.
    pub patient: bool,
    /// How long after its first request a batch is sent again. `None`: without limit.
    pub delivery_timeout: Option<Duration>,
}

impl ProducerConfig {
    /// Settings for tests. The defaults for users are in Ruby.
    #[cfg(test)]
    pub(crate) fn new(retry: retry::policy::RetryPolicy) -> Self {
        Self {
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
            patient: false,
            delivery_timeout: None,
        }
    }

    /// Checks the bounds. The error names the first setting that violates one.
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
        if self.delivery_timeout.is_some_and(|timeout| timeout.is_zero()) {
            return error("delivery_timeout", "must be above 0");
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

/// A setting is out of bounds.
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
