//! A producer's failure: what the machine says it is, as the error that its owner gets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use durable_streams_protocol::error::{Error, Kind, Operation};
use durable_streams_protocol::producer::{Failure, LastTry, Lost, Outcome, UndeliveredMessage};

/// A producer that has failed: why, and what did not land.
#[derive(Clone, Debug)]
pub struct Failed(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    error: Error,
    undelivered: Vec<UndeliveredMessage>,
    /// Whether the owner knows.
    heard: AtomicBool,
}

impl Failed {
    /// The end of the producer at `url`. `said` is what the last request came to: quoted where it is what `failure`
    /// means, as it is in the server's own words.
    pub(super) fn new(
        url: &str,
        failure: &Failure,
        said: Option<&Error>,
        undelivered: Vec<UndeliveredMessage>,
    ) -> Failed {
        let error = match said.filter(|said| quotes(failure, said.kind())) {
            Some(said) => said.clone(),
            None => {
                let (kind, reason) = meaning(failure);
                Error::new(kind, Operation::Produce, url, reason)
            }
        };
        let unknown = undelivered.iter().any(|message| message.outcome == Outcome::Unknown);
        Failed::of(if unknown { error.with_unknown_outcome() } else { error }, undelivered)
    }

    /// For those who wait when the driver has ended without a word.
    pub(super) fn silent(url: &str) -> Failed {
        let reason = "internal error: the producer's sending task ended unexpectedly";
        Failed::of(Error::new(Kind::Internal, Operation::Produce, url, reason), Vec::new())
    }

    fn of(error: Error, undelivered: Vec<UndeliveredMessage>) -> Failed {
        Failed(Arc::new(Inner {
            error,
            undelivered,
            heard: AtomicBool::new(false),
        }))
    }

    /// Why.
    pub fn error(&self) -> &Error {
        &self.0.error
    }

    /// The messages that were accepted and not delivered, in append order.
    pub fn undelivered(&self) -> &[UndeliveredMessage] {
        &self.0.undelivered
    }

    /// The owner was told.
    pub fn hear(&self) {
        self.0.heard.store(true, Ordering::Relaxed);
    }

    /// Whether the owner was told.
    pub fn heard(&self) -> bool {
        self.0.heard.load(Ordering::Relaxed)
    }
}

/// Whether what the last request came to is what the failure means. Where the failure names no kind of its own, anything
/// is.
fn quotes(failure: &Failure, said: &Kind) -> bool {
    match failure {
        Failure::StaleEpoch { .. } => matches!(said, Kind::StaleEpoch { .. }),
        Failure::SequenceGap { .. } => matches!(said, Kind::SequenceGap { .. }),
        Failure::StreamClosed { .. } => matches!(said, Kind::StreamClosed { .. }),
        Failure::ContentTypeMismatch => matches!(said, Kind::ContentTypeMismatch),
        Failure::Rejected { .. } | Failure::RetriesExhausted { .. } | Failure::HeaderFailed => true,
        Failure::EpochReused { .. } | Failure::NumbersExhausted | Failure::Aborted => false,
    }
}

fn meaning(failure: &Failure) -> (Kind, &'static str) {
    match failure {
        Failure::StaleEpoch { current_epoch } => {
            let current_epoch = Some(*current_epoch);
            (
                Kind::StaleEpoch { current_epoch },
                "a newer epoch holds this producer id",
            )
        }
        Failure::EpochReused { epoch } => (
            Kind::EpochReused { epoch: *epoch },
            "this producer id and epoch were used before, so the server takes new messages for repetitions and stores \
             none: use a higher epoch, or auto_claim: true",
        ),
        Failure::SequenceGap { expected, received } => {
            let (expected, received) = (*expected, Some(*received));
            (Kind::SequenceGap { expected, received }, "producer sequence gap")
        }
        Failure::StreamClosed { final_offset } => {
            let final_offset = final_offset.clone();
            (Kind::StreamClosed { final_offset }, "stream is closed")
        }
        Failure::ContentTypeMismatch => (Kind::ContentTypeMismatch, "content type differs from the stream's"),
        Failure::RetriesExhausted { last } => match last {
            LastTry::Lost(Lost::TimedOut) => (Kind::Timeout, "no answer in time"),
            LastTry::Lost(_) => (Kind::Connection, "no connection, or it was lost"),
            LastTry::Status(_) => (Kind::Status, "the server refused it"),
        },
        Failure::Rejected { .. } => (Kind::Status, "the server refused it"),
        Failure::HeaderFailed => (Kind::Status, "the request's headers could not be made"),
        Failure::NumbersExhausted => (Kind::Status, "the epoch has no more sequence numbers"),
        Failure::Aborted => (
            Kind::Timeout,
            "the producer was closed before everything was acknowledged",
        ),
    }
}
