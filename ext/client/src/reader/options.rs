//! What a read is asked for.

use durable_streams_protocol::protocol::Media;
use durable_streams_protocol::read::cursor::{Live, Position};
use durable_streams_protocol::read::payload::Format;

/// What a read is asked for.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// How it goes on.
    pub live: Live,
    /// Where it starts.
    pub position: Position,
    /// What it hands out.
    pub format: Format,
    /// What the stream is known to hold.
    pub media: Option<Media>,
}
