//! One HTTP request and its response: time limits, redirects and compression. Read [`attempt`] and [`send`] first.
//!
//! [`retry`] sends a request several times. What a response means is decided in `durable-streams-protocol`.

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

/// How many bytes of a response's body are read if it is not a stream's content.
const RESPONSE_BODY_LIMIT: usize = 64 * 1024;
const MOST_REDIRECTS: usize = 5;

/// Sends the request once and reads its response.
pub(crate) async fn attempt(
    endpoint: &Endpoint,
    pool: &Pool,
    request: &Request,
) -> std::result::Result<request::Response, RequestFailure> {
    let response = send(endpoint, pool, request).await?;
    Ok(read_response(endpoint, request.operation, response).await)
}

/// Reads a response whose status and headers have all that counts. The beginning of its body only goes into error
/// messages, so a body that breaks off is no error.
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

/// The next piece of a body, or `None` at its complete end. Waits at most for the client's `timeout`.
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

/// The next piece of a live read's body, or `None` at its complete end. Waits at most for the client's `live_timeout`.
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

/// Why a live read's body has no next piece.
pub(crate) enum LiveBodyError {
    /// Nothing arrived within the client's `live_timeout`.
    Idle,
    /// The body broke off.
    Broken(Error),
}

/// Sends the request once and returns when the response's headers have arrived. Follows the redirects of GET and HEAD.
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
            // The user's headers, cookies and client certificate must not go to another origin.
            headers = request.headers.clone();
            let other = endpoint.pool_elsewhere(request.operation, pool, &url);
            redirected_pool = Some(other.map_err(RequestFailure::Final)?);
        }
    }
    let reason = format!("more than {MOST_REDIRECTS} redirects");
    let about = endpoint.about(request.operation);
    Err(RequestFailure::Final(about.error(Kind::Status, reason)))
}

/// The URL that a redirect leads to.
fn target(endpoint: &Endpoint, operation: Operation, from: &Url, response: &Response) -> Result<Url> {
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let joined = location.and_then(|location| from.join(location).ok());
    joined
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .ok_or_else(|| {
            let reason = "the server redirected to a URL that is not http or https";
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
        // Connecting takes `timeout` at most. The server may then wait for new data for as long as `live_timeout`.
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
        // Without this header some gateways refuse the request (411; RFC 9110, 8.6).
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
