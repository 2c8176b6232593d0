//! Bodies that come compressed by gzip, with all their members (RFC 1952, 2.2): reqwest's own decoder stops after the
//! first one without a word. The other encoding that is asked for, zstd, is left to reqwest.

use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http_body::{Body as HttpBody, Frame};
use reqwest::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderValue};
use reqwest::{Body, Response};

/// What can be decoded, as `Accept-Encoding` has it.
pub(crate) const ACCEPTED: HeaderValue = HeaderValue::from_static("zstd,gzip");

/// How many bytes are decoded at a time: they may become a thousand times as many.
const PIECE: usize = 8 * 1024;

/// The answer with its body as it was before gzip.
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

/// `x-gzip` is its old name (RFC 9110, 8.4.1.3).
fn is_gzip(response: &Response) -> bool {
    let encoding = response.headers().get(CONTENT_ENCODING).map(HeaderValue::as_bytes);
    encoding.is_some_and(|name| name.eq_ignore_ascii_case(b"gzip") || name.eq_ignore_ascii_case(b"x-gzip"))
}

struct Gunzip {
    body: Body,
    /// What came and is not decoded yet.
    compressed: Bytes,
    /// Whether anything came: no body at all is none that is cut.
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
                // Out with all of it: more may not come for long.
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
