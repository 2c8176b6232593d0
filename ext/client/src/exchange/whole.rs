//! Finds HTTP/2 responses that break off. A proxy that loses its upstream may reset the response with NO_ERROR (Envoy
//! does). hyper takes that for the end of the body, although it is one only after END_STREAM (RFC 9113, 8.1).

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use reqwest::{Body, Response, Version};

/// The response to a request without a body. Its own body ends with an error if it breaks off.
pub(super) fn checked(response: Response) -> Response {
    if response.version() != Version::HTTP_2 || response.content_length() == Some(0) {
        return response;
    }
    http::Response::from(response)
        .map(|body| Body::wrap(WholeBody(body)))
        .into()
}

/// A body over HTTP/2 that must be complete.
struct WholeBody(Body);

impl HttpBody for WholeBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.0).poll_frame(context)).transpose()?;
        Poll::Ready(match frame {
            None if !self.0.is_end_stream() => Some(Err("the server reset the response before its end".into())),
            frame => frame.map(Ok),
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::client_for_tests::http2_client;
    use h2::{Reason, SendStream};
    use tokio::net::TcpListener;
    use tokio::sync::oneshot;

    /// A response over HTTP/2 whose headers have arrived, and the server's end of its body.
    async fn response() -> (Response, SendStream<Bytes>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/s", listener.local_addr().unwrap());
        let (sender, body) = oneshot::channel();
        tokio::spawn(async move {
            let (socket, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(socket).await.unwrap();
            let (_, mut response) = connection.accept().await.unwrap().unwrap();
            let body = response.send_response(http::Response::new(()), false).unwrap();
            sender.send(body).unwrap();
            while connection.accept().await.is_some() {}
        });
        let response = checked(http2_client().get(url).send().await.unwrap());
        (response, body.await.unwrap())
    }

    #[tokio::test]
    async fn a_response_that_is_reset_before_its_end_breaks_off() {
        let (mut response, mut body) = response().await;
        body.send_data("[1,".into(), false).unwrap();
        assert_eq!(response.chunk().await.unwrap().unwrap(), "[1,");
        body.send_reset(Reason::NO_ERROR);
        let error = response.chunk().await.unwrap_err();
        assert!(
            format!("{error:?}").contains("reset the response before its end"),
            "{error:?}"
        );
    }

    #[tokio::test]
    async fn a_response_that_is_reset_behind_its_headers_is_not_empty() {
        let (mut response, mut body) = response().await;
        body.send_reset(Reason::NO_ERROR);
        assert!(response.chunk().await.is_err());
    }

    #[tokio::test]
    async fn a_response_that_ends_is_whole() {
        let (response, mut body) = response().await;
        body.send_data("[1]".into(), true).unwrap();
        assert_eq!(response.bytes().await.unwrap(), "[1]");
    }

    #[tokio::test]
    async fn a_response_that_ends_with_trailers_is_whole() {
        let (response, mut body) = response().await;
        body.send_data("[1]".into(), false).unwrap();
        body.send_trailers(http::HeaderMap::new()).unwrap();
        assert_eq!(response.bytes().await.unwrap(), "[1]");
    }
}
