//! Requests to a stream and what their responses say, apart from where the stream is and how they travel.

use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::error::{About, Error, Kind, Operation, Result};
use crate::meaning::Meaning;
use crate::protocol::{self, PositionError};
use crate::retry::policy::RetryPolicy;

/// Whether a request whose answer was lost may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// It has the same effect twice as once.
    Safe,
    /// It might be stored twice: only if it surely was not sent.
    UnlessSent,
}

/// Who ends the wait for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseTimeout {
    /// The client's timeout.
    Normal,
    /// The server, which holds a live read open on purpose.
    Live,
}

/// A request, apart from where it goes.
#[derive(Clone, Debug)]
pub struct Request {
    /// What it is for.
    pub operation: Operation,
    /// The method.
    pub method: Method,
    /// The protocol's headers.
    pub headers: HeaderMap,
    /// The protocol's parameters.
    pub query: Vec<(&'static str, String)>,
    /// The body.
    pub body: Option<Bytes>,
    /// Whether it may be sent again.
    pub repeat: Repeat,
    /// Who ends the wait for its answer.
    pub response_timeout: ResponseTimeout,
}

impl Request {
    /// A request that may be sent again, and whose answer is waited for as long as the client's timeout.
    pub fn new(operation: Operation, method: Method, headers: HeaderMap, body: Option<Bytes>) -> Request {
        Request {
            operation,
            method,
            headers,
            query: Vec::new(),
            body,
            repeat: Repeat::Safe,
            response_timeout: ResponseTimeout::Normal,
        }
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, or its beginning.
    pub body: Bytes,
    /// Whether an earlier try went unanswered, so that this answer may be to a repetition of what was done already.
    pub after_lost_response: bool,
}

/// Why there is no answer, or only the beginning of one.
#[derive(Clone, Debug)]
pub enum RequestFailure {
    /// The request surely did not reach the server.
    NotSent(Error),
    /// It may have reached the server: the answer did not come, or broke off.
    ResponseLost(Error),
    /// Trying again cannot help.
    Final(Error),
}

/// What it takes to say what an answer means.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The operation, and the URL to display.
    pub about: About<'a>,
    /// The retry policy in force.
    pub policy: &'a RetryPolicy,
    /// The current time, for a `Retry-After` that is a date.
    pub now: SystemTime,
}

impl Context<'_> {
    /// The answer, if it has one of `statuses`.
    ///
    /// # Errors
    /// What another status means.
    pub fn expect(&self, answer: Response, statuses: &[u16]) -> Result<Response> {
        if statuses.contains(&answer.status.as_u16()) {
            return Ok(answer);
        }
        let claims_success = answer.status.is_success() && self.meaning(&answer).may_be_stored;
        let error = self.error(answer);
        Err(match claims_success {
            true => error.with_unknown_outcome(),
            false => error,
        })
    }

    /// What an answer means that is not the success its request asks for.
    pub fn meaning(&self, answer: &Response) -> Meaning {
        Meaning::of(self.about.operation, answer.status, &answer.headers, self.now)
    }

    /// Whether an answer is worth another try.
    pub fn is_worth_retry(&self, answer: &Response) -> bool {
        self.policy.covers(answer.status) && self.meaning(answer).is_worth_retry(self.policy)
    }

    /// The error that an answer means.
    pub fn error(&self, answer: Response) -> Error {
        let meaning = self.meaning(&answer);
        let worth_it = meaning.is_worth_retry(self.policy);
        let Response {
            status, headers, body, ..
        } = answer;
        Error::from_response(self.about, meaning.kind, meaning.reason, status, headers, body)
            .worth_another_try_if(worth_it)
    }

    /// The tail that the answer to a request names.
    ///
    /// # Errors
    /// If it names none, or one that cannot be sent back.
    pub fn next_offset(&self, answer: &Response) -> Result<String> {
        let offset = protocol::next_offset(&answer.headers);
        offset.map(str::to_owned).map_err(|why| self.unusable(answer, why))
    }

    /// The failure of a success that does not say where the next read starts. Of a write it may be true all the same.
    pub fn unusable(&self, answer: &Response, why: PositionError) -> Error {
        let error = Error::from_success(self.about, answer.status, &answer.headers, why);
        match self.meaning(answer).may_be_stored {
            true => error.with_unknown_outcome(),
            false => error,
        }
    }
}

/// Protocol headers under construction; a value that cannot be sent is an error that names it.
#[derive(Debug)]
pub struct Headers<'a> {
    map: HeaderMap,
    about: About<'a>,
}

impl<'a> Headers<'a> {
    /// None yet, for a request of `about`.
    pub fn new(about: About<'a>) -> Headers<'a> {
        Headers {
            map: HeaderMap::new(),
            about,
        }
    }

    /// Sets a header, if there is a value for it.
    ///
    /// # Errors
    /// `Kind::Argument` for a value that no header can carry.
    pub fn set_if(&mut self, name: HeaderName, value: Option<&str>) -> Result<()> {
        let Some(value) = value else { return Ok(()) };
        let held = HeaderValue::from_str(value).map_err(|_| {
            let reason = format!("{name} cannot be {value:?}: only printable characters can be sent");
            self.about.error(Kind::Argument, reason)
        })?;
        self.map.insert(name, held);
        Ok(())
    }

    /// The headers.
    pub fn finish(self) -> HeaderMap {
        self.map
    }
}
