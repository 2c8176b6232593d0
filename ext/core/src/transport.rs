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
    /// Whoever was to answer waits no more; others may wait for the same, and be asked.
    Left,
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
        Fault::Left => Failure::Final(error(Kind::Left, "nobody waits for the request any more")),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Patience, Repeat, send};
    use crate::endpoint::Values;
    use crate::error::Operation;
    use crate::http::{Client, Config};

    /// Answers every request in the same way.
    struct Same(fn() -> Answering);

    impl Transport for Same {
        fn answer(&self, request: Outgoing) -> Answering {
            assert_eq!(request.url.as_str(), "https://h/s?offset=-1");
            (self.0)()
        }
    }

    async fn outcome(patience: Patience, answering: fn() -> Answering) -> Result<Response, Failure> {
        let config = Config {
            timeout: Duration::from_secs(2),
            live_timeout: Duration::from_secs(5),
            ..Config::for_trials()
        };
        let endpoint = Endpoint::new(Client::new(config), "https://h/s", Values::default(), None)
            .unwrap()
            .answered_by(Arc::new(Same(answering)));
        let pool = endpoint.pool(Operation::Read).unwrap();
        let request = Request {
            operation: Operation::Read,
            method: Method::GET,
            headers: HeaderMap::new(),
            query: vec![("offset", "-1".to_owned())],
            body: None,
            repeat: Repeat::Safe,
            patience,
        };
        send(&endpoint, &pool, &request).await
    }

    #[tokio::test]
    async fn an_answer_is_like_one_from_the_network() {
        let answering = || -> Answering {
            let (pieces, body) = mpsc::unbounded_channel();
            for piece in ["a", "bc"] {
                pieces.send(Bytes::from_static(piece.as_bytes())).unwrap();
            }
            let answer = Incoming {
                status: StatusCode::ACCEPTED,
                headers: HeaderMap::new(),
                body: Content::Open(body),
            };
            Box::pin(async { Ok(answer) })
        };
        let mut response = outcome(Patience::Bounded, answering).await.unwrap();
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        let mut pieces = Vec::new();
        while let Some(piece) = response.chunk().await.unwrap() {
            pieces.push(piece);
        }
        assert_eq!(pieces, ["a", "bc"]);
    }

    #[tokio::test]
    async fn faults_are_told_apart_by_whether_the_request_was_sent() {
        let failure = async |answering| outcome(Patience::Bounded, answering).await.unwrap_err();
        let refused = failure(|| Box::pin(async { Err(Fault::Refused) })).await;
        assert!(matches!(refused, Failure::NotSent(error) if matches!(error.kind(), Kind::Connection)));
        let lost = failure(|| Box::pin(async { Err(Fault::Lost) })).await;
        assert!(matches!(lost, Failure::Unanswered(error) if matches!(error.kind(), Kind::Connection)));
        let silent = failure(|| Box::pin(async { Err(Fault::Silent) })).await;
        assert!(matches!(silent, Failure::Unanswered(error) if matches!(error.kind(), Kind::Timeout)));
        let gone = failure(|| Box::pin(async { Err(Fault::Gone) })).await;
        assert!(matches!(gone, Failure::Final(error) if matches!(error.kind(), Kind::Closed)));
        let failed = failure(|| Box::pin(async { Err(Fault::Failed(Arc::new(7))) })).await;
        assert!(matches!(failed, Failure::Final(error) if matches!(error.kind(), Kind::Application(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn the_application_has_as_long_as_a_server() {
        for (patience, limit) in [(Patience::Bounded, 2), (Patience::ServerHolds, 7)] {
            let started = tokio::time::Instant::now();
            let failure = outcome(patience, || Box::pin(std::future::pending()))
                .await
                .unwrap_err();
            assert!(matches!(failure, Failure::Unanswered(error) if matches!(error.kind(), Kind::Timeout)));
            assert_eq!(started.elapsed().as_secs(), limit);
        }
    }
}
