//! [`Append`], and the request that one or several appends share.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::{Operation, Result};
use crate::operations;
use crate::request::Request;

/// One append.
#[derive(Clone, Debug)]
pub struct Append {
    /// The message: bytes, or one JSON value that the caller has validated.
    pub data: Bytes,
    /// The stream's content type.
    pub content_type: Arc<str>,
    /// Whether the stream is a JSON stream, so that `data` is a JSON value.
    pub json: bool,
    /// `Stream-Seq`. An append with it does not share its request.
    pub seq: Option<String>,
    /// Whether it has a request of its own.
    pub alone: bool,
    /// Whether its request closes the stream. It does not share its request.
    pub closes: bool,
}

impl Append {
    /// The operation that errors name before there is a request.
    pub fn operation(&self) -> Operation {
        match self.closes {
            true => Operation::Close,
            false => Operation::Append,
        }
    }

    /// The request of this append alone. `url` is for error messages.
    ///
    /// # Errors
    /// `Kind::Argument` if the content type or `seq` has characters that a header cannot have.
    pub fn request(&self, url: &str) -> Result<Request> {
        self.request_with(std::iter::empty(), url)
    }

    /// The request that this append shares with `others`, which follow it.
    ///
    /// # Errors
    /// As [`Append::request`].
    pub(super) fn request_with<'a>(
        &'a self,
        others: impl Iterator<Item = &'a Self> + Clone,
        url: &str,
    ) -> Result<Request> {
        let body = self.body_with(others);
        match self.closes {
            true => operations::close(url, Some(&self.content_type), Some(body)),
            false => operations::append(url, &self.content_type, body, self.seq.as_deref()),
        }
    }

    /// JSON messages become the elements of an array, which servers flatten. Bytes are concatenated.
    fn body_with<'a>(&'a self, others: impl Iterator<Item = &'a Self> + Clone) -> Bytes {
        if !self.json && others.clone().next().is_none() {
            return self.data.clone();
        }
        let appends = std::iter::once(self).chain(others);
        let size = appends.clone().map(|append| append.data.len() + 1).sum::<usize>() + 1;
        let mut body = BytesMut::with_capacity(size);
        for (index, append) in appends.enumerate() {
            if self.json {
                body.put_u8(if index == 0 { b'[' } else { b',' });
            }
            body.put_slice(&append.data);
        }
        if self.json {
            body.put_u8(b']');
        }
        body.freeze()
    }
}
