//! What became of a request: the parts of an answer that matter to a producer, and what they mean.

use std::time::Duration;

use super::event::{Failure, LastTry};
use super::lost::Lost;

/// An answer to one request, read by the driver.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `Stream-Next-Offset`.
    pub next_offset: Option<String>,
    /// `Producer-Epoch`, where it is a number.
    pub producer_epoch: Option<u64>,
    /// `Producer-Seq`, where it is a number: the highest the server has accepted in the epoch.
    pub producer_seq: Option<u64>,
    /// `Producer-Expected-Seq`, where it is a number.
    pub expected_seq: Option<u64>,
    /// `Producer-Received-Seq`, where it is a number.
    pub received_seq: Option<u64>,
    /// Whether `Stream-Closed: true` came.
    pub stream_closed: bool,
    /// `Retry-After`, from now on.
    pub retry_after: Option<Duration>,
}

/// What an answer means for the batch it belongs to (protocol, "Idempotent producers" and "Telling the 409s apart").
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// It is in the stream.
    Landed { duplicate: bool },
    /// Its epoch is over.
    Fenced { current_epoch: u64 },
    /// Those before it were not in when the server saw it.
    Gap { expected: Option<u64> },
    /// No answer of substance: worth another try.
    Again {
        last: LastTry,
        asked: Option<Duration>,
        may_have_landed: bool,
    },
    /// There is no point in going on.
    Fatal { failure: Failure, may_have_landed: bool },
}

impl Answer {
    /// What this answer to the request with number `seq` means; `retryable` says whether its status is worth another
    /// try.
    pub(super) fn verdict(&self, seq: u64, retryable: impl Fn(u16) -> bool) -> Verdict {
        let refused = |failure| Verdict::Fatal {
            failure,
            may_have_landed: false,
        };
        match self.status {
            200 => Verdict::Landed { duplicate: false },
            204 => Verdict::Landed { duplicate: true },
            403 if self.producer_epoch.is_some() => Verdict::Fenced {
                current_epoch: self.producer_epoch.unwrap_or_default(),
            },
            409 if self.stream_closed => refused(Failure::StreamClosed {
                final_offset: self.next_offset.clone(),
            }),
            409 if self.expected_seq.is_some() || self.received_seq.is_some() => match self.expected_seq {
                // Not a gap: the server would have taken this number, or has it.
                Some(expected) if expected >= seq => refused(Failure::SequenceGap {
                    expected: Some(expected),
                    received: seq,
                }),
                expected => Verdict::Gap { expected },
            },
            status if retryable(status) => Verdict::Again {
                last: LastTry::Status(status),
                asked: self.retry_after,
                may_have_landed: may_follow_success(status),
            },
            409 => refused(Failure::ContentTypeMismatch),
            status => Verdict::Fatal {
                failure: Failure::Rejected { status },
                may_have_landed: may_follow_success(status),
            },
        }
    }
}

/// Whether the server may have taken a request answered so: any 2xx says it did, and a 5xx may be a gateway's.
fn may_follow_success(status: u16) -> bool {
    matches!(status, 200..=299 | 500..)
}

impl Lost {
    /// What a request that ended so means for its batch.
    pub(super) fn verdict(self) -> Verdict {
        Verdict::Again {
            last: LastTry::Lost(self),
            asked: None,
            may_have_landed: self != Lost::NotSent,
        }
    }
}
