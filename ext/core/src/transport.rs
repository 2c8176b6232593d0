//! Where requests are answered: by the network, or by the application itself, which is what its tests do. Everything
//! above the sending of one request is the same for both.

use std::any::Any;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use reqwest::header::HeaderMap;
use reqwest::{Method, Response, StatusCode, Url};
use tokio::sync::mpsc;

use crate::call::{Failure, Request, silent};
use crate::endpoint::Endpoint;
use crate::error::{Error, Kind};

/// A request as it would go over the wire.
#[derive(Clone, Debug)]
pub struct Outgoing {
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
pub struct Incoming {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Content,
}

/// An answer's body.
#[derive(Debug)]
pub enum Content {
    /// All of it.
    Whole(Bytes),
    /// What comes, until the sending end is dropped.
    Open(mpsc::UnboundedReceiver<Bytes>),
}

/// Why there is no answer.
#[derive(Clone, Debug)]
pub enum Fault {
    /// There is no connection; the request was not sent.
    Refused,
    /// The connection was lost after the request was sent.
    Lost,
    /// Nothing came for as long as the client waits.
    Silent,
    /// Whoever would have answered is gone.
    Gone,
    /// The application failed; it holds what the application said.
    Failed(Arc<dyn Any + Send + Sync>),
}

/// What an answer comes as.
pub type Answering = Pin<Box<dyn Future<Output = Result<Incoming, Fault>> + Send>>;

/// An application that answers requests in the network's stead.
pub trait Transport: Send + Sync {
    /// Answers one request. The future is dropped if the request is given up.
    fn answer(&self, request: Outgoing) -> Answering;
}

/// Has the application answer a request, within the time that a server would have.
pub(crate) async fn ask(
    endpoint: &Endpoint,
    transport: &dyn Transport,
    request: &Request,
    url: Url,
    headers: HeaderMap,
    limit: Duration,
) -> Result<Response, Failure> {
    let answering = transport.answer(Outgoing {
        method: request.method.clone(),
        url,
        headers,
        body: request.body.clone(),
    });
    let answer = tokio::time::timeout(limit, answering)
        .await
        .unwrap_or(Err(Fault::Silent));
    answer
        .map(response)
        .map_err(|fault| failure(endpoint, request, fault, limit))
}

fn failure(endpoint: &Endpoint, request: &Request, fault: Fault, limit: Duration) -> Failure {
    let error = |kind, reason| Error::new(kind, request.operation, endpoint.display(), reason);
    match fault {
        Fault::Refused => Failure::NotSent(error(Kind::Connection, "could not connect")),
        Fault::Lost => Failure::Unanswered(error(Kind::Connection, "the connection was lost")),
        Fault::Silent => Failure::Unanswered(silent(endpoint, request.operation, limit)),
        Fault::Gone => Failure::Final(error(Kind::Closed, "nobody is there to answer the request")),
        Fault::Failed(said) => Failure::Final(error(Kind::Application(said), "the answer could not be made")),
    }
}

fn response(answer: Incoming) -> Response {
    let body = match answer.body {
        Content::Whole(bytes) => bytes.into(),
        Content::Open(pieces) => reqwest::Body::wrap(Pieces(pieces)),
    };
    let mut response = http::Response::new(body);
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response.into()
}

struct Pieces(mpsc::UnboundedReceiver<Bytes>);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(context)
            .map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }
}
