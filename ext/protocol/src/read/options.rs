//! What a read is made with.

use std::fmt;
use std::time::Duration;

use super::cursor::{Live, Position};
use super::payload::Format;
use crate::protocol::Media;
use crate::retry::policy::RetryPolicy;

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
    /// Whether caches on the way have to ask the server first.
    pub no_cache: bool,
    /// The read fails when the bodies of its responses are longer together, whatever is in them.
    pub max_bytes: usize,
}

/// The settings of a read, which come from its client.
#[derive(Clone, Debug)]
pub struct ReadConfig {
    /// The stream's URL as messages show it.
    pub url: String,
    /// How failed requests are repeated.
    pub retry: RetryPolicy,
    /// The largest item, or data of an event, in bytes.
    pub max_message_bytes: usize,
    /// How long a live response may bring nothing before the connection is replaced.
    pub live_timeout: Duration,
    /// Whether another try has fresh headers and parameters, so that a 401 or 403 is worth one.
    pub fresh_values: bool,
}

/// Where the jitter of delays comes from: a number between 0 and 1 at each call.
pub struct ReadJitter(pub Box<dyn FnMut() -> f64 + Send>);

impl fmt::Debug for ReadJitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReadJitter")
    }
}
