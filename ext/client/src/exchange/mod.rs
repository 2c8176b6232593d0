//! One HTTP request and its response: time limits, redirects and compression. Read [`attempt`], [`send`] and
//! [`Incoming`] first.
//!
//! [`retry`] sends a request several times. What a response means is decided in `durable-streams-protocol`.

use durable_streams_protocol::request::{Request, RequestFailure, Response};

use self::incoming::read_completely;
pub(crate) use self::incoming::{Incoming, LiveBodyError, next_live_piece, next_piece, read_response};
pub(crate) use self::redirect::send;
use crate::connections::Pool;
use crate::endpoint::Endpoint;

#[cfg(test)]
pub(crate) mod client_for_tests;
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
    match request.operation.has_result_in_body() {
        true => read_completely(endpoint, request.operation, response).await,
        false => Ok(read_response(endpoint, request.operation, response).await),
    }
}
