//! The request of each operation that is not a read (create, head, append, close, delete), and what its response says.
//! Reads are in [`read`](crate::read), a producer's batches in [`producer`](crate::producer).

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::error::{About, Operation, Purpose, Result};
use crate::protocol::{self, NOW, PositionError, START, essence, flag, number, text};
use crate::request::{Context, Headers, Repeat, Request, Response};

/// A stream's metadata, as the response to HEAD has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The content type it was created with.
    pub content_type: Option<String>,
    /// Where the stream ends.
    pub next_offset: Option<String>,
    /// The `ETag` header.
    pub etag: Option<String>,
    /// The `Cache-Control` header.
    pub cache_control: Option<String>,
    /// Whether the stream is closed for appends.
    pub closed: bool,
    /// Time to live in seconds, counted from the last read or write.
    pub ttl_seconds: Option<u64>,
    /// The time at which it expires, in RFC 3339 format.
    pub expires_at: Option<String>,
}

/// The options of a new stream.
#[derive(Clone, Debug, Default)]
pub struct Create {
    /// The content type. A fork without one has that of its source.
    pub content_type: Option<String>,
    /// Time to live in seconds, counted from the last read or write.
    pub ttl_seconds: Option<u64>,
    /// The time at which it expires, in RFC 3339 format.
    pub expires_at: Option<String>,
    /// Whether the stream is closed from the start.
    pub closed: bool,
    /// For a fork: the path of the source stream.
    pub forked_from: Option<String>,
    /// For a fork: where in the source it begins.
    pub fork_offset: Option<String>,
    /// For a fork: this many messages (or bytes) after that offset.
    pub fork_sub_offset: Option<u64>,
    /// For a fork: an offset at which the source ended earlier, if one is known.
    pub source_tail: Option<String>,
    /// For a fork: the source's content type, if it is known.
    pub source_content_type: Option<String>,
    /// The first content, as the body of the request.
    pub body: Option<Bytes>,
}

/// What shows that a server made a fork, and not an empty stream: some servers do not know the fork headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedFork {
    /// The fork ends here or later: the given offset, or else the source's tail.
    ends_from: Option<String>,
    /// The source's content type.
    content_type: Option<String>,
}

impl Create {
    /// What is expected of the new stream if it is a fork.
    pub fn expected_fork(&self) -> Option<ExpectedFork> {
        self.forked_from.as_ref()?;
        let offset = self.fork_offset.clone().or_else(|| self.source_tail.clone());
        Some(ExpectedFork {
            // These two are no places to compare with.
            ends_from: offset.filter(|offset| !matches!(offset.as_str(), START | NOW)),
            content_type: self.source_content_type.clone(),
        })
    }
}

impl ExpectedFork {
    /// How the new stream shows that it is no fork; `None` if it may be one. Offsets compare byte by byte.
    fn mismatch(&self, next_offset: &str, content_type: Option<&str>) -> Option<String> {
        let ends_from = self.ends_from.as_deref().unwrap_or_default();
        if next_offset < ends_from {
            return Some(format!("it ends at {next_offset:?}, before {ends_from:?}"));
        }
        let (source, fork) = (self.content_type.as_deref()?, content_type?);
        (essence(fork) != essence(source)).then(|| format!("its content type is {fork:?}, and the source's {source:?}"))
    }
}

/// The request for a stream's metadata (HEAD). `purpose` is the operation that needs it, if the caller did not call
/// `head`.
pub fn head(purpose: Option<Purpose>) -> Request {
    let operation = purpose.map_or(Operation::Head, Operation::HeadFor);
    Request::new(operation, Method::HEAD, HeaderMap::new(), None)
}

/// The request for the offset where a stream ends (HEAD). It bypasses caches: a cached response may be older than the
/// last write. Some ignore `Cache-Control` in requests, and send the cached response to a GET of the same URL. No
/// response to a request at `now` is cached.
pub fn tail() -> Request {
    let mut request = head(None);
    request
        .headers
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    request.query.push(("offset", NOW.to_owned()));
    request
}

