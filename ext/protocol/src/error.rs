//! What can go wrong, said once: every failure of an operation is one `Error` with its kind, the operation, the URL
//! (without credentials) and what the server answered.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderMap, RETRY_AFTER};

use crate::protocol::{self, Unusable};

/// The result of whatever can fail here.
pub type Result<T> = std::result::Result<T, Error>;

/// What was being done; it begins an error's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// PUT
    Create,
    /// HEAD
    Head,
    /// HEAD on the way to something else, which is what the caller called: so is it named.
    HeadFor(Purpose),
    /// POST
    Append,
    /// POST with `Stream-Seq`
    AppendWithSeq,
    /// POST with `Stream-Closed`
    Close,
    /// DELETE
    Delete,
    /// GET
    Read,
    /// POST with producer headers
    Produce,
}

impl Operation {
    /// Whether it may change the stream.
    pub fn writes(self) -> bool {
        !matches!(self, Operation::Head | Operation::HeadFor(_) | Operation::Read)
    }
}

/// What a stream is looked up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To have a handle that knows it.
    Connect,
    /// To append.
    Append,
    /// To close it.
    Close,
    /// To read.
    Read,
    /// To start a producer.
    Produce,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::Create => "create",
            Operation::Head => "head",
            Operation::HeadFor(Purpose::Connect) => "connect to",
            Operation::Append | Operation::AppendWithSeq | Operation::HeadFor(Purpose::Append) => "append to",
            Operation::Close | Operation::HeadFor(Purpose::Close) => "close",
            Operation::Delete => "delete",
            Operation::Read | Operation::HeadFor(Purpose::Read) => "read",
            Operation::Produce | Operation::HeadFor(Purpose::Produce) => "produce to",
        })
    }
}

/// What an error is about.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// What was being done.
    pub operation: Operation,
    /// The stream's URL as messages show it: without credentials.
    pub url: &'a str,
}

impl About<'_> {
    /// A failure that no answer is behind.
    pub fn error(self, kind: Kind, reason: impl fmt::Display) -> Error {
        Error::new(kind, self.operation, self.url, reason)
    }
}

/// What kind of failure it is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// 400
    BadRequest,
    /// 401
    Unauthorized,
    /// 403
    Forbidden,
    /// 403 for a producer: a newer epoch holds its id.
    StaleEpoch {
        /// The epoch that holds it.
        current_epoch: Option<u64>,
    },
    /// A producer's epoch was used before, under the same id.
    EpochReused {
        /// The epoch.
        epoch: u64,
    },
    /// 404
    NotFound,
    /// 410
    Gone,
    /// 409 on create
    Exists,
    /// 409 with `Stream-Closed`
    StreamClosed {
        /// Where the stream ended.
        final_offset: Option<String>,
    },
    /// 409 on `Stream-Seq`
    SeqConflict,
    /// 409 on another content type
    ContentTypeMismatch,
    /// 409 on a producer's number
    SequenceGap {
        /// What the server waits for.
        expected: Option<u64>,
        /// What it got.
        received: Option<u64>,
    },
    /// 413
    PayloadTooLarge,
    /// 429
    RateLimited {
        /// What the server asked to wait.
        retry_after: Option<Duration>,
    },
    /// Any other status, or an answer that makes no sense.
    Status,
    /// No connection, or it was lost.
    Connection,
    /// The time limit passed.
    Timeout,
    /// Malformed JSON, SSE or base64.
    Parse,
    /// The client (or reader, or producer) is closed.
    Closed,
    /// Whoever the application was asked through waits no more; others may wait for the same, and be asked.
    Left,
    /// This content type cannot be read by SSE.
    SseNotSupported,
    /// An argument that cannot be used.
    Argument,
    /// A mistake in this library (a panic), caught.
    Internal,
    /// A value that the application was asked for could not be had; it holds what the application said.
    Application(Arc<dyn Any + Send + Sync>),
}

/// A failure.
#[derive(Clone, Debug)]
pub struct Error(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    kind: Kind,
    message: String,
    url: String,
    status: Option<StatusCode>,
    headers: HeaderMap,
    body: Bytes,
    outcome_unknown: bool,
    worth_another_try: bool,
}

impl Error {
    /// A failure that no answer is behind.
    pub fn new(kind: Kind, operation: Operation, url: &str, reason: impl fmt::Display) -> Error {
        let message = format!("{operation} {url}: {reason}");
        Error::plain(kind, message).at(url)
    }

    /// A failure outside any operation.
    pub fn plain(kind: Kind, message: String) -> Error {
        Error(Box::new(Inner {
            kind,
            message,
            url: String::new(),
            status: None,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            outcome_unknown: false,
            worth_another_try: false,
        }))
    }

