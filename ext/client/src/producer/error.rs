//! A producer's error: made from the machine's failure, with the messages that were not delivered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use durable_streams_protocol::advice::stale_epoch;
use durable_streams_protocol::error::{Error, Kind, Operation};
use durable_streams_protocol::producer::{ProducerFailure, Undelivered, UndeliveredMessage};

/// Why a producer has failed, and which messages were not delivered.
#[derive(Clone, Debug)]
pub struct ProducerError(Arc<ErrorDetails>);

#[derive(Debug)]
struct ErrorDetails {
    error: Error,
    undelivered: Vec<UndeliveredMessage>,
    /// Whether the owner has got this error.
    reported: AtomicBool,
}

impl ProducerError {
    /// The error of the producer on the stream at `url`.
    pub(super) fn new(url: &str, failure: &ProducerFailure, undelivered: &Undelivered) -> Self {
        // The machine has determined the outcome of every batch. What a single request's error says is older.
        let error = error(url, failure).with_outcome_unknown(undelivered.any_unknown());
        Self::of(error, undelivered.messages().collect())
    }

    /// The error for callers that wait when the driver has ended without an outcome, by a panic. Its requests may have
    /// reached the server.
    pub(super) fn silent(url: &str) -> Self {
        let reason = "internal error: the producer's sending task ended unexpectedly";
        let error = Error::new(Kind::Internal, Operation::Produce, url, reason).with_outcome_unknown(true);
        Self::of(error, Vec::new())
    }

    fn of(error: Error, undelivered: Vec<UndeliveredMessage>) -> Self {
        Self(Arc::new(ErrorDetails {
            error,
            undelivered,
            reported: AtomicBool::new(false),
        }))
    }

    /// The error.
    pub fn error(&self) -> &Error {
        &self.0.error
    }

    /// The messages that were accepted but not delivered, in append order.
    pub fn undelivered(&self) -> &[UndeliveredMessage] {
        &self.0.undelivered
    }

    /// Records that the owner has got this error.
    pub fn mark_reported(&self) {
        self.0.reported.store(true, Ordering::Relaxed);
    }

    /// Whether the owner has got this error.
    pub fn reported(&self) -> bool {
        self.0.reported.load(Ordering::Relaxed)
    }
}

/// The error of a failure: its request's error, or one that the machine has found by itself.
fn error(url: &str, failure: &ProducerFailure) -> Error {
    let (kind, reason) = match failure {
        ProducerFailure::Request(error) => return error.clone(),
        ProducerFailure::StaleEpoch { current_epoch } => (
            Kind::StaleEpoch {
                current_epoch: Some(*current_epoch),
            },
            "another producer uses this producer id",
        ),
        ProducerFailure::EpochReused { epoch } => (
            Kind::EpochReused { epoch: *epoch },
            "this producer id and epoch were used before, so the server treats new messages as duplicates and stores \
             none: use a higher epoch, or auto_claim: true",
        ),
        ProducerFailure::NumbersExhausted => (Kind::Status, "the epoch has no more sequence numbers"),
        ProducerFailure::Aborted => (
            Kind::Timeout,
            "the timeout of close has passed, and not everything is acknowledged: see undelivered",
        ),
    };
    let note = match &kind {
        Kind::StaleEpoch { current_epoch } => Some(stale_epoch(*current_epoch)),
        _ => None,
    };
    Error::new(kind, Operation::Produce, url, reason).with_note(note)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_panic_the_outcome_is_unknown() {
        assert!(ProducerError::silent("http://h/s").error().outcome_unknown());
    }
}
