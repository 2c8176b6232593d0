//! What can be wrong with an event stream.

use std::fmt;

/// Why an event stream cannot be read on. The decoder that returned it returns it again for every further call: what
/// comes after a broken event has no known position.
///
/// Messages never hold the stream's data, so that they may be logged.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SseError {
    /// One event (or one endless line) is larger than the limit, in bytes.
    EventTooLarge {
        /// The limit that was passed, in bytes.
        limit: usize,
    },
    /// The data events without a control event after them are larger than the limit, in bytes, together.
    TooMuchWithoutControl {
        /// The limit that was passed, in bytes.
        limit: usize,
    },
    /// A `data` event of a base64 response is not standard, padded base64. The reason is for people.
    Base64 {
        /// What is wrong with it, and where.
        reason: String,
    },
    /// A `control` event is not the JSON object that the protocol prescribes. The reason is for people.
    Control {
        /// What is wrong with it.
        reason: String,
    },
    /// The response names a `stream-sse-data-encoding` that is not known.
    UnknownEncoding {
        /// The header's value.
        encoding: String,
    },
}

impl fmt::Display for SseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EventTooLarge { limit } => write!(
                f,
                "SSE event larger than the limit of {limit} bytes (max_message_bytes)"
            ),
            Self::TooMuchWithoutControl { limit } => write!(
                f,
                "SSE data events without a control event are larger than the limit of {limit} bytes (max_message_bytes)"
            ),
            Self::Base64 { reason } => write!(f, "malformed base64 in an SSE data event: {reason}"),
            Self::Control { reason } => write!(f, "malformed SSE control event: {reason}"),
            Self::UnknownEncoding { encoding } => {
                write!(f, "unknown SSE data encoding {encoding:?} (only \"base64\" is known)")
            }
        }
    }
}

impl std::error::Error for SseError {}
