//! Where requests are answered: by the network, or by the application itself, which is what its tests do. Everything
//! above the sending of one request is the same for both.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use durable_streams_protocol::error::Operation;
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode, Url};
use tokio::sync::mpsc;

/// A request as it would go over the wire.
#[derive(Clone, Debug)]
pub struct TransportRequest {
    /// What it is for.
    pub operation: Operation,
    /// The method.
    pub method: Method,
    /// The URL, query included.
    pub url: Url,
    /// The headers: the protocol's and the user's.
    pub headers: HeaderMap,
    /// The body, if it has one.
    pub body: Option<Bytes>,
}

/// An answer as it would come over the wire.
#[derive(Debug)]
pub struct TransportResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: TransportBody,
}

/// An answer's body.
#[derive(Debug)]
pub enum TransportBody {
    /// All of it.
    Whole(Bytes),
    /// What comes, until the sending end is dropped.
    Streamed(mpsc::UnboundedReceiver<Bytes>),
}

/// Why there is no answer.
#[derive(Clone, Debug)]
pub enum TransportError {
    /// There is no connection; the request was not sent.
    Refused,
    /// The connection was lost after the request was sent.
    Lost,
    /// Nothing came for as long as the client waits.
    TimedOut,
    /// Whoever would have answered is gone.
    Closed,
    /// Whoever was to answer waits no more; others may wait for the same, and be asked.
    Abandoned,
    /// The application failed; it holds what the application said.
    Application(Arc<dyn Any + Send + Sync>),
}

/// What an answer comes as.
pub type ResponseFuture = Pin<Box<dyn Future<Output = Result<TransportResponse, TransportError>> + Send>>;

/// An application that answers requests in the network's stead.
pub trait Transport: Send + Sync {
    /// Answers one request. The future is dropped if the request is given up.
    fn execute(&self, request: TransportRequest) -> ResponseFuture;
}
