//! A response while it arrives. [`Incoming`] is one whose headers have arrived.

use bytes::{Bytes, BytesMut};
use durable_streams_protocol::error::{Error, Kind, Operation, Result};
use durable_streams_protocol::redirected::RedirectedTo;
use durable_streams_protocol::request::{self, RequestFailure, ResponseTimeout};
use reqwest::header::HeaderMap;
use reqwest::{Response, StatusCode};
use tokio::time::Instant;

use super::failure::{broken, silent};
use super::observation::Observation;
use crate::endpoint::Endpoint;

/// How many bytes of a response's body are read if it is not a stream's content.
const RESPONSE_BODY_LIMIT: usize = 64 * 1024;

/// A response whose headers have arrived.
#[derive(Debug)]
pub(crate) struct Incoming {
    response: Response,
    observation: Option<Observation>,
}

impl Incoming {
    pub(super) fn new(response: Response, mut observation: Option<Observation>) -> Self {
        if let Some(observation) = &mut observation {
            observation.responded(response.status());
        }
        Self { response, observation }
    }

    /// The status.
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The headers.
    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// The size of the body, if it is known.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// Redirects led the request there.
    pub(super) fn note_redirect(&mut self, to: Option<RedirectedTo>) {
        if let Some(to) = to {
            self.response.extensions_mut().insert(to);
        }
    }

    /// The response with this body.
    pub(super) fn into_response(mut self, body: BytesMut) -> request::Response {
        request::Response {
            status: self.status(),
            headers: std::mem::take(self.response.headers_mut()),
            body: body.freeze(),
            tries: Default::default(),
            redirected: self.response.extensions_mut().remove(),
        }
    }

    /// The next piece of the body, or `None` at its complete end.
    pub(super) async fn chunk(&mut self) -> reqwest::Result<Option<Bytes>> {
        let piece = self.response.chunk().await?;
        match &piece {
            Some(piece) => self.observe(|observation| observation.received(piece.len())),
            None => drop(self.observation.take()),
        }
        Ok(piece)
    }

    fn observe(&mut self, observe: impl FnOnce(&mut Observation)) {
        if let Some(observation) = &mut self.observation {
            observe(observation);
        }
    }

    /// The body ends with this error.
    fn end_with(&mut self, error: Error) -> Error {
        self.observe(|observation| observation.failed(&error));
        self.observation = None;
        error
    }
}

/// Reads a response whose result is in the status and headers. Its body is for error messages, so only the beginning
/// is read, and a body that breaks off is no error. Nor is one that goes on for longer than the client's `timeout`, such
/// as an event stream, which never ends.
pub(crate) async fn read_response(
    endpoint: &Endpoint,
    operation: Operation,
    mut incoming: Incoming,
) -> request::Response {
    let (mut body, began) = (BytesMut::new(), Instant::now());
    while body.len() < RESPONSE_BODY_LIMIT
        && began.elapsed() < endpoint.client().config().timeout
        && let Ok(Some(piece)) = next_piece(endpoint, operation, &mut incoming).await
    {
        body.extend_from_slice(&piece);
    }
    body.truncate(RESPONSE_BODY_LIMIT);
    incoming.into_response(body)
}

/// Reads a response whose body is the result.
pub(super) async fn read_completely(
    endpoint: &Endpoint,
    operation: Operation,
    mut incoming: Incoming,
) -> std::result::Result<request::Response, RequestFailure> {
    let limit = endpoint.client().config().max_message_bytes;
    let mut body = BytesMut::new();
    let lost = RequestFailure::ResponseLost;
    while let Some(piece) = next_piece(endpoint, operation, &mut incoming).await.map_err(lost)? {
        if piece.len() > limit - body.len() {
            let reason = format!("the response has more than {limit} bytes (max_message_bytes)");
            let error = endpoint.about(operation).error(Kind::Parse, reason);
            return Err(RequestFailure::Final(error));
        }
        body.extend_from_slice(&piece);
    }
    Ok(incoming.into_response(body))
}

/// The next piece of a body, or `None` at its complete end. Waits at most for the client's `timeout`.
pub(crate) async fn next_piece(
    endpoint: &Endpoint,
    operation: Operation,
    incoming: &mut Incoming,
) -> Result<Option<Bytes>> {
    let limit = endpoint.client().config().timeout;
    let error = match tokio::time::timeout(limit, incoming.chunk()).await {
        Ok(Ok(piece)) => return Ok(piece),
        Ok(Err(error)) => broken(endpoint.about(operation), error),
        Err(_) => silent(
            endpoint.about(operation),
            "no more data",
            limit,
            ResponseTimeout::Normal,
        ),
    };
    Err(incoming.end_with(error))
}

/// The next piece of a live read's body, or `None` at its complete end. Waits at most for the client's `live_timeout`.
pub(crate) async fn next_live_piece(
    endpoint: &Endpoint,
    operation: Operation,
    incoming: &mut Incoming,
) -> std::result::Result<Option<Bytes>, LiveBodyError> {
    match tokio::time::timeout(endpoint.client().config().live_timeout, incoming.chunk()).await {
        Ok(Ok(piece)) => Ok(piece),
        Ok(Err(error)) => Err(LiveBodyError::Broken(
            incoming.end_with(broken(endpoint.about(operation), error)),
        )),
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
