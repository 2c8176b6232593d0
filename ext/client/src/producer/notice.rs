//! The notices that a producer sends to its listener, and its count of free buffer space.

use durable_streams_protocol::producer::Delivery;

use super::error::ProducerError;

/// How often buffer space had become free when an append found the buffer full. A wait that gets it ends when space
/// becomes free again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceGeneration(pub(super) u64);

/// A notice for a producer's listener.
#[derive(Debug)]
pub enum Notice {
    /// A batch was delivered.
    Delivered(Delivery),
    /// The producer has failed.
    Failed(ProducerError),
}

/// Gets a producer's notices. It is called on the runtime's threads and under a lock, so it must be quick and must not
/// call the producer. It is dropped when the producer ends.
pub type NoticeListener = Box<dyn Fn(Notice) + Send + Sync>;
