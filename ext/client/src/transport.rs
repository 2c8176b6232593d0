//! Transports that execute requests in memory, instead of the network. `durable_streams/testing` uses one. Retries,
//! reads and producers are the same for both. Read [`Transport`] first.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use durable_streams_protocol::error::Operation;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode, Url};
use tokio::sync::mpsc;

/// A request, with all that the network would send.
#[derive(Clone, Debug)]
pub struct TransportRequest {
    /// The operation that it belongs to.
    pub operation: Operation,
    /// The method.
    pub method: Method,
    /// The URL, query included.
    pub url: Url,
    /// The protocol's and the user's headers.
    pub headers: HeaderMap,
    /// The body, if it has one.
    pub body: Option<Bytes>,
}

/// A response.
#[derive(Debug)]
pub struct TransportResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: TransportBody,
}

/// A response's body.
#[derive(Debug)]
pub enum TransportBody {
    /// The whole body.
    Whole(Bytes),
    /// The body's pieces as they arrive. It ends when the sender is dropped.
    Streamed(mpsc::UnboundedReceiver<Bytes>),
}

/// Why a request has no response.
#[derive(Clone, Debug)]
pub enum TransportError {
    /// The connection was refused. The request was not sent.
    Refused,
    /// The connection was lost after the request was sent.
    Lost,
    /// No response arrived within the client's time limit.
    TimedOut,
    /// The transport is closed.
    Closed,
    /// The caller that was to execute the request does not wait for it any more. If another caller waits for the same
    /// request, that one executes it.
    Abandoned,
    /// The application raised this error.
    Application(Arc<dyn Any + Send + Sync>),
}

/// The future of a response.
pub type ResponseFuture = Pin<Box<dyn Future<Output = Result<TransportResponse, TransportError>> + Send>>;

/// What executes requests instead of the network.
pub trait Transport: Send + Sync {
    /// Executes one request. The future is dropped if the request is cancelled.
    fn execute(&self, request: TransportRequest) -> ResponseFuture;
}
