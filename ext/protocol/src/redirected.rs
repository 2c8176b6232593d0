//! [`RedirectedTo`]: where redirects led a request, for the message of its error.

use std::borrow::Cow;

use http::StatusCode;
use url::Url;

use crate::url::displayed;

/// Where redirects led a request, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectedTo {
    url: String,
    is_trusted: bool,
}

impl RedirectedTo {
    /// `is_trusted`: whether the user's headers go there.
    pub(crate) fn new(url: &Url, is_trusted: bool) -> Self {
        let url = displayed(url);
        Self { url, is_trusted }
    }

    /// For a message about a response with this status, or about a request without a response.
    pub fn note(&self, status: Option<StatusCode>) -> Cow<'static, str> {
        let Self { url, is_trusted } = self;
        let note = match (is_trusted, status) {
            (false, Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)) => {
                format!("redirected to {url}, which got none of your headers: its origin is not in trusted_origins")
            }
            _ => format!("redirected to {url}"),
        };
        note.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_why_an_untrusted_server_asks_for_credentials() {
        let url = Url::parse("http://me:s3cret@other/s?token=s3cret").unwrap();
        let note = |is_trusted, status| RedirectedTo::new(&url, is_trusted).note(status);
        assert_eq!(note(false, None), "redirected to http://other/s?…");
        assert_eq!(note(true, Some(StatusCode::UNAUTHORIZED)), note(false, None));
        assert!(note(false, Some(StatusCode::UNAUTHORIZED)).ends_with("not in trusted_origins"));
    }
}
