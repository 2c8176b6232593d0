//! What a read hands to the application.

use super::cursor::{Mode, Progress};
use super::payload::Part;
use crate::retry::outage::OutageEvent;
use crate::retry::so_far::FailedTry;

/// One thing that a read hands to the application. Events come in the stream's order.
#[derive(Clone, Debug, PartialEq)]
pub enum ReadEvent {
    /// A response begins, and this many of its bytes will follow.
    Length(usize),
    /// Some of a response's content. More of the response follows.
    Part(Part),
    /// A response (or an SSE control event) ends, perhaps with the last of its content. All parts since the previous
    /// end are one batch. A response that ends inside a record usually has no end event: the next one continues its
    /// batch.
    End(Option<Part>, Progress),
    /// A failed try is followed by another one, after a pause.
    Retry(FailedTry),
    /// An outage of a live read begins or ends.
    Outage(ReadOutage),
}

/// The beginning or the end of an outage of a live read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOutage {
    /// What happened.
    pub event: OutageEvent,
    /// The kind of the request that failed, or succeeded again.
    pub mode: Mode,
    /// The offset from which the read continues.
    pub offset: String,
}
