//! Decodes gzip bodies with all their members (RFC 1952, 2.2). reqwest's own decoder stops after the first member and
//! reports no error.

use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http_body::{Body as HttpBody, Frame};
use reqwest::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderValue};
use reqwest::{Body, Response};

/// The value of `Accept-Encoding`.
pub(crate) const ACCEPTED: HeaderValue = HeaderValue::from_static("gzip");

/// How many compressed bytes are decoded at a time. Decoded, they may be a thousand times as many.
const PIECE: usize = 8 * 1024;

/// The response with its body decoded, if the body is gzip.
pub(crate) fn decoded(response: Response) -> Response {
    if !is_gzip(&response) {
        return response;
    }
    let (mut head, body) = http::Response::from(response).into_parts();
    head.headers.remove(CONTENT_ENCODING);
    head.headers.remove(CONTENT_LENGTH);
    let body = Body::wrap(Gunzip {
        body,
        compressed: Bytes::new(),
        begun: false,
        decoder: MultiGzDecoder::new(Vec::new()),
    });
    http::Response::from_parts(head, body).into()
}

/// `x-gzip` is the old name of gzip (RFC 9110, 8.4.1.3).
fn is_gzip(response: &Response) -> bool {
    let encoding = response.headers().get(CONTENT_ENCODING).map(HeaderValue::as_bytes);
    encoding.is_some_and(|name| name.eq_ignore_ascii_case(b"gzip") || name.eq_ignore_ascii_case(b"x-gzip"))
}

/// A body that decodes another one.
struct Gunzip {
    body: Body,
    /// Bytes that have arrived and are not decoded yet.
    compressed: Bytes,
    /// Whether any bytes have arrived. An empty body is valid; one that ends within a member is not.
    begun: bool,
    decoder: MultiGzDecoder<Vec<u8>>,
}

impl HttpBody for Gunzip {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        loop {
            while !this.compressed.is_empty() {
                let piece = this.compressed.split_to(this.compressed.len().min(PIECE));
                this.decoder.write_all(&piece)?;
                // The next piece may take long, so everything decoded so far is handed out now.
                this.decoder.flush()?;
                let plain = std::mem::take(this.decoder.get_mut());
                if !plain.is_empty() {
                    return Poll::Ready(Some(Ok(Frame::data(plain.into()))));
                }
            }
            match ready!(Pin::new(&mut this.body).poll_frame(context)).transpose()? {
                Some(frame) => this.compressed = frame.into_data().unwrap_or_default(),
                None if this.begun => {
                    this.begun = false;
                    this.decoder.try_finish()?;
                }
                None => return Poll::Ready(None),
            }
            this.begun |= !this.compressed.is_empty();
        }
    }
}
