//! The requests that are not reads: create, head, append, close, delete. Each is one call and what its answer means.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use reqwest::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};

use crate::call::{Answer, Patience, Repeat, Request, error_of};
use crate::endpoint::Endpoint;
use crate::error::{Error, Kind, Operation, Result};
use crate::protocol::{self, flag, number, text};
use crate::tries::call;
use crate::work::Work;

/// What HEAD tells of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The content type it was created with.
    pub content_type: Option<String>,
    /// Its tail.
    pub next_offset: Option<String>,
    /// HTTP's.
    pub etag: Option<String>,
    /// HTTP's.
    pub cache_control: Option<String>,
    /// Whether it takes no more appends.
    pub closed: bool,
    /// Seconds to live, counted from the last read or write.
    pub ttl_seconds: Option<u64>,
    /// Absolute expiry, RFC 3339.
    pub expires_at: Option<String>,
}

/// How a stream is created.
#[derive(Clone, Debug, Default)]
pub struct Create {
    /// Left out for a fork that inherits it.
    pub content_type: Option<String>,
    /// Sliding time to live.
    pub ttl_seconds: Option<u64>,
    /// Absolute expiry, RFC 3339.
    pub expires_at: Option<String>,
    /// Created closed.
    pub closed: bool,
    /// The source's path, for a fork.
    pub forked_from: Option<String>,
    /// Where in the source the fork begins.
    pub fork_offset: Option<String>,
    /// Messages (bytes) past that offset.
    pub fork_sub_offset: Option<u64>,
    /// The first content, as it goes over the wire.
    pub body: Option<Bytes>,
}

/// A stream that was created, or was there with the same configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// The stream's content type.
    pub content_type: Option<String>,
    /// Its tail.
    pub next_offset: Option<String>,
    /// Whether this request created it.
    pub created: bool,
}

/// One JSON message as an append's body: servers flatten a top-level array, so a message travels in an array of its own.
pub fn one_message(json: &[u8]) -> Bytes {
    let mut body = BytesMut::with_capacity(json.len() + 2);
    body.put_u8(b'[');
    body.put_slice(json);
    body.put_u8(b']');
    body.freeze()
}

/// Asks for a stream's metadata (HEAD).
pub fn head(endpoint: &Arc<Endpoint>) -> Work<Head> {
    let request = request(Operation::Head, Method::HEAD, HeaderMap::new(), None);
    work(endpoint, request, |answer, request, endpoint| {
        let answer = expect(answer, request, endpoint, &[200, 204])?;
        let headers = &answer.headers;
        let owned = |name: HeaderName| text(headers, &name).map(str::to_owned);
        Ok(Head {
            content_type: owned(CONTENT_TYPE),
            next_offset: owned(protocol::STREAM_NEXT_OFFSET),
            etag: owned(ETAG),
            cache_control: owned(CACHE_CONTROL),
            closed: flag(headers, &protocol::STREAM_CLOSED),
            ttl_seconds: number(headers, &protocol::STREAM_TTL),
            expires_at: owned(protocol::STREAM_EXPIRES_AT),
        })
    })
}

/// Creates a stream (PUT).
pub fn create(endpoint: &Arc<Endpoint>, how: Create) -> Result<Work<Created>> {
    let mut headers = Headers::new(Operation::Create, endpoint);
    headers.set_if(CONTENT_TYPE, how.content_type.as_deref())?;
    headers.set_if(protocol::STREAM_TTL, how.ttl_seconds.map(|n| n.to_string()).as_deref())?;
    headers.set_if(protocol::STREAM_EXPIRES_AT, how.expires_at.as_deref())?;
    headers.set_if(protocol::STREAM_CLOSED, how.closed.then_some("true"))?;
    headers.set_if(protocol::STREAM_FORKED_FROM, how.forked_from.as_deref())?;
    headers.set_if(protocol::STREAM_FORK_OFFSET, how.fork_offset.as_deref())?;
    headers.set_if(
        protocol::STREAM_FORK_SUB_OFFSET,
        how.fork_sub_offset.map(|n| n.to_string()).as_deref(),
    )?;
    let request = request(Operation::Create, Method::PUT, headers.finish(), how.body);
    let work = work(endpoint, request, |answer, request, endpoint| {
        let answer = expect(answer, request, endpoint, &[200, 201, 204])?;
        let owned = |name: HeaderName| text(&answer.headers, &name).map(str::to_owned);
        Ok(Created {
            content_type: owned(CONTENT_TYPE),
            next_offset: owned(protocol::STREAM_NEXT_OFFSET),
            created: answer.status == StatusCode::CREATED,
        })
    });
    Ok(work)
}

/// Deletes a stream (DELETE).
pub fn delete(endpoint: &Arc<Endpoint>) -> Work<()> {
    let request = request(Operation::Delete, Method::DELETE, HeaderMap::new(), None);
    work(endpoint, request, |answer, request, endpoint| {
        // Not there any more, after a try whose answer was lost: that try deleted it.
        let statuses: &[u16] = if answer.after_silence {
            &[200, 202, 204, 404, 410]
        } else {
            &[200, 202, 204]
        };
        expect(answer, request, endpoint, statuses).map(|_| ())
    })
}

