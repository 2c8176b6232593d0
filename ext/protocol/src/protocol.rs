//! The protocol's header names and special offsets, and how to read headers and content types.

use std::fmt;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName};

/// Where the next read starts. Applications save it as a checkpoint.
pub const STREAM_NEXT_OFFSET: HeaderName = HeaderName::from_static("stream-next-offset");
/// `true` if the response reaches the stream's present tail.
pub const STREAM_UP_TO_DATE: HeaderName = HeaderName::from_static("stream-up-to-date");
/// An opaque value that live reads send back, so that CDNs can collapse requests.
pub const STREAM_CURSOR: HeaderName = HeaderName::from_static("stream-cursor");
/// The sliding time to live, in whole seconds.
pub const STREAM_TTL: HeaderName = HeaderName::from_static("stream-ttl");
/// The absolute expiry (RFC 3339).
pub const STREAM_EXPIRES_AT: HeaderName = HeaderName::from_static("stream-expires-at");
/// The writer's own sequence. It increases strictly, compared byte by byte.
pub const STREAM_SEQ: HeaderName = HeaderName::from_static("stream-seq");
/// On a request: close the stream. On a response: the stream is closed. On a read's response: this is also its end.
pub const STREAM_CLOSED: HeaderName = HeaderName::from_static("stream-closed");
/// The source of a fork, as a path on the same server.
pub const STREAM_FORKED_FROM: HeaderName = HeaderName::from_static("stream-forked-from");
/// Where in its source a fork begins.
pub const STREAM_FORK_OFFSET: HeaderName = HeaderName::from_static("stream-fork-offset");
/// Messages (or bytes) past the fork offset.
pub const STREAM_FORK_SUB_OFFSET: HeaderName = HeaderName::from_static("stream-fork-sub-offset");
/// The encoding of SSE data events: `base64`.
pub const SSE_DATA_ENCODING: HeaderName = HeaderName::from_static("stream-sse-data-encoding");
/// The content type of SSE data events, where it is not the stream's.
pub const DATA_CONTENT_TYPE: HeaderName = HeaderName::from_static("stream-data-content-type");
/// An idempotent producer's id.
pub const PRODUCER_ID: HeaderName = HeaderName::from_static("producer-id");
/// An idempotent producer's epoch.
pub const PRODUCER_EPOCH: HeaderName = HeaderName::from_static("producer-epoch");
/// The sequence number of a producer's request within its epoch.
pub const PRODUCER_SEQ: HeaderName = HeaderName::from_static("producer-seq");
/// After a gap: the sequence number that the server expects.
pub const PRODUCER_EXPECTED_SEQ: HeaderName = HeaderName::from_static("producer-expected-seq");
/// After a gap: the sequence number that the server received.
pub const PRODUCER_RECEIVED_SEQ: HeaderName = HeaderName::from_static("producer-received-seq");
/// More about a response to a producer, such as `receipt-evicted`. Some servers send it.
pub const PRODUCER_OUTCOME: HeaderName = HeaderName::from_static("producer-outcome");

/// The start of every stream.
pub const START: &str = "-1";
/// A stream's present tail.
pub const NOW: &str = "now";

const JSON: &str = "application/json";
const JSON_LINES: &str = "application/x-ndjson";
const TEXT: &str = "text/";

/// A content type without its parameters, in lower case.
pub(crate) fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase()
}

/// Whether data of this content type is text.
pub fn is_text(content_type: &str) -> bool {
    essence(content_type).starts_with(TEXT)
}

/// Whether SSE events carry data of this content type unencoded. Other data is sent as base64.
pub fn is_plain_in_events(content_type: &str) -> bool {
    let essence = essence(content_type);
    essence == JSON || essence.starts_with(TEXT)
}

/// The kinds of content type that a reader distinguishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// `application/json`: a stream of messages.
    Json,
    /// `application/*+json`: servers store it as bytes, so one response may have several JSON values.
    JsonSequence,
    /// `application/x-ndjson`: the form in which some servers return the messages of a JSON stream.
    JsonLines,
    /// `text/*`.
    Text,
    /// Everything else.
    Bytes,
}

impl Media {
    /// The kind of `content_type`. Parameters and case do not matter.
    pub fn of(content_type: &str) -> Self {
        let essence = essence(content_type);
        if essence == JSON {
            Self::Json
        } else if essence == JSON_LINES {
            Self::JsonLines
        } else if essence.ends_with("+json") {
            Self::JsonSequence
        } else if essence.starts_with(TEXT) {
            Self::Text
        } else {
            Self::Bytes
        }
    }

    /// Whether a stream of this content type has items instead of bytes. Not one of lines: servers store it as bytes.
    pub fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::JsonSequence)
    }
}

/// A header's value as text; `None` if it is missing or not text.
pub fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether a header's value is `true`.
pub fn flag(headers: &HeaderMap, name: &HeaderName) -> bool {
    text(headers, name).is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
}

