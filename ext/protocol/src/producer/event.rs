//! What a producer has to tell its owner.

use bytes::Bytes;

use super::batch::{Body, BodyKind};
use crate::error::Error;

/// Something to tell, in the order in which it came to be.
#[derive(Debug)]
pub enum ProducerEvent {
    /// A batch is in the stream. Deliveries come in append order and without a hole (but for a failure: a server that
    /// accepts a batch and refuses the one before it leaves one, which `Failed` names).
    Delivered(Delivery),
    /// The batch whose delivery comes next may be another's: the server said that it has it, in an epoch that
    /// an earlier run or another live producer may use too.
    Assumed {
        /// The token of its first message.
        first: u64,
        /// How many messages it has; none if it only closes the stream.
        count: u64,
        /// The epoch.
        epoch: u64,
        /// Whether an equal batch is in the stream, stored since the tail was last known: this one, which something on the
        /// way has sent twice, or another producer's. If not, the stream could not be read.
        found: bool,
    },
    /// There is room again after `append` said [`AppendError::Full`](super::AppendError::Full): whoever waits tries again.
    Room,
    /// The id was taken back: what was not acknowledged goes out under the new epoch.
    Claimed {
        /// The epoch that was fenced.
        from: u64,
        /// The epoch in use from now on.
        to: u64,
    },
    /// The stream is closed at the request of this producer.
    StreamClosed {
        /// The end of the stream, where the server told.
        final_offset: Option<String>,
    },
    /// All is delivered and the producer is at its end. Nothing comes after this.
    Closed,
    /// The producer is at its end and not all was delivered. Nothing comes after this.
    Failed {
        /// Why.
        failure: ProducerFailure,
        /// Every message that was accepted and not delivered.
        undelivered: Undelivered,
    },
}

/// One batch that is in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The token of its first message; the others follow it.
    pub first: u64,
    /// How many messages it has. 0 for a request that only closes the stream.
    pub count: u64,
    /// The position after it. Servers leave it out of answers to duplicates, and there is none where the answer was
    /// lost and a later one proved the delivery.
    pub next_offset: Option<String>,
    /// Whether the answer was for data that the server had already: an earlier answer was lost, or (in the first
    /// epoch, with `attempts` 1) somebody used this number before.
    pub duplicate: bool,
    /// The epoch and the number under which it landed.
    pub epoch: u64,
    /// See `epoch`.
    pub seq: u64,
    /// How many requests it took in this epoch.
    pub attempts: u32,
}

/// Why a producer accepts nothing more.
#[derive(Clone, Debug)]
pub enum ProducerFailure {
    /// What the decisive request came to: what its response means, or why there was none.
    Request(Error),
    /// The id belongs to another producer, which no response has said in so many words.
    StaleEpoch {
        /// The epoch that holds the id, as far as is known.
        current_epoch: u64,
    },
    /// The epoch was used before, under the same id: the server takes what is sent in it for a repetition, and it was not
    /// to be replaced by a new one.
    EpochReused {
        /// The epoch.
        epoch: u64,
    },
    /// 2^53 - 1 was used up: the epoch has no more numbers.
    NumbersExhausted,
    /// The owner gave up waiting.
    Aborted,
}

/// Whether an undelivered message is in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// It is not, and will not be.
    NotDelivered,
    /// Nobody can tell: a request with it went out, and its answer never came.
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
}

/// One message that was not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UndeliveredMessage {
    /// What `append` called it.
    pub token: u64,
    /// What was appended, sharing the memory of its batch.
    pub data: Bytes,
    /// What is known of it.
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

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.batches.iter().map(|batch| batch.body.len()).sum()
    }

    /// Whether all was delivered that was accepted (the failure hit a request without messages, or came before any).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether any message's outcome is unknown.
    pub fn any_unknown(&self) -> bool {
        self.batches
            .iter()
            .any(|batch| batch.outcome == DeliveryOutcome::Unknown && batch.body.len() > 0)
    }
}
