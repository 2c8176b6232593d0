//! Where requests go and what each carries: a stream's URL, and headers and parameters that are fixed or asked for
//! anew for every request.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;
use reqwest::Url;
use reqwest::header::AUTHORIZATION;
pub use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::error::{Error, Kind, Operation, Result};
use crate::http::{Client, Pool, Unavailable};
use crate::lane::Lane;
use crate::transport::Transport;

/// Headers and query parameters, in the order they were given.
#[derive(Clone, Debug, Default)]
pub struct Values {
    /// Headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Query parameters.
    pub params: Vec<(String, String)>,
}

/// What a request for dynamic values comes back as.
pub type Resolving = Pin<Box<dyn Future<Output = std::result::Result<Values, Kind>> + Send>>;

/// Values the application computes anew for every HTTP request.
pub trait DynamicValues: Send + Sync {
    /// Asks the application. `Err` (a `Kind::Application` or `Kind::Left`) ends the operation.
    fn resolve(&self) -> Resolving;
}

/// A stream's URL and what each request to it carries.
pub struct Endpoint {
    client: Arc<Client>,
    url: Url,
    display: String,
    fixed: Values,
    dynamic: Option<Arc<dyn DynamicValues>>,
    transport: Option<Arc<dyn Transport>>,
}

impl fmt::Debug for Endpoint {
    /// Leaves out headers and parameters: they may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("url", &self.display)
            .finish_non_exhaustive()
    }
}

/// The path of the stream at `url` (absolute, http or https), written as requests for it have it: percent-encoded, without
/// `.` and `..`.
///
/// # Errors
/// `Kind::Argument` if the URL cannot be used.
pub fn path_of(url: &str) -> Result<String> {
    parse(url).map(|url| url.path().to_owned())
}

fn parse(url: &str) -> Result<Url> {
    let parsed = Url::parse(url).map_err(|e| bad_url(format!("{e}")))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(bad_url(format!(
            "its scheme is {:?}; http and https can be used",
            parsed.scheme()
        )));
    }
    Ok(parsed)
}

/// One request's target and headers.
pub(crate) struct Prepared {
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
}

impl Endpoint {
    /// The stream at `url` (absolute, http or https). A user and password in it become an `Authorization` header and
    /// appear in no message.
    ///
    /// # Errors
    /// `Kind::Argument` if the URL cannot be used.
    pub fn new(
        client: Arc<Client>,
        url: &str,
        mut fixed: Values,
        dynamic: Option<Arc<dyn DynamicValues>>,
    ) -> Result<Endpoint> {
        let mut parsed = parse(url)?;
        if let Some(authorization) = take_credentials(&mut parsed)
            && !fixed.headers.iter().any(|(name, _)| name == AUTHORIZATION)
        {
            fixed.headers.insert(0, (AUTHORIZATION, authorization));
        }
        parsed.set_fragment(None);
        let display = displayed(&parsed);
        Ok(Endpoint {
            client,
            url: parsed,
            display,
            fixed,
            dynamic,
            transport: None,
        })
    }

    /// Has the application answer the requests, and not the network.
    #[must_use]
    pub fn answered_by(mut self, transport: Arc<dyn Transport>) -> Endpoint {
        self.transport = Some(transport);
        self
    }