    /// The failure that an answer means (protocol.md, "Telling the 409s apart"). A `Retry-After` that is a date counts from
    /// `now`.
    pub fn from_answer(
        operation: Operation,
        url: &str,
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
        now: SystemTime,
    ) -> Error {
        let (kind, reason) = meaning(operation, status, &headers, now);
        let mut message = format!("{operation} {url}: {reason} ({})", status.as_u16());
        if let Some(said) = excerpt(&body) {
            message.push_str(": ");
            message.push_str(&said);
        }
        Error(Box::new(Inner {
            kind,
            message,
            url: url.to_owned(),
            status: Some(status),
            headers,
            body,
            outcome_unknown: false,
            worth_another_try: false,
        }))
    }

    /// The failure that a success is which does not say where the next read starts.
    pub fn from_success(
        operation: Operation,
        url: &str,
        status: StatusCode,
        headers: &HeaderMap,
        why: Unusable,
    ) -> Error {
        let kind = match why {
            Unusable::Missing { .. } => Kind::Status,
            Unusable::NotText(_) | Unusable::TooLong(_) => Kind::Parse,
        };
        let mut error = Error::new(kind, operation, url, format!("{why} ({})", status.as_u16()));
        error.0.status = Some(status);
        error.0.headers = headers.clone();
        error
    }

    fn at(mut self, url: &str) -> Error {
        self.0.url = url.to_owned();
        self
    }

    /// Marks that the request may have had its effect all the same.
    #[must_use]
    pub fn with_unknown_outcome(mut self) -> Error {
        self.0.outcome_unknown = true;
        self.0
            .message
            .push_str(" (the outcome is unknown: it may or may not have been stored)");
        self
    }

    /// Notes whether the retry policy in force has such an answer as worth another try.
    #[must_use]
    pub fn worth_another_try_if(mut self, worth_it: bool) -> Error {
        self.0.worth_another_try = worth_it;
        self
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> &Kind {
        &self.0.kind
    }
    /// The message: the operation, the URL, the reason.
    pub fn message(&self) -> &str {
        &self.0.message
    }
    /// The stream's URL, without credentials; empty where none was concerned.
    pub fn url(&self) -> &str {
        &self.0.url
    }
    /// The answer's status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        self.0.status.map(|status| status.as_u16())
    }
    /// The answer's headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }
    /// The answer's body (its first 64 KiB).
    pub fn body(&self) -> &Bytes {
        &self.0.body
    }
    /// Whether the request may have had its effect all the same.
    pub fn outcome_unknown(&self) -> bool {
        self.0.outcome_unknown
    }

