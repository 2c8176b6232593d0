//! The errors of an event stream.

use std::fmt;

/// Why an event stream cannot be decoded. The decoder returns the same error on every later call, since events after a
/// broken one have no known position.
///
/// Messages never contain the stream's data, so that they can be logged.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SseError {
    /// One event, or one line without an end, is larger than the limit.
    EventTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// An event got another name after some of its data had been taken.
    LateName,
    /// The data events since the last control event are larger in total than the limit.
    TooMuchWithoutControl {
        /// The limit in bytes.
        limit: usize,
    },
    /// A `data` event of a base64 response is not standard, padded base64.
    Base64 {
        /// What is wrong with it, and where, for humans.
        reason: String,
    },
    /// A `control` event is not the JSON object that the protocol prescribes.
    Control {
        /// What is wrong with it, for humans.
        reason: String,
    },
    /// The response has an unknown `stream-sse-data-encoding`.
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
                "SSE event is larger than the limit of {limit} bytes (max_message_bytes)"
            ),
            Self::LateName => write!(f, "an SSE data event got another name after its data"),
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