    /// The same endpoint, which asks somebody else for whatever it asks the application for.
    #[must_use]
    pub fn asking<A: DynamicValues + Transport + 'static>(&self, application: &Arc<A>) -> Endpoint {
        Endpoint {
            client: Arc::clone(&self.client),
            url: self.url.clone(),
            display: self.display.clone(),
            fixed: self.fixed.clone(),
            dynamic: self.dynamic.as_ref().map(|_| Arc::clone(application) as _),
            transport: self.transport.as_ref().map(|_| Arc::clone(application) as _),
        }
    }

    /// The same endpoint for one request, with the values that the application computes for it now.
    pub(crate) async fn resolved(&self, operation: Operation) -> Result<Endpoint> {
        let asked = self.ask(operation).await?;
        let mut fixed = self.fixed.clone();
        fixed.headers.extend(asked.headers);
        fixed.params.extend(asked.params);
        Ok(Endpoint {
            client: Arc::clone(&self.client),
            url: self.url.clone(),
            display: self.display.clone(),
            fixed,
            dynamic: None,
            transport: self.transport.clone(),
        })
    }

    /// The values that the application computes for the next request.
    async fn ask(&self, operation: Operation) -> Result<Values> {
        let Some(dynamic) = &self.dynamic else {
            return Ok(Values::default());
        };
        dynamic.resolve().await.map_err(|kind| {
            let reason = "a header or parameter could not be computed";
            Error::new(kind, operation, &self.display, reason)
        })
    }

    /// The client it belongs to.
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// The URL as messages show it: without credentials, and without its query, which may hold a token.
    pub fn display(&self) -> &str {
        &self.display
    }

    /// Who answers the requests, if it is not the network.
    pub(crate) fn transport(&self) -> Option<&dyn Transport> {
        self.transport.as_deref()
    }

    /// Whether requests ask the application for values.
    pub(crate) fn is_dynamic(&self) -> bool {
        self.dynamic.is_some()
    }

    /// The pool for requests on the process's runtime. See [`Client::pool`] for the thread it wants.
    pub(crate) fn pool(&self, operation: Operation) -> Result<Pool> {
        let pool = self.client.pool(&self.url_of_pool());
        pool.map_err(|why| why.at(operation, &self.display))
    }

    /// The pool for requests on a lane. See [`Client::pool`] for the thread it wants.
    pub(crate) fn pool_on(&self, lane: &mut Lane, operation: Operation) -> Result<Pool> {
        let pool = self.client.pool_on(lane, &self.url_of_pool());
        pool.map_err(|why| why.at(operation, &self.display))
    }

    fn url_of_pool(&self) -> Cow<'_, Url> {
        if self.transport.is_none() {
            return Cow::Borrowed(&self.url);
        }
        // Nothing goes through it, so no certificates are needed for it.
        let mut url = self.url.clone();
        // `https` may become `http`, so it is never refused.
        let _allowed = url.set_scheme("http");
        Cow::Owned(url)
    }

    /// The pool beside `pool` for another URL that a request was led to; none if it is the same.
    pub(crate) fn other_pool(&self, operation: Operation, pool: &Pool, url: &Url) -> Result<Option<Pool>> {
        if url.scheme() == self.url.scheme() {
            return Ok(None);
        }
        let other = pool.beside(&self.client, url);
        other.map(Some).map_err(|why| why.at(operation, &self.display))
    }

    /// # Errors
    /// If the client was closed.
    pub(crate) fn check_open(&self, operation: Operation) -> Result<()> {
        match self.client.is_closed() {
            true => Err(Unavailable::Closed.at(operation, &self.display)),
            false => Ok(()),
        }
    }

    /// The next request's URL and headers. `own` are the protocol's headers; they win over the user's.
    pub(crate) async fn prepare(
        &self,
        operation: Operation,
        own: &HeaderMap,
        query: &[(&str, &str)],
    ) -> Result<Prepared> {
        let asked = self.ask(operation).await?;
        let mut headers = HeaderMap::with_capacity(own.len() + self.fixed.headers.len() + asked.headers.len());
        for (name, value) in self.fixed.headers.iter().chain(&asked.headers) {
            headers.insert(name, value.clone());
        }
        for (name, value) in own {
            headers.insert(name, value.clone());
        }
        Ok(Prepared {
            url: self.with_query(&asked.params, query),
            headers,
        })
    }

    /// The URL with all parameters, sorted by name: it keeps cache keys stable (protocol.md, "Offsets").
    fn with_query(&self, asked: &[(String, String)], query: &[(&str, &str)]) -> Url {
        if asked.is_empty() && query.is_empty() && self.fixed.params.is_empty() {
            return self.url.clone();
        }
        let mut url = self.url.clone();
        let alone = url.query().is_none() && asked.is_empty() && self.fixed.params.is_empty();
        if alone && query.is_sorted_by_key(|(name, _)| *name) {
            // Most streams have no parameters of their own, and the protocol's come in their order.
            url.query_pairs_mut().extend_pairs(query);
            return url;
        }
        let mut pairs: Vec<(String, String)> = self.url.query_pairs().into_owned().collect();
        for (name, value) in self.fixed.params.iter().chain(asked) {
            pairs.retain(|(held, _)| held != name);
            pairs.push((name.clone(), value.clone()));
        }
        for (name, value) in query {
            pairs.retain(|(held, _)| held != name);
            pairs.push(((*name).to_owned(), (*value).to_owned()));
        }
        pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        url.query_pairs_mut().clear().extend_pairs(pairs);
        url
    }
}

