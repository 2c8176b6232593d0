//! A [`Request`], its [`Response`] or [`RequestFailure`], and the [`Context`] that says what a response means. The URL
//! is in [`target`](crate::target). How a request is transmitted is not this crate's concern.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::LOCATION;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::error::{About, CHECK_URL, Error, Kind, Operation, Result};
use crate::meaning::Meaning;
use crate::protocol::{self, PositionError};
use crate::redirected::RedirectedTo;
use crate::retry::policy::RetryPolicy;
use crate::retry::so_far::TriesSoFar;
use crate::url::shown;

/// Whether a request whose response was lost may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Yes: two requests have the same effect as one.
    Safe,
    /// No, because the server might store it twice. It is sent again only if it surely did not reach the server.
    UnlessSent,
}

/// How long to wait for a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseTimeout {
    /// The client's `timeout`.
    Normal,
    /// The client's `timeout`, or this time if it is shorter.
    AtMost(Duration),
    /// The client's `timeout` plus its `live_timeout`: the server may delay its response to a long-poll until it has
    /// data.
    Live,
}

/// A request without its URL.
#[derive(Clone, Debug)]
pub struct Request {
    /// The operation that it belongs to.
    pub operation: Operation,
    /// The method.
    pub method: Method,
    /// The protocol's headers. The user's are added later.
    pub headers: HeaderMap,
    /// The protocol's query parameters.
    pub query: Vec<(&'static str, String)>,
    /// The body.
    pub body: Option<Bytes>,
    /// Whether it may be sent again after its response was lost.
    pub repeat: Repeat,
    /// How long to wait for its response.
    pub response_timeout: ResponseTimeout,
}

impl Request {
    /// A request that may be sent again and has the normal timeout.
    pub fn new(operation: Operation, method: Method, headers: HeaderMap, body: Option<Bytes>) -> Self {
        Self {
            operation,
            method,
            headers,
            query: Vec::new(),
            body,
            repeat: Repeat::Safe,
            response_timeout: ResponseTimeout::Normal,
        }
    }

    /// Whether it is a live read, whose response may come late or go on for long.
    pub fn is_live(&self) -> bool {
        self.query.iter().any(|(name, _)| *name == "live")
    }
}

/// A response, complete or cut off after a limit.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, or the beginning of it.
    pub body: Bytes,
    /// The tries that led to it.
    pub tries: TriesSoFar,
    /// Where it is from, if redirects led there.
    pub redirected: Option<RedirectedTo>,
}

/// Why there is no complete response.
#[derive(Clone, Debug)]
pub enum RequestFailure {
    /// The request surely did not reach the server, or only a part of its body did. No server carries that out.
    NotSent(Error),
    /// The request may have reached the server, but no response came, or only a part of one.
    ResponseLost(Error),
    /// Another try would fail in the same way.
    Final(Error),
}

impl RequestFailure {
    /// What went wrong.
    pub fn error(&self) -> &Error {
        match self {
            Self::NotSent(error) | Self::ResponseLost(error) | Self::Final(error) => error,
        }
    }
}

/// What is needed to interpret a response.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The operation, and the URL for messages.
    pub about: About<'a>,
    /// The operation's retry policy.
    pub policy: &'a RetryPolicy,
    /// The current time, for a `Retry-After` that is a date.
    pub now: SystemTime,
}

