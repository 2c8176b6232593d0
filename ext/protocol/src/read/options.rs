//! The options and settings of a read.

use std::time::Duration;

use super::cursor::{Live, Position};
use super::payload::Format;
use crate::protocol::Media;
use crate::retry::policy::RetryPolicy;

/// What the caller of a read chose.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// What happens once the read has caught up.
    pub live: Live,
    /// Where the read starts.
    pub position: Position,
    /// Whether it hands out items or bytes.
    pub format: Format,
    /// The stream's content type, if it is known.
    pub media: Option<Media>,
    /// Sends `Cache-Control: no-cache` and a random cursor, so that no cache on the way responds. Not for a live read,
    /// whose cursors come from the server.
    pub no_cache: bool,
    /// The retry policy of this read. `None`: the client's.
    pub retry: Option<RetryPolicy>,
    /// Whether a live read retries without limit after its first success, also with a retry policy that somebody chose.
    pub patient: bool,
    /// The read fails once its response bodies are larger than this in total.
    pub max_bytes: usize,
    /// Whether an earlier session of the same read has succeeded, so that this one may be patient from the beginning.
    pub has_succeeded: bool,
}

/// The settings that a read takes from its client.
#[derive(Clone, Debug)]
pub struct ReadConfig {
    /// The stream's URL without secrets, for error messages.
    pub url: String,
    /// When a failed request is retried.
    pub retry: RetryPolicy,
    /// Whether a live read retries without limit after its first success. Nobody has chosen a retry policy then.
    pub patient: bool,
    /// The largest size of one item or of one SSE event's data.
    pub max_message_bytes: usize,
    /// How long a live response may bring no bytes before the read reconnects.
    pub live_timeout: Duration,
    /// Whether value callables give new headers and parameters on each try, so that a 401 or 403 is retried once.
    pub fresh_values: bool,
}
