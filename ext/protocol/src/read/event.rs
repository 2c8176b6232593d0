//! What a read hands to the application.

use super::cursor::{Position, Progress};
use super::payload::Part;
use crate::retry::outage::OutageEvent;

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
    /// The position of a live read that began at `now`. There is no data; a later session can continue from it.
    Position(Position),
    /// An outage of a live read begins or ends. For the log.
    Outage(OutageEvent),
}
