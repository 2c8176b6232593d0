//! [`Error`] is the error of every operation. It has a [`Kind`], a message that names the operation and the URL
//! (without credentials), and the server's response if there was one.

mod operation;

use std::any::Any;
use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::HeaderMap;

use crate::error_body::excerpt;
use crate::protocol::PositionError;
use crate::retry::so_far::TriesSoFar;

pub use operation::{Operation, Purpose};

/// What to do if a response is not from a Durable Streams server, or a stream is not there.
pub(crate) const CHECK_URL: &str = "check base_url and the path";

/// A result with this module's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What an error's message names.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The operation.
    pub operation: Operation,
    /// The stream's URL without credentials.
    pub url: &'a str,
}

impl About<'_> {
    /// An error without a response.
    pub fn error(self, kind: Kind, reason: impl fmt::Display) -> Error {
        Error::new(kind, self.operation, self.url, reason)
    }
}

/// The kinds of errors. Each has one exception class in Ruby.
#[derive(Clone, Debug)]
pub enum Kind {
    /// 400
    BadRequest,
    /// 401
    Unauthorized,
    /// 403
    Forbidden,
    /// 403 for a producer: its epoch is older than the current one.
    StaleEpoch {
        /// The current epoch of the producer id.
        current_epoch: Option<u64>,
    },
    /// A producer's epoch was used before under the same id.
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
        /// The offset where the stream ends.
        final_offset: Option<String>,
    },
    /// 409 because of `Stream-Seq`
    SeqConflict,
    /// 409 because the content type differs
    ContentTypeMismatch,
    /// 409 because of a producer's sequence number
    SequenceGap {
        /// The sequence number that the server expects.
        expected: Option<u64>,
        /// The sequence number that it received.
        received: Option<u64>,
    },
    /// 409 on the creation of a subscription
    SubscriptionExists,
    /// The server has no subscriptions.
    SubscriptionsNotSupported,
    /// 409 on a claim: a worker holds the lease.
    AlreadyClaimed {
        /// The worker's name.
        current_holder: Option<String>,
        /// The generation of its claim.
        generation: Option<u64>,
    },
    /// 409 on a claim: all streams are handled up to their ends.
    NoPendingWork,
    /// 409 for a worker: its claim has ended, and a later one may have begun.
    Fenced,
    /// 409 on an ack: the server does not accept one of its offsets.
    InvalidAck,
    /// 413
    PayloadTooLarge,
    /// 429
    RateLimited {
        /// The delay that the server requested.
        retry_after: Option<Duration>,
    },
    /// Any other status, or a response that the protocol does not allow.
    Status,
    /// There is no connection, or it was lost.
    Connection,
    /// A timeout passed.
    Timeout,
    /// Malformed JSON, SSE or base64.
    Parse,
    /// The client, reader or producer is closed.
    Closed,
    /// The caller on whose thread the application's code was to run abandoned the request. If other callers wait for
    /// the same request, the next one takes its place.
    Abandoned,
    /// This content type cannot be read by SSE.
    SseNotSupported,
    /// An invalid argument.
    Argument,
    /// A bug in this library, such as a panic.
    Internal,
    /// Code of the application failed, such as a value callable. Contains its exception.
    Application(Arc<dyn Any + Send + Sync>),
}

