//! What a producer looks up on the server, and what it knows from it.

use super::batch::Body;
use super::search::WantedBatch;

/// Something to look up on the server, apart from the requests that send batches. At most one is out at a time.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// Where the stream ends; the result is for [`ProducerMachine::handle_tail`](super::ProducerMachine::handle_tail).
    Tail {
        /// The batch that waits for it is about to be tried again, so one try is enough: if it fails, the batch's may too.
        once: bool,
    },
    /// Whether this batch is in the stream, which is to be read from the offset on to its end; the result is for
    /// [`ProducerMachine::handle_search_result`](super::ProducerMachine::handle_search_result).
    Batch {
        /// Where to begin.
        from: String,
        /// What to look for.
        wanted: WantedBatch,
    },
}

/// What is known of where the stream ended.
#[derive(Debug, Default)]
pub(super) enum TailState {
    #[default]
    NotRequested,
    /// It was asked for in vain, and so was the batch tried: it is asked for again before the next try.
    ToRequestAgain,
    Requested,
    Known(KnownTail),
    /// It was asked for in vain.
    Unknown,
}

/// Where the stream ended once, and what this producer has stored behind that place since.
#[derive(Debug)]
pub(super) struct KnownTail {
    pub offset: String,
    pub since: Vec<Body>,
}

impl TailState {
    pub fn at(offset: String) -> TailState {
        TailState::Known(KnownTail {
            offset,
            since: Vec::new(),
        })
    }

    /// Whether there is no point in waiting for it.
    pub fn is_settled(&self) -> bool {
        matches!(self, TailState::Known(_) | TailState::Unknown)
    }
}
