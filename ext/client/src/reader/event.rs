//! What a read hands out.

use durable_streams_protocol::read::cursor::{Position, Progress};
use durable_streams_protocol::read::payload::Part;

/// What a read hands out.
#[derive(Debug)]
pub enum Event {
    /// The answer that begins here says that it brings so many bytes, of which some are left to hand out: these.
    Length(usize),
    /// Some of an answer's content; there is more of it.
    Part(Part),
    /// The answer's end, with the last of its content: what came since the last end is a batch.
    End(Option<Part>, Progress),
    /// Where a live read that began at `now` stands. It brings nothing, but lets a later session go on from there.
    Place(Position),
}
