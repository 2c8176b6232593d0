//! The target of a stream's requests: its URL, and the headers and parameters of every request.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::AUTHORIZATION;
pub use http::header::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use url::{ParseError, Url};

use crate::error::{Error, Kind, Result};
use crate::url::{displayed, shown};

/// How many headers the HTTP library adds to a request. With room for them, a map of headers need not grow, which would
/// take 2 % of an append's instructions.
const ADDED_HEADERS: usize = 5;

/// Headers and query parameters, in their given order.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub struct Values {
    /// Headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Query parameters.
    pub params: Vec<(String, String)>,
}

/// A stream's URL, with the headers and parameters of every request to it.
#[derive(Clone, PartialEq, Hash)]
pub struct Target {
    url: Url,
    display: String,
    fixed: Values,
}

impl fmt::Debug for Target {
    /// Without headers and parameters, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("url", &self.display)
            .finish_non_exhaustive()
    }
}

/// The path that requests send for the stream at `url` (absolute, http or https): percent-encoded, without `.` and
/// `..`.
///
/// # Errors
/// `Kind::Argument` if the URL cannot be used.
pub fn path_of(url: &str) -> Result<String> {
    parse(url).map(|url| url.path().to_owned())
}

fn parse(url: &str) -> Result<Url> {
    let parsed = Url::parse(url).map_err(|error| {
        let reason = match error {
            ParseError::IdnaError => "its host is not ASCII: write it in punycode, such as xn--bcher-kva.example",
            error => return bad_url(url, &error.to_string()),
        };
        bad_url(url, reason)
    })?;
    if !matches!(parsed.scheme(), "http" | "https") {
        let reason = format!("its scheme is {:?}; http and https can be used", parsed.scheme());
        return Err(bad_url(url, &reason));
    }
    Ok(parsed)
}

/// One request's URL and headers.
pub struct Prepared {
    /// The URL, with all parameters.
    pub url: Url,
    /// The headers.
    pub headers: HeaderMap,
}

impl Target {
    /// The stream at `url` (absolute, http or https). Credentials in the URL become an `Authorization` header, and
    /// appear in no message.
    ///
    /// # Errors
    /// `Kind::Argument` if the URL cannot be used.
    pub fn new(url: &str, mut fixed: Values) -> Result<Self> {
        let mut parsed = parse(url)?;
        if let Some(authorization) = take_credentials(&mut parsed)
            && !fixed.headers.iter().any(|(name, _)| name == AUTHORIZATION)
        {
            fixed.headers.insert(0, (AUTHORIZATION, authorization));
        }
        parsed.set_fragment(None);
        let display = displayed(&parsed);
        Ok(Self {
            url: parsed,
            display,
            fixed,
        })
    }

    /// The stream's URL, without credentials.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The URL for messages: without credentials, and without its query, which may contain a token.
    pub fn display(&self) -> &str {
        &self.display
    }

    /// The same target, with these additional values in every request.
    #[must_use]
    pub fn with(&self, values: Values) -> Self {
        let mut with = self.clone();
        with.fixed.headers.extend(values.headers);
        with.fixed.params.extend(values.params);
        with
    }

    /// The URL and headers of a request. `dynamic` has the results of value callables. `own` has the protocol's headers
    /// and `query` its parameters; they override the user's.
    pub fn prepare(&self, dynamic: &Values, own: &HeaderMap, query: &[(&str, &str)]) -> Prepared {
        let given = own.len() + self.fixed.headers.len() + dynamic.headers.len();
        let mut headers = HeaderMap::with_capacity(given + ADDED_HEADERS);
        for (name, value) in self.fixed.headers.iter().chain(&dynamic.headers) {
            headers.insert(name, value.clone());
        }
        for (name, value) in own {
            headers.insert(name, value.clone());
        }
        Prepared {
            url: self.with_query(&dynamic.params, query),
            headers,
        }
    }

