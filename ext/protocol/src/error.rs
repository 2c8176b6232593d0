//! What can go wrong, said once: every failure of an operation is one `Error` with its kind, the operation, the URL
//! (without credentials) and what the server answered.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::HeaderMap;

use crate::protocol::PositionError;

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
    Abandoned,
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
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
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
            source: None,
        }))
    }

    /// The failure that a response is, with the beginning of its body in the message where that is readable. `reason` is
    /// what it means.
    pub fn from_response(
        about: About<'_>,
        kind: Kind,
        reason: &str,
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
    ) -> Error {
        let said = excerpt(&body).map_or_else(String::new, |said| format!(": {said}"));
        let mut error = about.error(kind, format!("{reason} ({}){said}", status.as_u16()));
        (error.0.status, error.0.headers, error.0.body) = (Some(status), headers, body);
        error
    }

    /// The failure that a success is which does not say where the next read starts.
    pub fn from_success(about: About<'_>, status: StatusCode, headers: &HeaderMap, why: PositionError) -> Error {
        let kind = match why {
            PositionError::Missing { .. } => Kind::Status,
            PositionError::NotText(_) | PositionError::TooLong(_) => Kind::Parse,
        };
        let mut error = about.error(kind, format!("{why} ({})", status.as_u16()));
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

    /// Notes what the failure came from: its `source`.
    #[must_use]
    pub fn caused_by(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Error {
        self.0.source = Some(Arc::new(source));
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

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = self.0.source.as_deref()?;
        Some(source)
    }
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