/// An error of an operation.
#[derive(Clone, Debug)]
pub struct Error(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    kind: Kind,
    operation: Option<Operation>,
    /// The operation, the URL and what happened.
    reason: String,
    /// What the message says after the reason, such as what to do.
    notes: Vec<Cow<'static, str>>,
    /// Where in `reason` what happened begins.
    detail_at: usize,
    url: String,
    status: Option<StatusCode>,
    headers: HeaderMap,
    body: Bytes,
    tries: Option<TriesSoFar>,
    outcome_unknown: bool,
    worth_another_try: bool,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error without a response.
    pub fn new(kind: Kind, operation: Operation, url: &str, reason: impl fmt::Display) -> Self {
        let mut text = format!("{operation} {url}: ");
        let detail_at = text.len();
        // Writing to a String does not fail.
        let _written = write!(text, "{reason}");
        let mut error = Self::plain(kind, text);
        error.0.detail_at = detail_at;
        error.0.operation = Some(operation);
        error.0.url = url.to_owned();
        error
    }

    /// An error outside of any operation.
    pub fn plain(kind: Kind, message: String) -> Self {
        Self(Box::new(Inner {
            kind,
            operation: None,
            reason: message,
            notes: Vec::new(),
            detail_at: 0,
            url: String::new(),
            status: None,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            tries: None,
            outcome_unknown: false,
            worth_another_try: false,
            source: None,
        }))
    }

    /// The error that a response means. The message has `reason`, and the beginning of the body if that is readable
    /// text.
    pub fn from_response(
        about: About<'_>,
        kind: Kind,
        reason: &str,
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
    ) -> Self {
        let is_new = |text: &String| !reason.contains(&text.to_lowercase());
        let excerpt = excerpt(&body)
            .filter(is_new)
            .map_or_else(String::new, |text| format!(": {text}"));
        let mut error = about.error(kind, format!("{reason} ({}){excerpt}", status.as_u16()));
        (error.0.status, error.0.headers, error.0.body) = (Some(status), headers, body);
        error
    }

    /// The error for a successful response without a usable `Stream-Next-Offset`.
    pub fn from_success(about: About<'_>, status: StatusCode, headers: &HeaderMap, reason: PositionError) -> Self {
        let kind = match reason {
            PositionError::Missing { .. } => Kind::Status,
            PositionError::NotText(_) | PositionError::TooLong(_) => Kind::Parse,
        };
        let mut error = about.error(kind, format!("{reason} ({})", status.as_u16()));
        if matches!(error.0.kind, Kind::Status) {
            error.0.notes.push(CHECK_URL.into());
        }
        error.0.status = Some(status);
        error.0.headers = headers.clone();
        error
    }

    /// Adds what the message says after the reason, such as what to do.
    #[must_use]
    pub fn with_note(mut self, note: Option<Cow<'static, str>>) -> Self {
        self.0.notes.extend(note);
        self
    }

    /// Like `with_note`, but the message says it before the other notes.
    #[must_use]
    pub fn with_first_note(mut self, note: Option<Cow<'static, str>>) -> Self {
        self.0.notes.splice(..0, note);
        self
    }

    /// Sets whether the request may have succeeded nevertheless.
    #[must_use]
    pub fn with_outcome_unknown(mut self, unknown: bool) -> Self {
        self.0.outcome_unknown = unknown;
        self
    }

    /// Notes the tries that have led to the failure. After tries in doubt, the request may have had its effect all the
    /// same.
    #[must_use]
    pub fn after_tries(mut self, tries: TriesSoFar) -> Self {
        self.0.outcome_unknown |= tries.in_doubt;
        self.0.tries = Some(tries);
        self
    }

    /// Sets the time that the operation took, if its tries are known: it may have waited before the first one.
    #[must_use]
    pub(crate) fn with_elapsed(mut self, elapsed: Duration) -> Self {
        if let Some(tries) = &mut self.0.tries {
            tries.elapsed = elapsed;
        }
        self
    }

    /// Records whether the operation's retry policy allows another try after this response.
    #[must_use]
    pub fn worth_another_try_if(mut self, retryable: bool) -> Self {
        self.0.worth_another_try = retryable;
        self
    }

    /// Sets the underlying error, which `source` returns.
    #[must_use]
    pub fn caused_by(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    /// The kind of error.
    pub fn kind(&self) -> &Kind {
        &self.0.kind
    }
    /// The message: the operation, the URL, the reason, and what is known of the tries.
    pub fn message(&self) -> String {
        self.to_string()
    }
    /// What happened: the message without what is known of the tries.
    pub fn reason(&self) -> &str {
        &self.0.reason
    }
    /// What happened, without the operation and the URL.
    pub fn detail(&self) -> &str {
        &self.0.reason[self.0.detail_at..]
    }

    /// As [`Error::detail`], without copying it.
    #[must_use]
    pub fn into_detail(mut self) -> String {
        self.0.reason.drain(..self.0.detail_at);
        self.0.reason
    }

    /// The stream's URL without credentials, or an empty string if the error concerns no stream.
    pub fn url(&self) -> &str {
        &self.0.url
    }
    /// The response's status, if there was a response.
    pub fn status(&self) -> Option<u16> {
        self.0.status.map(|status| status.as_u16())
    }
    /// The response's headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }
    /// The response's body (at most its first 64 KiB).
    pub fn body(&self) -> &Bytes {
        &self.0.body
    }
    /// Whether the request may have succeeded nevertheless.
    pub fn outcome_unknown(&self) -> bool {
        self.0.outcome_unknown
    }

    /// How many tries the operation had; `None` if it sent no request.
    pub fn attempts(&self) -> Option<u32> {
        self.0
            .tries
            .map(|tries| tries.attempts)
            .filter(|attempts| *attempts > 0)
    }

    /// The time from the start of the first try to the failure. An append with `exactly_once` counts from its arrival.
    pub fn elapsed(&self) -> Option<Duration> {
        self.0.tries.map(|tries| tries.elapsed)
    }

    /// Whether the operation can be repeated without harm: it had no effect, or a second time has none.
    pub fn is_safe_to_repeat(&self) -> bool {
        !self.0.outcome_unknown || self.0.operation.is_some_and(Operation::is_idempotent)
    }

    /// What the message says after the reason.
    fn notes(&self) -> Vec<Cow<'static, str>> {
        let mut notes = self.0.notes.clone();
        if self.0.outcome_unknown {
            notes.push("the outcome is unknown: the server may have carried it out".into());
        }
        if self.0.outcome_unknown && matches!(self.0.operation, Some(Operation::Append | Operation::CloseWithData)) {
            notes.push("Producer#append! and exactly_once: true retry safely".into());
        }
        if let Some(tries) = self.0.tries.filter(|tries| tries.attempts > 1) {
            let (attempts, seconds) = (tries.attempts, tries.elapsed.as_secs_f64());
            notes.push(format!("{attempts} tries in {seconds:.2} s").into());
        }
        notes
    }

    /// Whether the operation's retry policy allows another try after this response.
    pub fn worth_another_try(&self) -> bool {
        self.0.worth_another_try
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.reason)?;
        let notes = self.notes();
        match notes.is_empty() {
            true => Ok(()),
            false => write!(f, " ({})", notes.join("; ")),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = self.0.source.as_deref()?;
        Some(source)
    }
}
