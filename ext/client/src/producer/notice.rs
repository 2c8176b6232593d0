//! What a producer tells while it works, and the moments at which it had no room.

use durable_streams_protocol::producer::Delivery;

use super::error::ProducerError;

/// A moment at which there was no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceGeneration(pub(super) u64);

/// What a producer reports to its listener while it works.
#[derive(Debug)]
pub enum Notice {
    /// A batch is in the stream.
    Delivered(Delivery),
    /// The producer has failed.
    Failed(ProducerError),
}

/// Who is told. Called on the runtime's threads and under a lock: to be quick, and not to call the producer. Dropped
/// when the producer is at its end.
pub type NoticeListener = Box<dyn Fn(Notice) + Send + Sync>;
