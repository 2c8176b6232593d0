//! What a read hands out.

use super::cursor::{Position, Progress};
use super::payload::Part;

/// Something that a read hands out, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum ReadEvent {
    /// The response that begins here says that it brings so many bytes, of which some are left to hand out: these.
    Length(usize),
    /// Some of a response's content; there is more of it.
    Part(Part),
    /// The response's end, with the last of its content: what came since the last end is a batch.
    End(Option<Part>, Progress),
    /// Where a live read that began at `now` stands. It brings nothing, but lets a later session go on from there.
    Position(Position),
}
