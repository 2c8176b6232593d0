//! One HTTP request and its response: time limits, redirects and compression. Read [`attempt`], [`send`] and
//! [`Incoming`] first.
//!
//! [`retry`] sends a request several times. What a response means is decided in `durable-streams-protocol`.

use bytes::BytesMut;
use durable_streams_protocol::error::Kind;
use durable_streams_protocol::request::{Request, RequestFailure, Response};

pub(crate) use self::incoming::{Incoming, LiveBodyError, next_live_piece, next_piece, read_response};
pub(crate) use self::redirect::send;
use crate::connections::Pool;
use crate::endpoint::Endpoint;

#[cfg(test)]
mod client_for_tests;
pub(crate) mod failure;
mod gunzip;
mod in_memory;
mod incoming;
mod observation;
mod redirect;
pub(crate) mod retry;
mod single;
mod upload;
mod whole;

/// Sends the request once and reads its response. `attempt` is the number of the try.
pub(crate) async fn attempt(
    endpoint: &Endpoint,
    pool: &Pool,
    request: &Request,
    attempt: u32,
) -> Result<Response, RequestFailure> {
    let response = send(endpoint, pool, request, attempt).await?;
    Ok(read_response(endpoint, request.operation, response).await)
}

/// Sends the request once and reads its response completely. `attempt` is the number of the try.
pub(crate) async fn attempt_completely(
    endpoint: &Endpoint,
    pool: &Pool,
    request: &Request,
    attempt: u32,
) -> Result<Response, RequestFailure> {
    let mut incoming = send(endpoint, pool, request, attempt).await?;
    let limit = endpoint.client().config().max_message_bytes;
    let mut body = BytesMut::new();
    let lost = RequestFailure::ResponseLost;
    while let Some(piece) = next_piece(endpoint, request.operation, &mut incoming)
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
    Ok(incoming.into_response(body))
}
