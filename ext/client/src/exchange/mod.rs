//! One request and its answer: time limits, redirects. [`retry`] sends it again where that is safe.

use bytes::{Bytes, BytesMut};
use durable_streams_protocol::error::{Error, Kind, Operation, Result};
use durable_streams_protocol::request::{self, Request, RequestFailure, ResponseTimeout};
use reqwest::header::{ACCEPT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Method, Response, Url};

use self::failure::{broken, silent, unsent};
use crate::connections::Pool;
use crate::endpoint::Endpoint;

pub(crate) mod failure;
mod gunzip;
mod in_memory;
pub(crate) mod retry;
mod upload;

/// How much of an answer is kept where the answer is not a stream's content.
const RESPONSE_BODY_LIMIT: usize = 64 * 1024;
const MOST_REDIRECTS: usize = 5;

/// Sends the request once and reads its answer.
pub(crate) async fn attempt(
    endpoint: &Endpoint,
    pool: &Pool,
    request: &Request,
) -> std::result::Result<request::Response, RequestFailure> {
    let response = send(endpoint, pool, request).await?;
    Ok(read_response(endpoint, request.operation, response).await)
}

/// An answer that says all in its status and headers. Its body, or the beginning of it, is for a message's text: that it
/// breaks off does not change what the answer says.
pub(crate) async fn read_response(
    endpoint: &Endpoint,
    operation: Operation,
    mut response: Response,
) -> request::Response {
    let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
    let mut body = BytesMut::new();
    while body.len() < RESPONSE_BODY_LIMIT
        && let Ok(Some(piece)) = next_piece(endpoint, operation, &mut response).await
    {
        body.extend_from_slice(&piece);
    }
    body.truncate(RESPONSE_BODY_LIMIT);
    request::Response {
        status,
        headers,
        body: body.freeze(),
        after_lost_response: false,
    }
}

/// The next piece of a body, `None` at its proper end. Bounded by the client's timeout.
pub(crate) async fn next_piece(
    endpoint: &Endpoint,
    operation: Operation,
    response: &mut Response,
) -> Result<Option<Bytes>> {
    let limit = endpoint.client().config().timeout;
    match tokio::time::timeout(limit, response.chunk()).await {
        Ok(piece) => piece.map_err(|e| broken(endpoint.about(operation), e)),
        Err(_) => Err(silent(endpoint.about(operation), limit)),
    }
}

/// The next piece of a body that the server holds open, `None` at its proper end.
pub(crate) async fn next_live_piece(
    endpoint: &Endpoint,
    operation: Operation,
    response: &mut Response,
) -> std::result::Result<Option<Bytes>, LiveBodyError> {
    match tokio::time::timeout(endpoint.client().config().live_timeout, response.chunk()).await {
        Ok(piece) => piece.map_err(|e| LiveBodyError::Broken(broken(endpoint.about(operation), e))),
        Err(_) => Err(LiveBodyError::Idle),
    }
}

/// Why there is no next piece of a body that the server holds open.
pub(crate) enum LiveBodyError {
    /// The server said nothing for longer than one waits for it.
    Idle,
    /// The body broke off.
    Broken(Error),
}

/// Sends the request once (and follows redirects where that is allowed); returns as soon as the headers are there.
pub(crate) async fn send(
    endpoint: &Endpoint,
    pool: &Pool,
    request: &Request,
) -> std::result::Result<Response, RequestFailure> {
    let query: Vec<(&str, &str)> = request
        .query
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let prepared = endpoint
        .prepare(request.operation, &request.headers, &query)
        .await
        .map_err(RequestFailure::Final)?;
    let (mut url, mut headers) = (prepared.url, prepared.headers);
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return send_to(endpoint, pool, request, url, headers).await;
    }
    let mut redirected_pool = None;
    for _ in 0..=MOST_REDIRECTS {
        let pool = redirected_pool.as_ref().unwrap_or(pool);
        let response = send_to(endpoint, pool, request, url.clone(), headers.clone()).await?;
        if !(response.status().is_redirection() && response.headers().contains_key(LOCATION)) {
            return Ok(response);
        }
        let to = target(endpoint, request.operation, &url, &response).map_err(RequestFailure::Final)?;
        let from = std::mem::replace(&mut url, to);
        if url.origin() != from.origin() {
            // Another origin gets nothing of the user's: neither secrets nor cookies nor the client's certificate.
            headers = request.headers.clone();
            let other = endpoint.pool_elsewhere(request.operation, pool, &url);
            redirected_pool = Some(other.map_err(RequestFailure::Final)?);
        }
    }
    let reason = format!("more than {MOST_REDIRECTS} redirects");
    let about = endpoint.about(request.operation);
    Err(RequestFailure::Final(about.error(Kind::Status, reason)))
}

/// Where a redirect leads.
fn target(endpoint: &Endpoint, operation: Operation, from: &Url, response: &Response) -> Result<Url> {
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let joined = location.and_then(|location| from.join(location).ok());
    joined
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .ok_or_else(|| {
            let reason = "a redirect to something that is not a web address";
            endpoint.about(operation).error(Kind::Status, reason)
        })
}

async fn send_to(
    endpoint: &Endpoint,
    pool: &Pool,
    request: &Request,
    url: Url,
    headers: HeaderMap,
) -> std::result::Result<Response, RequestFailure> {
    endpoint.check_open(request.operation).map_err(RequestFailure::Final)?;
    let config = endpoint.client().config();
    let limit = match request.response_timeout {
        ResponseTimeout::Normal => config.timeout,
        // Connecting is bounded by `timeout` and no news; only what comes after it is held.
        ResponseTimeout::Live => config.timeout + config.live_timeout,
    };
    if let Some(application) = endpoint.transport() {
        return in_memory::execute(
            endpoint.about(request.operation),
            application,
            request,
            url,
            headers,
            limit,
        )
        .await;
    }
    pool.check(&url)
        .map_err(|why| RequestFailure::Final(why.at(request.operation, endpoint.display())))?;
    let mut message = reqwest::Request::new(request.method.clone(), url);
    *message.headers_mut() = headers;
    message.headers_mut().entry(ACCEPT_ENCODING).or_insert(gunzip::ACCEPTED);
    let mut progress = upload::Progress::default();
    let is_empty = request.body.as_ref().is_none_or(Bytes::is_empty);
    if is_empty && matches!(request.method, Method::POST | Method::PUT) {
        // Unsaid, some gateways refuse it (411; RFC 9110, 8.6).
        message
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    if let Some(bytes) = &request.body {
        let (body, body_progress) = upload::body(bytes.clone());
        *message.body_mut() = Some(body);
        progress = body_progress;
    }
    let sending = pool.connections().execute(message);
    if let Some(sent) = upload::with_silence_limit(limit, &progress, sending).await {
        return sent
            .map(gunzip::decoded)
            .map_err(|e| unsent(endpoint.about(request.operation), e));
    }
    let error = silent(endpoint.about(request.operation), limit);
    Err(match !is_empty && !progress.begun() {
        true => RequestFailure::NotSent(error),
        false => RequestFailure::ResponseLost(error),
    })
}
