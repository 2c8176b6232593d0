//! [`Lookup`] is what the producer has to read from the server. [`TailState`] is what it knows about the end of the
//! stream.

use super::batch::Body;
use super::search::WantedBatch;

/// Something to read from the server. At most one lookup is in flight.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// The end of the stream. Pass the result to [`ProducerMachine::handle_tail`](super::ProducerMachine::handle_tail).
    Tail {
        /// Whether to try only once. The batch that waits for the result is retried afterwards in any case.
        once: bool,
    },
    /// Whether a batch is in the stream, between an offset and the end. Pass the result to
    /// [`ProducerMachine::handle_search_result`](super::ProducerMachine::handle_search_result).
    Batch {
        /// The offset to read from.
        from: String,
        /// The batch to search for.
        wanted: WantedBatch,
    },
}

/// What is known about the end of the stream.
#[derive(Debug, Default)]
pub(super) enum TailState {
    #[default]
    NotRequested,
    /// The lookup failed, and so did a try of the batch. Look up again before the next try.
    ToRequestAgain,
    Requested,
    Known(KnownTail),
    /// The lookup failed.
    Unknown,
}

/// An offset where the stream ended once, and the bodies that this producer has stored after it.
#[derive(Debug)]
pub(super) struct KnownTail {
    pub offset: String,
    pub stored_since: Vec<Body>,
}

impl TailState {
    pub(super) fn at(offset: String) -> Self {
        Self::Known(KnownTail {
            offset,
            stored_since: Vec::new(),
        })
    }

    /// Whether no lookup is needed or pending.
    pub(super) fn is_settled(&self) -> bool {
        matches!(self, Self::Known(_) | Self::Unknown)
    }
}