/// A URL as messages show it: without credentials, and without its query and fragment, which may hold a token.
pub(crate) fn displayed(url: &Url) -> String {
    let mut bare = url.clone();
    // URLs that cannot have credentials refuse both.
    let _refused = bare.set_username("").and_then(|()| bare.set_password(None));
    bare.set_query(None);
    bare.set_fragment(None);
    let more = if url.query().is_some() || url.fragment().is_some() {
        "?…"
    } else {
        ""
    };
    format!("{bare}{more}")
}

fn bad_url(reason: String) -> Error {
    Error::plain(Kind::Argument, format!("url cannot be used: {reason}"))
}

/// Takes user and password out of the URL, as the header that says the same.
fn take_credentials(url: &mut Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut plain: Vec<u8> = percent_decode_str(url.username()).collect();
    plain.push(b':');
    plain.extend(percent_decode_str(url.password().unwrap_or_default()));
    let mut value = HeaderValue::from_str(&format!("Basic {}", BASE64_STANDARD.encode(plain))).ok()?;
    value.set_sensitive(true);
    // Only URLs that cannot have a host refuse this; http and https ones have one.
    let removed = url.set_username("").and_then(|()| url.set_password(None));
    removed.ok().map(|()| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Config;

    fn endpoint(url: &str, params: &[(&str, &str)]) -> Result<Endpoint> {
        let params = params.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Endpoint::new(
            Client::new(Config::for_trials()),
            url,
            Values {
                headers: Vec::new(),
                params,
            },
            None,
        )
    }

    #[test]
    fn parameters_are_sorted_and_the_protocols_win() {
        let endpoint = endpoint("http://h/s?z=1&offset=x", &[("m", "a b"), ("live", "no")]).unwrap();
        let url = endpoint.with_query(&[], &[("offset", "-1"), ("live", "sse"), ("cursor", "c")]);
        assert_eq!(url.query(), Some("cursor=c&live=sse&m=a+b&offset=-1&z=1"));
    }

    #[test]
    fn parameters_of_the_protocol_alone_are_sorted_too() {
        let endpoint = endpoint("http://h/s", &[]).unwrap();
        let url = endpoint.with_query(&[], &[("cursor", "a b"), ("live", "sse"), ("offset", "1_2")]);
        assert_eq!(url.as_str(), "http://h/s?cursor=a+b&live=sse&offset=1_2");
        let url = endpoint.with_query(&[], &[("offset", "1_2"), ("cursor", "c")]);
        assert_eq!(url.query(), Some("cursor=c&offset=1_2"));
    }

    #[test]
    fn credentials_move_from_the_url_to_a_header_and_out_of_sight() {
        let endpoint = endpoint("http://me:p%40ss@h/s", &[]).unwrap();
        assert_eq!(endpoint.display(), "http://h/s");
        let (name, value) = &endpoint.fixed.headers[0];
        assert_eq!((name, value.to_str().unwrap()), (&AUTHORIZATION, "Basic bWU6cEBzcw=="));
        assert!(!format!("{endpoint:?}").contains("ss"));
    }

    #[test]
    fn the_query_is_not_shown() {
        assert_eq!(endpoint("http://h/s?token=x", &[]).unwrap().display(), "http://h/s?…");
    }

    #[test]
    fn a_path_is_written_as_requests_have_it() {
        let path = |url| path_of(url).unwrap();
        assert_eq!(path("http://h/with space?q#f"), "/with%20space");
        assert_eq!(path("http://h/a/../caf\u{e9}/%2F"), "/caf%C3%A9/%2F");
        assert_eq!(path("http://h"), "/");
        assert!(matches!(path_of("/a").unwrap_err().kind(), Kind::Argument));
    }

    #[test]
    fn other_schemes_are_refused() {
        assert!(matches!(endpoint("ftp://h/s", &[]).unwrap_err().kind(), Kind::Argument));
        assert!(matches!(endpoint("/s", &[]).unwrap_err().kind(), Kind::Argument));
    }
}
