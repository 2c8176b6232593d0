//! The requests that are not reads: create, head, append, close, delete. Each is one request and what its answer means.

use std::sync::Arc;

use bytes::Bytes;
use durable_streams_protocol::error::{Operation, Purpose, Result};
use durable_streams_protocol::protocol::{self, Unusable, flag, number, text};
use durable_streams_protocol::request::{
    Answer, Context, Create, Created, Head, Headers, Repeat, Request, append_request,
};
use reqwest::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderName};
use reqwest::{Method, StatusCode};

use crate::endpoint::Endpoint;
use crate::exchange::tries::call;
use crate::inline::job::Work;

/// Asks for a stream's metadata (HEAD), for its own sake or for what it is needed for.
pub fn head(endpoint: &Arc<Endpoint>, purpose: Option<Purpose>) -> Work<Head> {
    let operation = purpose.map_or(Operation::Head, Operation::HeadFor);
    let request = Request::new(operation, Method::HEAD, HeaderMap::new(), None);
    work(endpoint, request, |answer, context| {
        let answer = context.expect(answer, &[200, 204])?;
        let next_offset = context.next_offset(&answer)?;
        let headers = &answer.headers;
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
    })
}

/// Creates a stream (PUT).
pub fn create(endpoint: &Arc<Endpoint>, how: Create) -> Result<Work<Created>> {
    let mut headers = Headers::new(endpoint.about(Operation::Create));
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
    let request = Request::new(Operation::Create, Method::PUT, headers.finish(), how.body);
    let work = work(endpoint, request, |answer, context| {
        let answer = context.expect(answer, &[200, 201, 204])?;
        let next_offset = context.next_offset(&answer)?;
        let owned = |name: HeaderName| text(&answer.headers, &name).map(str::to_owned);
        Ok(Created {
            content_type: owned(CONTENT_TYPE),
            next_offset: Some(next_offset),
            created: answer.status == StatusCode::CREATED,
        })
    });
    Ok(work)
}

/// Deletes a stream (DELETE).
pub fn delete(endpoint: &Arc<Endpoint>) -> Work<()> {
    let request = Request::new(Operation::Delete, Method::DELETE, HeaderMap::new(), None);
    work(endpoint, request, |answer, context| {
        // Not there any more, after a try whose answer was lost: that try deleted it.
        let statuses: &[u16] = if answer.after_silence {
            &[200, 202, 204, 404, 410]
        } else {
            &[200, 202, 204]
        };
        let answer = context.expect(answer, statuses)?;
        // What deletes has nothing to say; a web page says that nothing was deleted.
        match answer.status.is_success() && protocol::is_html(&answer.headers) {
            true => Err(context.unusable(&answer, Unusable::Missing { html: true })),
            false => Ok(()),
        }
    })
}

/// Closes a stream for good (POST with `Stream-Closed`), after appending `body` if there is one. Gives the final offset.
pub fn close(endpoint: &Arc<Endpoint>, content_type: Option<&str>, body: Option<Bytes>) -> Result<Work<String>> {
    let mut headers = Headers::new(endpoint.about(Operation::Close));
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
        ..Request::new(Operation::Close, Method::POST, headers.finish(), body)
    };
    let work = work(endpoint, request, move |answer, context| {
        if without_data && answer.status == StatusCode::CONFLICT && flag(&answer.headers, &protocol::STREAM_CLOSED) {
            return context.next_offset(&answer);
        }
        let answer = context.expect(answer, &[200, 204])?;
        context.next_offset(&answer)
    });
    Ok(work)
}

/// Appends `body` (POST), with `Stream-Seq` if `seq` is given. Gives the new tail.
pub fn append(endpoint: &Arc<Endpoint>, content_type: &str, body: Bytes, seq: Option<&str>) -> Result<Work<String>> {
    let request = append_request(endpoint.display(), content_type, body, seq)?;
    Ok(work(endpoint, request, appended))
}

/// The new tail, as the answer to an append has it.
pub(crate) fn appended(answer: Answer, context: &Context<'_>) -> Result<String> {
    // A conflict after a try whose answer was lost may be with that very try.
    let ambiguous = answer.after_silence && answer.status == StatusCode::CONFLICT;
    match context.expect(answer, &[200, 201, 204]) {
        Ok(answer) => context.next_offset(&answer),
        Err(error) if ambiguous => Err(error.with_unknown_outcome()),
        Err(error) => Err(error),
    }
}

fn work<T: Send + 'static>(
    endpoint: &Arc<Endpoint>,
    request: Request,
    meaning: impl FnOnce(Answer, &Context<'_>) -> Result<T> + Send + 'static,
) -> Work<T> {
    let to = Arc::clone(endpoint);
    Work::new(endpoint, request.operation, |pool| async move {
        let answer = call(&to, &pool, &request).await?;
        meaning(answer, &to.context(request.operation))
    })
}