impl Head {
    /// The metadata in the response to [`head`].
    ///
    /// # Errors
    /// If the response is not a success, or not from a Durable Streams server.
    pub fn of(response: Response, context: &Context<'_>) -> Result<Self> {
        let response = context.expect(response, &[200, 204])?;
        let next_offset = context.next_offset(&response)?;
        let headers = &response.headers;
        let owned = |name: HeaderName| text(headers, &name).map(str::to_owned);
        Ok(Self {
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
/// `Kind::Argument` if a value has characters that a header cannot have.
pub fn create(url: &str, options: Create) -> Result<Request> {
    let operation = Operation::Create;
    let mut headers = Headers::new(About { operation, url });
    headers.set_if(CONTENT_TYPE, options.content_type.as_deref())?;
    headers.set_if(
        protocol::STREAM_TTL,
        options.ttl_seconds.map(|n| n.to_string()).as_deref(),
    )?;
    headers.set_if(protocol::STREAM_EXPIRES_AT, options.expires_at.as_deref())?;
    headers.set_if(protocol::STREAM_CLOSED, options.closed.then_some("true"))?;
    headers.set_if(protocol::STREAM_FORKED_FROM, options.forked_from.as_deref())?;
    headers.set_if(protocol::STREAM_FORK_OFFSET, options.fork_offset.as_deref())?;
    let sub_offset = options.fork_sub_offset.map(|n| n.to_string());
    headers.set_if(protocol::STREAM_FORK_SUB_OFFSET, sub_offset.as_deref())?;
    Ok(Request::new(operation, Method::PUT, headers.finish(), options.body))
}

/// The stream's content type, if the response to [`create`] has it.
///
/// # Errors
/// If the response is not a success, or not from a Durable Streams server, or if the server ignored that the stream is
/// to be a fork.
pub fn created(response: Response, context: &Context<'_>, expected: Option<&ExpectedFork>) -> Result<Option<String>> {
    let response = context.expect(response, &[200, 201, 204])?;
    // A success without the offset is not from a Durable Streams server.
    let next_offset = context.next_offset(&response)?;
    let content_type = text(&response.headers, &CONTENT_TYPE).map(str::to_owned);
    match expected.and_then(|fork| fork.mismatch(&next_offset, content_type.as_deref())) {
        None => Ok(content_type),
        Some(mismatch) => Err(context.ignored_fork(response, &mismatch)),
    }
}

/// The request that deletes a stream (DELETE).
pub fn delete() -> Request {
    Request::new(Operation::Delete, Method::DELETE, HeaderMap::new(), None)
}

/// Checks the response to [`delete`].
///
/// # Errors
/// If the response is not a success, or not from a Durable Streams server.
pub fn deleted(response: Response, context: &Context<'_>) -> Result<()> {
    // If an earlier try may have deleted the stream, this one does not find it.
    let statuses: &[u16] = match response.tries.in_doubt {
        true => &[200, 202, 204, 404, 410],
        false => &[200, 202, 204],
    };
    let response = context.expect(response, statuses)?;
    // A Durable Streams server responds without a body. A page, such as a gateway's during maintenance, comes from
    // another server, which deleted nothing.
    match response.status.is_success() && (protocol::is_html(&response.headers) || !response.body.is_empty()) {
        true => Err(context.unexpected_body(response)),
        false => Ok(()),
    }
}

/// The request that closes the stream at `url` permanently (POST with `Stream-Closed`), after appending `body` if there
/// is one.
///
/// # Errors
/// `Kind::Argument` if the content type has characters that a header cannot have.
pub fn close(url: &str, content_type: Option<&str>, body: Option<Bytes>) -> Result<Request> {
    // Without data it is idempotent. With data, the response to a second request does not say who closed the stream.
    let (operation, repeat) = match body {
        None => (Operation::Close, Repeat::Safe),
        Some(_) => (Operation::CloseWithData, Repeat::UnlessSent),
    };
    let mut headers = Headers::new(About { operation, url });
    headers.set_if(protocol::STREAM_CLOSED, Some("true"))?;
    headers.set_if(CONTENT_TYPE, content_type)?;
    Ok(Request {
        repeat,
        ..Request::new(operation, Method::POST, headers.finish(), body)
    })
}

/// The final offset in the response to [`close`]. A request without data succeeds if the stream is closed already.
///
/// # Errors
/// If the response is not a success, or not from a Durable Streams server.
pub fn closed(response: Response, context: &Context<'_>, with_data: bool) -> Result<String> {
    let was_closed = response.status == StatusCode::CONFLICT && flag(&response.headers, &protocol::STREAM_CLOSED);
    if was_closed && !with_data {
        return context.next_offset(&response);
    }
    let response = context.expect(response, &[200, 204])?;
    context.next_offset(&response)
}

/// The body that appends one JSON message. A server flattens a top-level array, so the message is put into an array.
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
/// `Kind::Argument` if the content type or `seq` has characters that a header cannot have.
pub fn append(url: &str, content_type: &str, body: Bytes, seq: Option<&str>) -> Result<Request> {
    let operation = if seq.is_some() {
        Operation::AppendWithSeq
    } else {
        Operation::Append
    };
    let mut headers = Headers::new(About { operation, url });
    headers.set_if(CONTENT_TYPE, Some(content_type))?;
    headers.set_if(protocol::STREAM_SEQ, seq)?;
    // With a `seq`, the server rejects an append that it has stored already.
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

/// What the response to a successful append says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendSuccess {
    /// The stream's new end. Some servers do not say it of a duplicate.
    pub next_offset: Option<String>,
    /// Whether the server had stored the append already. Only an append with a producer's headers can be repeated.
    pub duplicate: bool,
}

/// What the response to [`append`] says, or that to [`close`] with data.
///
/// # Errors
/// If the response is not a success, or not from a Durable Streams server.
pub fn appended(response: Response, context: &Context<'_>) -> Result<AppendSuccess> {
    let response = context.expect(response, &[200, 201, 204])?;
    let once = matches!(
        context.about.operation,
        Operation::AppendOnce { .. } | Operation::CloseOnce
    );
    let duplicate = once && response.status == StatusCode::NO_CONTENT;
    let is_known_duplicate = duplicate && protocol::is_for_producer(&response.headers);
    let next_offset = match protocol::next_offset(&response.headers) {
        Err(PositionError::Missing { .. }) if is_known_duplicate => None,
        _ => Some(context.next_offset(&response)?),
    };
    Ok(AppendSuccess { next_offset, duplicate })
}
