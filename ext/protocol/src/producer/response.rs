//! The meaning of a request's end for its batch: [`BatchResponse`] and [`Verdict`]. The machine applies it in
//! `outcome`.

use std::time::Duration;

use crate::error::{Error, Kind};
use crate::meaning::retry_after;
use crate::protocol::{self, number};
use crate::request::{self, Context};

/// The parts of a response to a batch that the machine needs.
#[derive(Debug)]
pub struct BatchResponse {
    /// The offset after the batch. A server that has the batch may not remember it.
    pub(super) next_offset: Option<String>,
    /// The last sequence number that the server has accepted in the epoch.
    pub(super) producer_seq: Option<u64>,
    /// The delay that the server requested.
    pub(super) retry_after: Option<Duration>,
    outcome: ResponseOutcome,
}

#[derive(Debug)]
enum ResponseOutcome {
    Accepted { duplicate: bool },
    Rejected { error: Error, may_be_stored: bool },
}

/// The meaning of a request's end for its batch.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The batch is in the stream.
    Stored { duplicate: bool },
    /// The epoch of the batch is fenced by a newer one, or closed (then `current_epoch` is the same).
    Fenced { current_epoch: u64, error: Error },
    /// The server had not stored all earlier batches when the request arrived.
    Gap { expected: Option<u64>, error: Error },
    /// Send the batch again.
    Retry {
        error: Error,
        retry_after: Option<Duration>,
        may_be_stored: bool,
    },
    /// Fail the producer.
    Fatal { error: Error, may_be_stored: bool },
}

impl BatchResponse {
    /// Reads a response to a batch. `context` is the producer's, with its retry policy.
    pub fn new(context: &Context<'_>, response: request::Response) -> Self {
        let headers = &response.headers;
        let next_offset = protocol::next_offset(headers);
        // A success that says nothing of the stream or the producer is from another server, such as a gateway. A server
        // need not remember the offset after a batch that it has stored before.
        let unusable = next_offset.err().filter(|_| !protocol::is_for_producer(headers));
        Self {
            next_offset: next_offset.ok().map(str::to_owned),
            producer_seq: number(headers, &protocol::PRODUCER_SEQ),
            retry_after: retry_after(headers, context.now),
            outcome: match (response.status.as_u16(), unusable) {
                (200 | 204, Some(reason)) => ResponseOutcome::Rejected {
                    may_be_stored: true,
                    error: context.unusable(&response, reason),
                },
                (200, None) => ResponseOutcome::Accepted { duplicate: false },
                (204, None) => ResponseOutcome::Accepted { duplicate: true },
                _ => ResponseOutcome::Rejected {
                    may_be_stored: context.meaning(&response).may_be_stored,
                    error: context.error(response),
                },
            },
        }
    }

    /// The meaning of this response for the batch with the sequence number `seq`.
    pub(super) fn verdict(&self, seq: u64) -> Verdict {
        let (error, may_be_stored) = match &self.outcome {
            ResponseOutcome::Accepted { duplicate } => return Verdict::Stored { duplicate: *duplicate },
            ResponseOutcome::Rejected { error, may_be_stored } => (error.clone(), *may_be_stored),
        };
        match *error.kind() {
            Kind::StaleEpoch {
                current_epoch: Some(current_epoch),
            } => Verdict::Fenced { current_epoch, error },
            // If the server expects `seq` or a higher number, there is no gap: it should have accepted this batch.
            Kind::SequenceGap { expected, .. } if expected.is_none_or(|expected| expected < seq) => {
                Verdict::Gap { expected, error }
            }
            _ if error.worth_another_try() => Verdict::Retry {
                error,
                retry_after: self.retry_after,
                may_be_stored,
            },
            _ => Verdict::Fatal { error, may_be_stored },
        }
    }
}

/// The meaning of a request without a response for its batch.
pub(super) fn without_response(failure: request::RequestFailure) -> Verdict {
    let retry = |error, may_be_stored| Verdict::Retry {
        error,
        retry_after: None,
        may_be_stored,
    };
    match failure {
        request::RequestFailure::NotSent(error) => retry(error, false),
        request::RequestFailure::ResponseLost(error) => retry(error, true),
        request::RequestFailure::Final(error) => Verdict::Fatal {
            error,
            may_be_stored: false,
        },
    }
}
