//! What the end of a request means to a producer.

use std::time::Duration;

use super::event::ProducerFailure;
use crate::error::{Error, Kind};
use crate::meaning::retry_after;
use crate::protocol::{self, number};
use crate::request::{self, Context};

/// A response to one of a producer's requests: the parts of it that matter to the machine.
#[derive(Debug)]
pub struct BatchResponse {
    pub(super) next_offset: Option<String>,
    /// The highest number that the server has accepted in the epoch.
    pub(super) producer_seq: Option<u64>,
    /// What the server asks to wait, from now on.
    pub(super) retry_after: Option<Duration>,
    outcome: ResponseOutcome,
}

#[derive(Debug)]
enum ResponseOutcome {
    Accepted { duplicate: bool },
    Refused { error: Error, may_be_stored: bool },
}

/// What the end of a request means for the batch it belongs to.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It is in the stream.
    Stored { duplicate: bool },
    /// Its epoch is over.
    Fenced { current_epoch: u64, error: Error },
    /// Those before it were not in when the server saw it.
    Gap { expected: Option<u64>, error: Error },
    /// Worth another try.
    Retry {
        error: Error,
        retry_after: Option<Duration>,
        may_be_stored: bool,
    },
    /// There is no point in going on.
    Fatal {
        failure: ProducerFailure,
        may_be_stored: bool,
    },
}

impl BatchResponse {
    /// Reads a response to a request of the producer that `context` is about, with its retry policy.
    pub fn new(context: &Context<'_>, response: request::Response) -> BatchResponse {
        let headers = &response.headers;
        BatchResponse {
            next_offset: protocol::next_offset(headers).ok().map(str::to_owned),
            producer_seq: number(headers, &protocol::PRODUCER_SEQ),
            retry_after: retry_after(headers, context.now),
            outcome: match response.status.as_u16() {
                200 => ResponseOutcome::Accepted { duplicate: false },
                204 => ResponseOutcome::Accepted { duplicate: true },
                _ => ResponseOutcome::Refused {
                    may_be_stored: context.meaning(&response).may_be_stored,
                    error: context.error(response),
                },
            },
        }
    }

    /// What this answer to the request with number `seq` means.
    pub(super) fn verdict(&self, seq: u64) -> Verdict {
        let (error, may_be_stored) = match &self.outcome {
            ResponseOutcome::Accepted { duplicate } => return Verdict::Stored { duplicate: *duplicate },
            ResponseOutcome::Refused { error, may_be_stored } => (error.clone(), *may_be_stored),
        };
        match *error.kind() {
            Kind::StaleEpoch {
                current_epoch: Some(current_epoch),
            } => Verdict::Fenced { current_epoch, error },
            // With a higher number it is no gap: the server would have taken this number, or has it.
            Kind::SequenceGap { expected, .. } if expected.is_none_or(|expected| expected < seq) => {
                Verdict::Gap { expected, error }
            }
            _ if error.worth_another_try() => Verdict::Retry {
                error,
                retry_after: self.retry_after,
                may_be_stored,
            },
            _ => Verdict::Fatal {
                failure: ProducerFailure::Request(error),
                may_be_stored,
            },
        }
    }
}

/// What a request that ended without an answer means for its batch.
pub(super) fn without_response(failure: request::RequestFailure) -> Verdict {
    let again = |error, may_be_stored| Verdict::Retry {
        error,
        retry_after: None,
        may_be_stored,
    };
    match failure {
        request::RequestFailure::NotSent(error) => again(error, false),
        request::RequestFailure::ResponseLost(error) => again(error, true),
        request::RequestFailure::Final(error) => Verdict::Fatal {
            failure: ProducerFailure::Request(error),
            may_be_stored: false,
        },
    }
}