    /// The URL with all parameters, sorted by name, so that caches see one key (protocol.md, "Offsets").
    fn with_query(&self, dynamic: &[(String, String)], query: &[(&str, &str)]) -> Url {
        if dynamic.is_empty() && query.is_empty() && self.fixed.params.is_empty() {
            return self.url.clone();
        }
        let mut url = self.url.clone();
        let only_protocol = url.query().is_none() && dynamic.is_empty() && self.fixed.params.is_empty();
        if only_protocol && query.is_sorted_by_key(|(name, _)| *name) {
            // The usual case: only the protocol's parameters, which are sorted already.
            url.query_pairs_mut().extend_pairs(query);
            return url;
        }
        let mut pairs: Vec<(String, String)> = self.url.query_pairs().into_owned().collect();
        for (name, value) in self.fixed.params.iter().chain(dynamic) {
            pairs.retain(|(existing, _)| existing != name);
            pairs.push((name.clone(), value.clone()));
        }
        for (name, value) in query {
            pairs.retain(|(existing, _)| existing != name);
            pairs.push(((*name).to_owned(), (*value).to_owned()));
        }
        pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        url.query_pairs_mut().clear().extend_pairs(pairs);
        url
    }
}

fn bad_url(url: &str, reason: &str) -> Error {
    Error::plain(Kind::Argument, format!("url {:?} cannot be used: {reason}", shown(url)))
}

/// Removes user and password from the URL, and returns them as an `Authorization` value.
fn take_credentials(url: &mut Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut plain: Vec<u8> = percent_decode_str(url.username()).collect();
    plain.push(b':');
    plain.extend(percent_decode_str(url.password().unwrap_or_default()));
    let mut value = HeaderValue::from_str(&format!("Basic {}", BASE64_STANDARD.encode(plain))).ok()?;
    value.set_sensitive(true);
    // Only URLs without a host refuse this; http and https URLs have one.
    let removed = url.set_username("").and_then(|()| url.set_password(None));
    removed.ok().map(|()| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str, params: &[(&str, &str)]) -> Result<Target> {
        let params = params.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let headers = Vec::new();
        Target::new(url, Values { headers, params })
    }

    #[test]
    fn sorts_parameters_and_replaces_the_users_by_the_protocols() {
        let target = target("http://h/s?z=1&offset=x", &[("m", "a b"), ("live", "no")]).unwrap();
        let url = target.with_query(&[], &[("offset", "-1"), ("live", "sse"), ("cursor", "c")]);
        assert_eq!(url.query(), Some("cursor=c&live=sse&m=a+b&offset=-1&z=1"));
    }

    #[test]
    fn sorts_parameters_if_only_the_protocols_exist() {
        let target = target("http://h/s", &[]).unwrap();
        let url = target.with_query(&[], &[("cursor", "a b"), ("live", "sse"), ("offset", "1_2")]);
        assert_eq!(url.as_str(), "http://h/s?cursor=a+b&live=sse&offset=1_2");
        let url = target.with_query(&[], &[("offset", "1_2"), ("cursor", "c")]);
        assert_eq!(url.query(), Some("cursor=c&offset=1_2"));
    }

    #[test]
    fn moves_credentials_from_the_url_to_a_header_and_hides_them() {
        let target = target("http://me:p%40ss@h/s", &[]).unwrap();
        assert_eq!(target.display(), "http://h/s");
        let (name, value) = &target.fixed.headers[0];
        assert_eq!((name, value.to_str().unwrap()), (&AUTHORIZATION, "Basic bWU6cEBzcw=="));
        assert!(!format!("{target:?}").contains("ss"));
    }

    #[test]
    fn takes_hosts_in_punycode_only() {
        let url = "https://xn--bcher-kva.example/s";
        assert_eq!(target(url, &[]).unwrap().display(), url);
        let error = target("https://b\u{fc}cher.example/s", &[]).map(drop).unwrap_err();
        assert!(error.to_string().contains("write it in punycode"), "{error}");
    }

    #[test]
    fn hides_the_query() {
        assert_eq!(target("http://h/s?token=x", &[]).unwrap().display(), "http://h/s?…");
    }

    #[test]
    fn normalizes_a_path_as_requests_do() {
        let path = |url| path_of(url).unwrap();
        assert_eq!(path("http://h/with space?q#f"), "/with%20space");
        assert_eq!(path("http://h/a/../caf\u{e9}/%2F"), "/caf%C3%A9/%2F");
        assert_eq!(path("http://h"), "/");
        assert!(matches!(path_of("/a").unwrap_err().kind(), Kind::Argument));
    }

    #[test]
    fn refuses_other_schemes() {
        assert!(matches!(target("ftp://h/s", &[]).unwrap_err().kind(), Kind::Argument));
        assert!(matches!(target("/s", &[]).unwrap_err().kind(), Kind::Argument));
    }
}
