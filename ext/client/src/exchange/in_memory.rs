//! Requests that the application's transport executes, instead of the network.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use durable_streams_protocol::error::{About, Kind};
use durable_streams_protocol::request::{Request, RequestFailure};
use http_body::{Body as HttpBody, Frame};
use reqwest::header::HeaderMap;
use reqwest::{Response, Url};
use tokio::sync::mpsc;

use super::failure::silent;
use crate::transport::{Transport, TransportBody, TransportError, TransportRequest, TransportResponse};

/// Has the transport execute a request, within the same time limit as a server.
pub(crate) async fn execute(
    about: About<'_>,
    transport: &dyn Transport,
    request: &Request,
    url: Url,
    headers: HeaderMap,
    limit: Duration,
) -> Result<Response, RequestFailure> {
    let response = transport.execute(TransportRequest {
        operation: request.operation,
        method: request.method.clone(),
        url,
        headers,
        body: request.body.clone(),
    });
    let outcome = tokio::time::timeout(limit, response)
        .await
        .unwrap_or(Err(TransportError::TimedOut));
    outcome
        .map(into_reqwest)
        .map_err(|error| failure(about, request, error, limit))
}

fn failure(about: About<'_>, request: &Request, transport_error: TransportError, limit: Duration) -> RequestFailure {
    let error = |kind, reason| about.error(kind, reason);
    match transport_error {
        TransportError::Refused => RequestFailure::NotSent(error(Kind::Connection, "could not connect")),
        TransportError::Lost => RequestFailure::ResponseLost(error(Kind::Connection, "the connection was lost")),
        TransportError::TimedOut => {
            RequestFailure::ResponseLost(silent(about, "no response", limit, request.response_timeout))
        }
        TransportError::Closed => RequestFailure::Final(error(Kind::Closed, "the transport is closed")),
        TransportError::Abandoned => {
            RequestFailure::Final(error(Kind::Abandoned, "no caller waits for the request any more"))
        }
        TransportError::Application(said) => {
            RequestFailure::Final(error(Kind::Application(said), "the transport raised an error"))
        }
    }
}

fn into_reqwest(response: TransportResponse) -> Response {
    let body = match response.body {
        TransportBody::Whole(bytes) => bytes.into(),
        TransportBody::Streamed(pieces) => reqwest::Body::wrap(StreamedBody(pieces)),
    };
    let mut reqwest_response = http::Response::new(body);
    *reqwest_response.status_mut() = response.status;
    *reqwest_response.headers_mut() = response.headers;
    reqwest_response.into()
}

/// A body whose pieces arrive through a channel.
struct StreamedBody(mpsc::UnboundedReceiver<Bytes>);

impl HttpBody for StreamedBody {
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
    use std::sync::Arc;

    use durable_streams_protocol::error::Operation;
    use durable_streams_protocol::request::{Repeat, ResponseTimeout};
    use durable_streams_protocol::target::Values;
    use reqwest::{Method, StatusCode};

    use super::*;
    use crate::connections::{Client, Config};
    use crate::endpoint::Endpoint;
    use crate::exchange::{Incoming, send};
    use crate::transport::ResponseFuture;

    /// Responds to every request in the same way.
    struct SameResponse(fn() -> ResponseFuture);

    impl Transport for SameResponse {
        fn execute(&self, request: TransportRequest) -> ResponseFuture {
            assert_eq!(request.url.as_str(), "https://h/s?offset=-1");
            (self.0)()
        }
    }

    async fn outcome(
        response_timeout: ResponseTimeout,
        respond: fn() -> ResponseFuture,
    ) -> Result<Incoming, RequestFailure> {
        let config = Config {
            timeout: Duration::from_secs(2),
            live_timeout: Duration::from_secs(5),
            ..Config::for_tests()
        };
        let endpoint = Endpoint::new(Client::new(config), "https://h/s", Values::default(), None)
            .unwrap()
            .with_transport(Arc::new(SameResponse(respond)));
        let pool = endpoint.pool(Operation::Read).unwrap();
        let request = Request {
            operation: Operation::Read,
            method: Method::GET,
            headers: HeaderMap::new(),
            query: vec![("offset", "-1".to_owned())],
            body: None,
            repeat: Repeat::Safe,
            response_timeout,
        };
        send(&endpoint, &pool, &request, 1).await
    }

    #[tokio::test]
    async fn an_in_memory_response_is_like_one_from_the_network() {
        let respond = || -> ResponseFuture {
            let (pieces, body) = mpsc::unbounded_channel();
            for piece in ["a", "bc"] {
                pieces.send(Bytes::from_static(piece.as_bytes())).unwrap();
            }
            let response = TransportResponse {
                status: StatusCode::ACCEPTED,
                headers: HeaderMap::new(),
                body: TransportBody::Streamed(body),
            };
            Box::pin(async { Ok(response) })
        };
        let mut response = outcome(ResponseTimeout::Normal, respond).await.unwrap();
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        let mut pieces = Vec::new();
        while let Some(piece) = response.chunk().await.unwrap() {
            pieces.push(piece);
        }
        assert_eq!(pieces, ["a", "bc"]);
    }

    #[tokio::test]
    async fn faults_say_whether_the_request_was_sent() {
        let failure = async |respond| outcome(ResponseTimeout::Normal, respond).await.unwrap_err();
        let refused = failure(|| Box::pin(async { Err(TransportError::Refused) })).await;
        assert!(matches!(refused, RequestFailure::NotSent(error) if matches!(error.kind(), Kind::Connection)));
        let lost = failure(|| Box::pin(async { Err(TransportError::Lost) })).await;
        assert!(matches!(lost, RequestFailure::ResponseLost(error) if matches!(error.kind(), Kind::Connection)));
        let silent = failure(|| Box::pin(async { Err(TransportError::TimedOut) })).await;
        assert!(matches!(silent, RequestFailure::ResponseLost(error) if matches!(error.kind(), Kind::Timeout)));
        let gone = failure(|| Box::pin(async { Err(TransportError::Closed) })).await;
        assert!(matches!(gone, RequestFailure::Final(error) if matches!(error.kind(), Kind::Closed)));
        let failed = failure(|| Box::pin(async { Err(TransportError::Application(Arc::new(7))) })).await;
        assert!(matches!(failed, RequestFailure::Final(error) if matches!(error.kind(), Kind::Application(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn the_timeout_applies_to_in_memory_responses() {
        for (response_timeout, limit) in [(ResponseTimeout::Normal, 2), (ResponseTimeout::Live, 7)] {
            let started = tokio::time::Instant::now();
            let failure = outcome(response_timeout, || Box::pin(std::future::pending()))
                .await
                .unwrap_err();
            assert!(matches!(failure, RequestFailure::ResponseLost(error) if matches!(error.kind(), Kind::Timeout)));
            assert_eq!(started.elapsed().as_secs(), limit);
        }
    }
}