/// Closes a stream for good (POST with `Stream-Closed`), after appending `body` if there is one. Gives the final offset.
pub fn close(endpoint: &Arc<Endpoint>, content_type: Option<&str>, body: Option<Bytes>) -> Result<Work<String>> {
    let mut headers = Headers::new(Operation::Close, endpoint);
    headers.set_if(protocol::STREAM_CLOSED, Some("true"))?;
    headers.set_if(CONTENT_TYPE, content_type)?;
    // Without data it is idempotent; with data a repetition could not be told from somebody else's close.
    let repeat = if body.is_none() {
        Repeat::Safe
    } else {
        Repeat::UnlessSent
    };
    let without_data = body.is_none();
    let request = Request {
        repeat,
        ..request(Operation::Close, Method::POST, headers.finish(), body)
    };
    let work = work(endpoint, request, move |answer, request, endpoint| {
        if without_data && answer.status == StatusCode::CONFLICT && flag(&answer.headers, &protocol::STREAM_CLOSED) {
            return next_offset(&answer, request, endpoint);
        }
        let answer = expect(answer, request, endpoint, &[200, 204])?;
        next_offset(&answer, request, endpoint)
    });
    Ok(work)
}

/// Appends `body` (POST), with `Stream-Seq` if `seq` is given. Gives the new tail.
pub fn append(endpoint: &Arc<Endpoint>, content_type: &str, body: Bytes, seq: Option<&str>) -> Result<Work<String>> {
    let request = append_request(endpoint, content_type, body, seq)?;
    Ok(work(endpoint, request, appended))
}

/// The request of an append.
pub(crate) fn append_request(
    endpoint: &Endpoint,
    content_type: &str,
    body: Bytes,
    seq: Option<&str>,
) -> Result<Request> {
    let operation = if seq.is_some() {
        Operation::AppendWithSeq
    } else {
        Operation::Append
    };
    let mut headers = Headers::new(operation, endpoint);
    headers.set_if(CONTENT_TYPE, Some(content_type))?;
    headers.set_if(protocol::STREAM_SEQ, seq)?;
    // A sequence makes the repetition of a stored append a conflict instead of a duplicate.
    let repeat = if seq.is_some() {
        Repeat::Safe
    } else {
        Repeat::UnlessSent
    };
    Ok(Request {
        repeat,
        ..request(operation, Method::POST, headers.finish(), Some(body))
    })
}

/// The new tail, as the answer to an append has it.
pub(crate) fn appended(answer: Answer, request: &Request, endpoint: &Endpoint) -> Result<String> {
    // A conflict after a try whose answer was lost may be with that very try.
    let ambiguous = answer.after_silence && answer.status == StatusCode::CONFLICT;
    match expect(answer, request, endpoint, &[200, 201, 204]) {
        Ok(answer) => next_offset(&answer, request, endpoint),
        Err(error) if ambiguous => Err(error.with_unknown_outcome()),
        Err(error) => Err(error),
    }
}

fn request(operation: Operation, method: Method, headers: HeaderMap, body: Option<Bytes>) -> Request {
    Request {
        operation,
        method,
        headers,
        query: Vec::new(),
        body,
        repeat: Repeat::Safe,
        patience: Patience::Bounded,
    }
}

fn work<T: Send + 'static>(
    endpoint: &Arc<Endpoint>,
    request: Request,
    meaning: impl FnOnce(Answer, &Request, &Endpoint) -> Result<T> + Send + 'static,
) -> Work<T> {
    let to = Arc::clone(endpoint);
    Work::new(endpoint, request.operation, |pool| async move {
        let answer = call(&to, &pool, &request).await?;
        meaning(answer, &request, &to)
    })
}

fn expect(answer: Answer, request: &Request, endpoint: &Endpoint, statuses: &[u16]) -> Result<Answer> {
    if statuses.contains(&answer.status.as_u16()) {
        return Ok(answer);
    }
    let claimed = claims_success(request, answer.status);
    let error = error_of(endpoint, request, answer);
    Err(if claimed { error.with_unknown_outcome() } else { error })
}

/// Whether a response with this status may say that the request has changed the stream. A success that is not one of the
/// protocol's leaves that open: it may come from something between here and the server.
fn claims_success(request: &Request, status: StatusCode) -> bool {
    request.method != Method::HEAD && status.is_success()
}

/// The tail that the answer to a request names, as each success of a write does.
fn next_offset(answer: &Answer, request: &Request, endpoint: &Endpoint) -> Result<String> {
    if let Some(offset) = text(&answer.headers, &protocol::STREAM_NEXT_OFFSET) {
        return Ok(offset.to_owned());
    }
    let reason = "the answer lacks Stream-Next-Offset";
    let error = Error::new(Kind::Status, request.operation, endpoint.display(), reason);
    let claimed = claims_success(request, answer.status);
    Err(if claimed { error.with_unknown_outcome() } else { error })
}

/// Protocol headers under construction; a value that cannot be sent is an error that names it.
pub(crate) struct Headers<'a> {
    map: HeaderMap,
    operation: Operation,
    endpoint: &'a Endpoint,
}

impl<'a> Headers<'a> {
    pub(crate) fn new(operation: Operation, endpoint: &'a Endpoint) -> Headers<'a> {
        Headers {
            map: HeaderMap::new(),
            operation,
            endpoint,
        }
    }

    pub(crate) fn set_if(&mut self, name: HeaderName, value: Option<&str>) -> Result<()> {
        let Some(value) = value else { return Ok(()) };
        let held = HeaderValue::from_str(value).map_err(|_| {
            let reason = format!("{name} cannot be {value:?}: only printable characters can be sent");
            Error::new(Kind::Argument, self.operation, self.endpoint.display(), reason)
        })?;
        self.map.insert(name, held);
        Ok(())
    }

    /// The headers.
    pub(crate) fn finish(self) -> HeaderMap {
        self.map
    }
}