    /// Whether it is an answer that the retry policy in force has as worth another try.
    pub fn worth_another_try(&self) -> bool {
        self.0.worth_another_try
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {}

/// What a response means of whose request no more is known than that it was for a stream: with what its headers say of
/// the request.
pub fn kind_of(status: u16, headers: &HeaderMap, now: SystemTime) -> Kind {
    let operation = match status {
        403 => Operation::Produce,
        409 if headers.contains_key(protocol::STREAM_SEQ) => Operation::AppendWithSeq,
        // Those conflicts that no header tells from others are taken for this one.
        409 if !names_its_conflict(headers) => Operation::Create,
        _ => Operation::Append,
    };
    StatusCode::from_u16(status).map_or(Kind::Status, |status| meaning(operation, status, headers, now).0)
}

fn names_its_conflict(headers: &HeaderMap) -> bool {
    let gap = [protocol::PRODUCER_EXPECTED_SEQ, protocol::PRODUCER_RECEIVED_SEQ];
    protocol::flag(headers, &protocol::STREAM_CLOSED)
        || gap.iter().any(|name| protocol::number(headers, name).is_some())
}

fn meaning(operation: Operation, status: StatusCode, headers: &HeaderMap, now: SystemTime) -> (Kind, &'static str) {
    match status.as_u16() {
        400 => (Kind::BadRequest, "bad request"),
        401 => (Kind::Unauthorized, "unauthorized"),
        403 if operation == Operation::Produce && headers.contains_key(protocol::PRODUCER_EPOCH) => {
            let current_epoch = protocol::number(headers, &protocol::PRODUCER_EPOCH);
            (
                Kind::StaleEpoch { current_epoch },
                "a newer epoch holds this producer id",
            )
        }
        403 => (Kind::Forbidden, "forbidden"),
        404 => (Kind::NotFound, "stream not found"),
        409 => conflict(operation, headers),
        410 => (Kind::Gone, "gone: the stream, or what lay at this offset, was deleted"),
        413 => (Kind::PayloadTooLarge, "payload too large"),
        429 => (
            Kind::RateLimited {
                retry_after: retry_after(headers, now),
            },
            "rate limited",
        ),
        _ => (Kind::Status, "unexpected status"),
    }
}

fn conflict(operation: Operation, headers: &HeaderMap) -> (Kind, &'static str) {
    if operation == Operation::Create {
        return (Kind::Exists, "stream already exists with another configuration");
    }
    if protocol::flag(headers, &protocol::STREAM_CLOSED) {
        let final_offset = protocol::text(headers, &protocol::STREAM_NEXT_OFFSET).map(str::to_owned);
        return (Kind::StreamClosed { final_offset }, "stream is closed");
    }
    let expected = protocol::number(headers, &protocol::PRODUCER_EXPECTED_SEQ);
    let received = protocol::number(headers, &protocol::PRODUCER_RECEIVED_SEQ);
    if expected.is_some() || received.is_some() {
        return (Kind::SequenceGap { expected, received }, "producer sequence gap");
    }
    match operation {
        Operation::AppendWithSeq => (
            Kind::SeqConflict,
            "sequence conflict: seq must be greater than the last one",
        ),
        Operation::Append | Operation::Close | Operation::Produce => {
            (Kind::ContentTypeMismatch, "content type differs from the stream's")
        }
        _ => (Kind::Status, "conflict"),
    }
}

/// What `Retry-After` asks for: whole seconds or an HTTP date, from `now` on.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = protocol::text(headers, &RETRY_AFTER)?.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// What the server said, short enough for a message: one line of readable text, or nothing.
fn excerpt(body: &Bytes) -> Option<String> {
    const LONGEST: usize = 200;
    let text = std::str::from_utf8(body).ok()?.trim();
    if text.is_empty() || text.starts_with('<') || text.contains(char::is_control) {
        return None;
    }
    let mut said: String = text.chars().take(LONGEST).collect();
    if said.len() < text.len() {
        said.push('…');
    }
    Some(said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{HeaderName, HeaderValue};

    fn kind(operation: Operation, status: u16, headers: &[(HeaderName, &'static str)]) -> Kind {
        let map = headers
            .iter()
            .map(|(n, v)| (n.clone(), HeaderValue::from_static(v)))
            .collect();
        let status = StatusCode::from_u16(status).unwrap();
        Error::from_answer(operation, "http://h/s", status, map, Bytes::new(), SystemTime::now())
            .kind()
            .clone()
    }

    #[test]
    fn the_headers_of_a_409_decide_its_kind() {
        let closed = [(protocol::STREAM_CLOSED, "true"), (protocol::STREAM_NEXT_OFFSET, "7")];
        assert!(
            matches!(kind(Operation::Append, 409, &closed), Kind::StreamClosed { final_offset: Some(o) } if o == "7")
        );
        assert!(matches!(kind(Operation::AppendWithSeq, 409, &[]), Kind::SeqConflict));
        assert!(matches!(kind(Operation::Append, 409, &[]), Kind::ContentTypeMismatch));
        assert!(matches!(kind(Operation::Create, 409, &[]), Kind::Exists));
        let gap = [
            (protocol::PRODUCER_EXPECTED_SEQ, "3"),
            (protocol::PRODUCER_RECEIVED_SEQ, "5"),
        ];
        let got = kind(Operation::Produce, 409, &gap);
        assert!(matches!(
            got,
            Kind::SequenceGap {
                expected: Some(3),
                received: Some(5)
            }
        ));
    }

    #[test]
    fn a_403_is_a_stale_epoch_only_for_a_producer() {
        let epoch = [(protocol::PRODUCER_EPOCH, "4")];
        assert!(matches!(
            kind(Operation::Produce, 403, &epoch),
            Kind::StaleEpoch { current_epoch: Some(4) }
        ));
        assert!(matches!(kind(Operation::Produce, 403, &[]), Kind::Forbidden));
        assert!(matches!(kind(Operation::Append, 403, &epoch), Kind::Forbidden));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let at = |value: &'static str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]);
            retry_after(
                &headers,
                httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:30 GMT").unwrap(),
            )
        };
        assert_eq!(at("120"), Some(Duration::from_secs(120)));
        assert_eq!(at("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(7)));
        assert_eq!(at("Sun, 06 Nov 1994 08:49:00 GMT"), Some(Duration::ZERO));
        assert_eq!(at("soon"), None);
    }

    #[test]
    fn the_excerpt_of_a_body_is_short_and_readable() {
        assert_eq!(
            excerpt(&Bytes::from_static(b" no such offset ")),
            Some("no such offset".to_owned())
        );
        assert_eq!(excerpt(&Bytes::from_static(b"<html>")), None);
        assert_eq!(excerpt(&Bytes::from_static(&[0xff, 0xfe])), None);
        assert_eq!(
            excerpt(&Bytes::from("é".repeat(300))).map(|s| s.chars().count()),
            Some(201)
        );
    }
}
