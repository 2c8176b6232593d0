//! One HTTP request and its response: time limits, redirects and compression. Read [`attempt`] and [`send`] first.
//!
//! [`retry`] sends a request several times. What a response means is decided in `durable-streams-protocol`.

use bytes::{Bytes, BytesMut};
use durable_streams_protocol::error::{Error, Kind, Operation, Result};
use durable_streams_protocol::request::{self, Request, RequestFailure, ResponseTimeout};
use reqwest::Response;

use self::failure::{broken, silent};
pub(crate) use self::redirect::send;
use crate::connections::Pool;
use crate::endpoint::Endpoint;

pub(crate) mod failure;
mod gunzip;
mod in_memory;
mod redirect;
pub(crate) mod retry;
mod single;
mod upload;

/// How many bytes of a response's body are read if it is not a stream's content.
const RESPONSE_BODY_LIMIT: usize = 64 * 1024;

/// Sends the request once and reads its response.
pub(crate) async fn attempt(
    endpoint: &Endpoint,
    pool: &Pool,
    request: &Request,
) -> std::result::Result<request::Response, RequestFailure> {
    let response = send(endpoint, pool, request).await?;
    Ok(read_response(endpoint, request.operation, response).await)
}

/// Sends the request once and reads its response completely.
pub(crate) async fn attempt_completely(
    endpoint: &Endpoint,
    pool: &Pool,
    request: &Request,
) -> std::result::Result<request::Response, RequestFailure> {
    let mut response = send(endpoint, pool, request).await?;
    let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
    let limit = endpoint.client().config().max_message_bytes;
    let mut body = BytesMut::new();
    let lost = RequestFailure::ResponseLost;
    while let Some(piece) = next_piece(endpoint, request.operation, &mut response)
        .await
        .map_err(lost)?
    {
        if piece.len() > limit - body.len() {
            let reason = format!("the response has more than {limit} bytes (max_message_bytes)");
            let error = endpoint.about(request.operation).error(Kind::Parse, reason);
            return Err(RequestFailure::Final(error));
        }
        body.extend_from_slice(&piece);
    }
    Ok(request::Response {
        status,
        headers,
        body: body.freeze(),
        tries: Default::default(),
        redirected: response.extensions_mut().remove(),
    })
}

/// Reads a response of which only the status and headers matter. Its body is for error messages, so only the beginning
/// is read, and a body that breaks off is no error.
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
        tries: Default::default(),
        redirected: response.extensions_mut().remove(),
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
        Err(_) => Err(silent(
            endpoint.about(operation),
            "no more data",
            limit,
            ResponseTimeout::Normal,
        )),
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