/// A header's value as a number; `None` if it is missing or not a number.
pub fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    text(headers, name).and_then(|value| value.trim().parse().ok())
}

/// Whether a response has a header that only a Durable Streams server sends, and only to a producer.
pub(crate) fn is_for_producer(headers: &HeaderMap) -> bool {
    [PRODUCER_EPOCH, PRODUCER_SEQ, PRODUCER_OUTCOME]
        .iter()
        .any(|name| headers.contains_key(name))
}

/// The largest size of an offset or a cursor. Both are percent-encoded in the URL of the next request, and a URL has 64
/// KiB at most.
const MAX_POSITION_BYTES: usize = 8 * 1024;

/// Why a response has no usable position for the next read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PositionError {
    /// It has no `Stream-Next-Offset`.
    Missing {
        /// Whether it is a web page.
        html: bool,
    },
    /// The named field has characters that cannot be sent back.
    NotText(&'static str),
    /// The named field is too long to be sent back.
    TooLong(&'static str),
}

impl fmt::Display for PositionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { html } => {
                let page = if *html { "is HTML and " } else { "" };
                write!(
                    f,
                    "the response {page}has no Stream-Next-Offset: this does not look like a Durable Streams server"
                )
            }
            Self::NotText(field) => {
                write!(f, "the server's {field} has characters that cannot be sent back to it")
            }
            Self::TooLong(field) => {
                write!(
                    f,
                    "the server's {field} has more than {MAX_POSITION_BYTES} bytes, which cannot be sent back to it"
                )
            }
        }
    }
}

/// How a response is encoded, if it cannot be decoded. The header of one that was decoded has been removed. Some servers
/// send `none`, so that a proxy does not compress an event stream.
pub fn unknown_coding(headers: &HeaderMap) -> Option<&str> {
    let is_plain = |coding: &str| ["", "identity", "none"].contains(&coding.to_ascii_lowercase().as_str());
    text(headers, &CONTENT_ENCODING).filter(|coding| !is_plain(coding))
}

/// Whether a response is a web page.
pub fn is_html(headers: &HeaderMap) -> bool {
    text(headers, &CONTENT_TYPE).is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with("text/html"))
}

/// The `Stream-Next-Offset` of a response.
///
/// # Errors
/// If it is missing or cannot be sent back. Every successful response has one, except to a DELETE, to a read by SSE and
/// to a duplicate producer request.
pub fn next_offset(headers: &HeaderMap) -> Result<&str, PositionError> {
    const NAME: &str = "Stream-Next-Offset";
    let value = headers.get(STREAM_NEXT_OFFSET).filter(|value| !value.is_empty());
    let value = value.ok_or_else(|| PositionError::Missing { html: is_html(headers) })?;
    let offset = value.to_str().map_err(|_| PositionError::NotText(NAME))?;
    check_position_size(offset, NAME).map(|()| offset)
}

/// Checks the size of an offset or cursor, which the server sent in `field`.
///
/// # Errors
/// If it is too long to be sent back.
pub fn check_position_size(value: &str, field: &'static str) -> Result<(), PositionError> {
    match value.len() <= MAX_POSITION_BYTES {
        true => Ok(()),
        false => Err(PositionError::TooLong(field)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::HeaderValue;

    fn offset(bytes: &[u8]) -> HeaderMap {
        HeaderMap::from_iter([(STREAM_NEXT_OFFSET, HeaderValue::from_bytes(bytes).unwrap())])
    }

    #[test]
    fn accepts_only_offsets_that_can_be_sent_back() {
        assert_eq!(next_offset(&offset(b"1_2")), Ok("1_2"));
        assert_eq!(next_offset(&offset(b"")), Err(PositionError::Missing { html: false }));
        assert_eq!(
            next_offset(&offset("\u{e9}".as_bytes())),
            Err(PositionError::NotText("Stream-Next-Offset"))
        );
        assert_eq!(
            next_offset(&offset(&[b'1'; MAX_POSITION_BYTES])).map(str::len),
            Ok(MAX_POSITION_BYTES)
        );
        assert_eq!(
            next_offset(&offset(&[b'1'; MAX_POSITION_BYTES + 1])),
            Err(PositionError::TooLong("Stream-Next-Offset"))
        );
        let page = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("Text/HTML; charset=utf-8"))]);
        assert_eq!(next_offset(&page), Err(PositionError::Missing { html: true }));
    }

    #[test]
    fn ignores_the_case_and_parameters_of_a_content_type() {
        assert_eq!(Media::of("Application/JSON; charset=utf-8"), Media::Json);
        assert_eq!(Media::of("application/vnd.x+json"), Media::JsonSequence);
        assert_eq!(Media::of("application/X-NDJSON"), Media::JsonLines);
        assert_eq!(Media::of(" text/plain"), Media::Text);
        assert_eq!(Media::of("application/octet-stream"), Media::Bytes);
        assert_eq!(Media::of(""), Media::Bytes);
    }
}
