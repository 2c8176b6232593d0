//! The operations that are not reads (create, head, append, close, delete): what each one requests, and what the response
//! says.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::error::{About, Operation, Purpose, Result};
use crate::protocol::{self, PositionError, flag, number, text};
use crate::request::{Context, Headers, Repeat, Request, Response};

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

/// The request for a stream's metadata (HEAD), for its own sake or for what it is needed for.
pub fn head(purpose: Option<Purpose>) -> Request {
    let operation = purpose.map_or(Operation::Head, Operation::HeadFor);
    Request::new(operation, Method::HEAD, HeaderMap::new(), None)
}

/// The request for where a stream ends now (HEAD): what a cache has kept may be older than the last write.
pub fn tail() -> Request {
    let mut request = head(None);
    request
        .headers
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    request
}

impl Head {
    /// What the response says.
    ///
    /// # Errors
    /// What a response means that is no success, or not that of a Durable Streams server.
    pub fn of(response: Response, context: &Context<'_>) -> Result<Head> {
        let response = context.expect(response, &[200, 204])?;
        let next_offset = context.next_offset(&response)?;
        let headers = &response.headers;
        let owned = |name: HeaderName| text(headers, &name).map(str::to_owned);
        Ok(Head {
            content_type: owned(CONTENT_TYPE),
            next_offset: Some(next_offset),
            etag: owned(ETAG),
            cache_control: owned(CACHE_CONTROL),
            closed: flag(headers, &protocol::STREAM_CLOSED),
            ttl_seconds: number(headers, &protocol::STREAM_TTL),
            expires_at: owned(protocol::STREAM_EXPIRES_AT),
        })
    }
}

/// The request that creates the stream at `url` (PUT).
///
/// # Errors
/// `Kind::Argument` for a value that no header can carry.
pub fn create(url: &str, how: Create) -> Result<Request> {
    let operation = Operation::Create;
    let mut headers = Headers::new(About { operation, url });
    headers.set_if(CONTENT_TYPE, how.content_type.as_deref())?;
    headers.set_if(protocol::STREAM_TTL, how.ttl_seconds.map(|n| n.to_string()).as_deref())?;
    headers.set_if(protocol::STREAM_EXPIRES_AT, how.expires_at.as_deref())?;
    headers.set_if(protocol::STREAM_CLOSED, how.closed.then_some("true"))?;
    headers.set_if(protocol::STREAM_FORKED_FROM, how.forked_from.as_deref())?;
    headers.set_if(protocol::STREAM_FORK_OFFSET, how.fork_offset.as_deref())?;
    let sub_offset = how.fork_sub_offset.map(|n| n.to_string());
    headers.set_if(protocol::STREAM_FORK_SUB_OFFSET, sub_offset.as_deref())?;
    Ok(Request::new(operation, Method::PUT, headers.finish(), how.body))
}

/// The stream's content type, where the response to [`create`] says it.
///
/// # Errors
/// What a response means that is no success, or not that of a Durable Streams server.
pub fn created(response: Response, context: &Context<'_>) -> Result<Option<String>> {
    let response = context.expect(response, &[200, 201, 204])?;
    // A success without it is not one of the protocol's.
    context.next_offset(&response)?;
    Ok(text(&response.headers, &CONTENT_TYPE).map(str::to_owned))
}

/// The request that deletes a stream (DELETE).
pub fn delete() -> Request {
    Request::new(Operation::Delete, Method::DELETE, HeaderMap::new(), None)
}

/// What the response to [`delete`] says.
///
/// # Errors
/// What a response means that is no success, or not that of a Durable Streams server.
pub fn deleted(response: Response, context: &Context<'_>) -> Result<()> {
    // Not there any more, after a try without a response: that try deleted it.
    let statuses: &[u16] = match response.after_lost_response {
        true => &[200, 202, 204, 404, 410],
        false => &[200, 202, 204],
    };
    let response = context.expect(response, statuses)?;
    // What deletes has nothing to say; a web page says that nothing was deleted.
    match response.status.is_success() && protocol::is_html(&response.headers) {
        true => Err(context.unusable(&response, PositionError::Missing { html: true })),
        false => Ok(()),
    }
}

/// The request that closes the stream at `url` for good (POST with `Stream-Closed`), after appending `body` if there is one.
///
/// # Errors
/// `Kind::Argument` for a content type that no header can carry.
pub fn close(url: &str, content_type: Option<&str>, body: Option<Bytes>) -> Result<Request> {
    let operation = Operation::Close;
    let mut headers = Headers::new(About { operation, url });
    headers.set_if(protocol::STREAM_CLOSED, Some("true"))?;
    headers.set_if(CONTENT_TYPE, content_type)?;
    // Without data it is idempotent; with data a repetition could not be told from somebody else's close.
    let repeat = match body {
        None => Repeat::Safe,
        Some(_) => Repeat::UnlessSent,
    };
    Ok(Request {
        repeat,
        ..Request::new(operation, Method::POST, headers.finish(), body)
    })
}

/// The final offset, as the response to [`close`] says it. A stream that is closed already is a success if the request had
/// no data.
///
/// # Errors
/// What a response means that is no success, or not that of a Durable Streams server.
pub fn closed(response: Response, context: &Context<'_>, with_data: bool) -> Result<String> {
    let was_closed = response.status == StatusCode::CONFLICT && flag(&response.headers, &protocol::STREAM_CLOSED);
    if was_closed && !with_data {
        return context.next_offset(&response);
    }
    let response = context.expect(response, &[200, 204])?;
    context.next_offset(&response)
}

/// One JSON message as an append's body: servers flatten a top-level array, so a message travels in an array of its own.
pub fn one_message(json: &[u8]) -> Bytes {
    let mut body = BytesMut::with_capacity(json.len() + 2);
    body.put_u8(b'[');
    body.put_slice(json);
    body.put_u8(b']');
    body.freeze()
}

/// The request that appends `body` to the stream at `url` (POST), with `Stream-Seq` if `seq` is given.
///
/// # Errors
/// `Kind::Argument` for a content type or a `seq` that no header can carry.
pub fn append(url: &str, content_type: &str, body: Bytes, seq: Option<&str>) -> Result<Request> {
    let operation = if seq.is_some() {
        Operation::AppendWithSeq
    } else {
        Operation::Append
    };
    let mut headers = Headers::new(About { operation, url });
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
        ..Request::new(operation, Method::POST, headers.finish(), Some(body))
    })
}

/// The new tail, as the response to [`append`] says it.
///
/// # Errors
/// What a response means that is no success, or not that of a Durable Streams server.
pub fn appended(response: Response, context: &Context<'_>) -> Result<String> {
    // A conflict after a try without a response may be with that very try.
    let ambiguous = response.after_lost_response && response.status == StatusCode::CONFLICT;
    match context.expect(response, &[200, 201, 204]) {
        Ok(response) => context.next_offset(&response),
        Err(error) if ambiguous => Err(error.with_unknown_outcome()),
        Err(error) => Err(error),
    }
}
