//! The operations that are not reads, each as a [`Job`]. They share no request; for appends that do, see
//! [`append`](mod@crate::append).

use std::sync::Arc;

use bytes::Bytes;
use durable_streams_protocol::error::{Purpose, Result};
use durable_streams_protocol::operations::{self, AppendSuccess, Create, Head};
use durable_streams_protocol::request::{Context, Request, Response};

use crate::connections::Pool;
use crate::endpoint::Endpoint;
use crate::exchange::retry::send_with_retries;
use crate::inline::job::{AnyJob, AnyResult, Job};

/// Gets a stream's metadata (HEAD). `purpose` is the operation that needs it, if there is one.
pub fn head(endpoint: &Arc<Endpoint>, purpose: Option<Purpose>) -> Job<Head> {
    job(endpoint, operations::head(purpose), Head::of)
}

/// Creates a stream (PUT). It is a success if the stream exists with the same configuration. Gives the content type, if
/// the server reports it. A fork is an error if the server ignored that it is one.
///
/// # Errors
/// `Kind::Argument` if a value is invalid in a header.
pub fn create(endpoint: &Arc<Endpoint>, how: Create) -> Result<Job<Option<String>>> {
    let expected = how.expected_fork();
    let request = operations::create(endpoint.display(), how)?;
    let meaning = move |response, context: &Context<'_>| operations::created(response, context, expected.as_ref());
    Ok(job(endpoint, request, meaning))
}

/// Deletes a stream (DELETE).
pub fn delete(endpoint: &Arc<Endpoint>) -> Job<()> {
    job(endpoint, operations::delete(), operations::deleted)
}

/// Closes a stream permanently (POST with `Stream-Closed`), with `body` as its last message if there is one. Gives the
/// final offset.
///
/// # Errors
/// `Kind::Argument` if the content type is invalid in a header.
pub fn close(endpoint: &Arc<Endpoint>, content_type: Option<&str>, body: Option<Bytes>) -> Result<Job<String>> {
    let with_data = body.is_some();
    let request = operations::close(endpoint.display(), content_type, body)?;
    let meaning = move |response, context: &Context<'_>| operations::closed(response, context, with_data);
    Ok(job(endpoint, request, meaning))
}

/// Appends `body` (POST), with `Stream-Seq` if `seq` is given.
///
/// # Errors
/// `Kind::Argument` if the content type or `seq` is invalid in a header.
pub fn append(
    endpoint: &Arc<Endpoint>,
    content_type: &str,
    body: Bytes,
    seq: Option<&str>,
) -> Result<Job<AppendSuccess>> {
    let request = operations::append(endpoint.display(), content_type, body, seq)?;
    Ok(job(endpoint, request, operations::appended))
}

/// Makes a job's result, of any type, from the response.
type ResponseMeaning = Box<dyn FnOnce(Response, &Context<'_>) -> Result<AnyResult> + Send>;

/// A job that sends `request`, with retries. `meaning` makes the outcome from the response.
pub(crate) fn job<T: Send + 'static>(
    endpoint: &Arc<Endpoint>,
    request: Request,
    meaning: impl FnOnce(Response, &Context<'_>) -> Result<T> + Send + 'static,
) -> Job<T> {
    let to = Arc::clone(endpoint);
    let meaning: ResponseMeaning =
        Box::new(|response, context| meaning(response, context).map(|result| Box::new(result) as AnyResult));
    AnyJob::new(endpoint, request.operation, |pool| run(to, pool, request, meaning)).of()
}

async fn run(to: Arc<Endpoint>, pool: Pool, request: Request, meaning: ResponseMeaning) -> Result<AnyResult> {
    let response = send_with_retries(&to, &pool, &request).await?;
    meaning(response, &to.context(request.operation))
}
