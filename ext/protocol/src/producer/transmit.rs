//! [`Transmit`]: a request to send. [`SentRequest`]: what the machine remembers of it.

use bytes::Bytes;

/// Identifies a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransmitId(pub(super) u64);

/// A request to send: a POST with the producer's headers and this body.
#[derive(Clone, Debug)]
pub struct Transmit {
    /// The id for reporting its end.
    pub id: TransmitId,
    /// `Producer-Epoch`.
    pub epoch: u64,
    /// `Producer-Seq`.
    pub seq: u64,
    /// The body. Empty only if `closes` is set.
    pub body: Bytes,
    /// Whether to send `Stream-Closed: true`.
    pub closes: bool,
    /// How many requests for this batch there are in this epoch, with this one.
    pub attempt: u32,
}

/// A request in flight.
#[derive(Debug)]
pub(super) struct SentRequest {
    /// The position of its batch, counted from 0 over the producer's lifetime.
    pub position: u64,
    /// The sequence number.
    pub seq: u64,
    /// The lowest unacknowledged sequence number when it was sent. The server had all lower ones at that time.
    pub floor: u64,
}