impl Context<'_> {
    /// Returns the response if it has one of `statuses`.
    ///
    /// # Errors
    /// If it has another status: the error that this status means.
    pub fn expect(&self, response: Response, statuses: &[u16]) -> Result<Response> {
        match statuses.contains(&response.status.as_u16()) {
            true => Ok(response),
            false => Err(self.error(response)),
        }
    }

    /// The meaning of a response that is not the success that its request expects.
    pub fn meaning(&self, response: &Response) -> Meaning {
        let meaning = Meaning::of(self.about.operation, response.status, &response.headers, self.now);
        match self.about.operation {
            Operation::Subscription(operation) => meaning.of_subscription(operation, &response.body),
            _ => meaning,
        }
    }

    /// Whether the request may be sent again after this response.
    pub fn is_worth_retry(&self, response: &Response) -> bool {
        self.policy.covers(response.status) && self.meaning(response).is_worth_retry(self.policy)
    }

    /// The error that a response means.
    pub fn error(&self, response: Response) -> Error {
        let meaning = self.meaning(&response);
        let retryable = meaning.is_worth_retry(self.policy);
        let tries = response.tries.in_doubt_if(meaning.may_be_stored);
        let location = response
            .headers
            .get(LOCATION)
            .filter(|_| response.status.is_redirection());
        let reason = match location.and_then(|location| location.to_str().ok()) {
            Some(location) => format!("{} to {}", meaning.reason, shown(location)),
            None => meaning.reason.to_owned(),
        };
        self.error_of(Response { tries, ..response }, meaning.kind, &reason)
            .with_note(meaning.advice)
            .worth_another_try_if(retryable)
    }

    /// An error of this kind for a response.
    pub(crate) fn error_of(&self, response: Response, kind: Kind, reason: &str) -> Error {
        let Response {
            status,
            headers,
            body,
            tries,
            redirected,
        } = response;
        Error::from_response(self.about, kind, reason, status, headers, body)
            .after_tries(tries)
            .with_first_note(redirected.map(|to| to.note(Some(status))))
    }

    /// The `Stream-Next-Offset` of a successful response.
    ///
    /// # Errors
    /// If there is none, or it cannot be used as an offset.
    pub fn next_offset(&self, response: &Response) -> Result<String> {
        let offset = protocol::next_offset(&response.headers);
        offset
            .map(str::to_owned)
            .map_err(|reason| self.unusable(response, reason))
    }

    /// The error for a successful response without a usable `Stream-Next-Offset`. A write may be stored all the same.
    pub fn unusable(&self, response: &Response, reason: PositionError) -> Error {
        let may_be_stored = self.meaning(response).may_be_stored;
        Error::from_success(self.about, response.status, &response.headers, reason)
            .after_tries(response.tries.in_doubt_if(may_be_stored))
            .with_first_note(response.redirected.as_ref().map(|to| to.note(Some(response.status))))
    }

    /// The error for a successful response with a body to an operation that has no result. It may have taken effect all
    /// the same.
    pub fn unexpected_body(&self, response: Response) -> Error {
        let tries = response.tries.in_doubt_if(self.meaning(&response).may_be_stored);
        let reason = "the response has a body: this does not look like a Durable Streams server";
        self.error_of(Response { tries, ..response }, Kind::Status, reason)
            .with_note(Some(CHECK_URL.into()))
    }

    /// The error for a new stream that was to be a fork, and is none. `mismatch` is how that shows.
    pub fn ignored_fork(&self, response: Response, mismatch: &str) -> Error {
        let reason =
            format!("the server ignored the fork headers and made a stream without the source's data: {mismatch}");
        self.error_of(response, Kind::Status, &reason)
    }
}

/// Builds the protocol's headers of a request.
#[derive(Debug)]
pub struct Headers<'a> {
    map: HeaderMap,
    about: About<'a>,
}

impl<'a> Headers<'a> {
    /// No headers yet. `about` is for error messages.
    pub fn new(about: About<'a>) -> Self {
        Headers {
            map: HeaderMap::new(),
            about,
        }
    }

    /// Sets a header if there is a value.
    ///
    /// # Errors
    /// `Kind::Argument` if the value has characters that a header cannot have.
    pub fn set_if(&mut self, name: HeaderName, value: Option<&str>) -> Result<()> {
        let Some(value) = value else { return Ok(()) };
        let header = HeaderValue::from_str(value).map_err(|_| {
            let reason = format!("{name} cannot be {value:?}: use printable characters only");
            self.about.error(Kind::Argument, reason)
        })?;
        self.map.insert(name, header);
        Ok(())
    }

    /// The headers.
    pub fn finish(self) -> HeaderMap {
        self.map
    }
}
