//! [`ProducerEvent`]: what a producer reports to its owner.

use std::time::Instant;

use bytes::Bytes;

use super::batch::{Body, BodyKind};
use crate::error::Error;
use crate::retry::outage::OutageEvent;
use crate::retry::so_far::FailedTry;

/// A report to the owner. Events come in the order in which they happened.
#[derive(Debug)]
pub enum ProducerEvent {
    /// A batch is in the stream. Deliveries come in append order and without gaps. The exception is a server that
    /// accepts a batch and rejects an earlier one; `Failed` then lists the missing messages.
    Delivered(Delivery),
    /// The next `Delivered` may be wrong. The server says that it has the batch, but an earlier run or another producer
    /// may use the same epoch and have stored another batch.
    Assumed {
        /// The token of its first message.
        first: u64,
        /// The number of its messages. 0 if it only closes the stream.
        count: u64,
        /// The epoch.
        epoch: u64,
        /// Whether an equal batch was found in the stream. It is this one, sent twice by an intermediary, or another
        /// producer's. If false, the stream could not be read.
        found: bool,
    },
    /// There is room again after [`AppendError::Full`](super::AppendError::Full). Waiting callers should try again.
    Room,
    /// The producer has claimed a new epoch. It sends all unacknowledged batches again in that epoch.
    Claimed {
        /// The epoch before.
        from: u64,
        /// The new epoch.
        to: u64,
    },
    /// A failed try is followed by another one, after a pause.
    Retry(FailedTry),
    /// An outage begins or ends. For the log.
    Outage(OutageEvent),
    /// The producer has closed the stream.
    StreamClosed {
        /// The offset where the stream ends, if the server reported it.
        final_offset: Option<String>,
    },
    /// The producer has ended and delivered everything. No event follows.
    Closed,
    /// The producer has failed. No event follows.
    Failed {
        /// The reason.
        failure: ProducerFailure,
        /// All messages that were accepted and not delivered.
        undelivered: Undelivered,
    },
}

/// A batch that is in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The token of its first message. The tokens of the others follow.
    pub first: u64,
    /// The number of its messages. 0 if it only closes the stream.
    pub count: u64,
    /// The offset after the batch. There is none if the response to a duplicate did not have it, or if the response was
    /// lost and a later one proved the delivery.
    pub next_offset: Option<String>,
    /// Whether the server had the batch already when the request arrived. An earlier response was lost, or (in the
    /// first epoch, with `attempts` 1) another producer used this sequence number before.
    pub duplicate: bool,
    /// The epoch in which it was stored.
    pub epoch: u64,
    /// Its sequence number in that epoch.
    pub seq: u64,
    /// The number of requests for it in this epoch.
    pub attempts: u32,
    /// The size of its body.
    pub bytes: usize,
    /// When its first request was made, in any epoch.
    pub first_try: Option<Instant>,
}

/// Why a producer has failed.
#[derive(Clone, Debug)]
pub enum ProducerFailure {
    /// The error of the request that failed for good.
    Request(Error),
    /// Another producer uses the id. No response with a newer epoch said so; the producer concluded it.
    StaleEpoch {
        /// The current epoch of the id, as far as it is known.
        current_epoch: u64,
    },
    /// The epoch was used before under the same id, so the server regards new batches as duplicates. `auto_claim` is
    /// off.
    EpochReused {
        /// The epoch.
        epoch: u64,
    },
    /// The epoch has no more sequence numbers: the last one was 2^53 - 1.
    NumbersExhausted,
    /// The owner called `abort`.
    Aborted,
}

/// Whether an undelivered message may be in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// It is not in the stream, and never will be.
    NotDelivered,
    /// Unknown: a request with it was sent, and no response proves its outcome.
    Unknown,
}

/// The messages that a failed producer did not deliver, in append order.
#[derive(Debug, Default)]
pub struct Undelivered {
    pub(super) batches: Vec<UndeliveredBatch>,
}

#[derive(Debug)]
pub(super) struct UndeliveredBatch {
    pub kind: BodyKind,
    pub first: u64,
    pub body: Body,
    pub outcome: DeliveryOutcome,
    /// Its requests, if there were any in this epoch.
    pub sent: Option<SentBatch>,
}

/// The requests of a batch that was not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentBatch {
    /// The number of its messages. 0 if it only closes the stream.
    pub count: u64,
    /// The size of its body.
    pub bytes: usize,
    /// Its sequence number.
    pub seq: u64,
    /// The number of requests for it in this epoch.
    pub attempts: u32,
    /// When its first request was made, in any epoch.
    pub first_try: Option<Instant>,
}

/// One message that was not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UndeliveredMessage {
    /// The token that `append` returned.
    pub token: u64,
    /// The message. It shares the memory of its batch.
    pub data: Bytes,
    /// Whether it may be in the stream.
    pub outcome: DeliveryOutcome,
}

impl Undelivered {
    /// The messages, in append order.
    pub fn messages(&self) -> impl Iterator<Item = UndeliveredMessage> + '_ {
        self.batches.iter().flat_map(|batch| {
            (0..batch.body.len()).filter_map(|index| {
                let data = batch.body.message(batch.kind, index)?;
                Some(UndeliveredMessage {
                    token: batch.first + index as u64,
                    data,
                    outcome: batch.outcome,
                })
            })
        })
    }

    /// The batches of which there were requests in this epoch.
    pub fn sent(&self) -> impl Iterator<Item = &SentBatch> {
        self.batches.iter().filter_map(|batch| batch.sent.as_ref())
    }

    /// The number of messages.
    pub fn len(&self) -> usize {
        self.batches.iter().map(|batch| batch.body.len()).sum()
    }

    /// Whether there are none: the failure concerned a request without messages, or no message was accepted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the outcome of any batch is unknown. A request that only closes the stream is a batch without messages.
    pub fn any_unknown(&self) -> bool {
        self.batches
            .iter()
            .any(|batch| batch.outcome == DeliveryOutcome::Unknown)
    }
}
