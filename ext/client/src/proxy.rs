//! The proxy that a client uses. Read [`ProxySetting`] first.
//!
//! The proxy of the environment follows curl's rules: `http_proxy` and `https_proxy` are for the URLs of their scheme,
//! `all_proxy` for both. `no_proxy` lists the hosts to connect to directly; `*` means all. The names may be in upper
//! case too; the lower case one is preferred. An empty value counts as not set.

use std::ffi::OsString;

use durable_streams_protocol::url::shown;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{NoProxy, Url};

/// Which proxy a client uses.
#[derive(Clone, Debug, Default)]
pub enum ProxySetting {
    /// The one that the environment names, if any.
    #[default]
    Environment,
    /// None.
    Direct,
    /// This one, for every request.
    Through(Url),
}

impl ProxySetting {
    /// The setting for a proxy's URL. Without a scheme it is `http`.
    ///
    /// # Errors
    /// The reason why requests cannot go through this proxy. It shows no password.
    pub fn through(url: &str) -> Result<Self, String> {
        parse(url).map(Self::Through)
    }

    /// The proxy for URLs of a scheme ("http" or "https").
    pub(crate) fn for_scheme(&self, scheme: &str) -> Proxy {
        match self {
            Self::Environment => Proxy::from_environment(scheme, |name| std::env::var_os(name)),
            Self::Direct => Proxy::Direct,
            Self::Through(url) => Proxy::Through(url.clone(), String::new()),
        }
    }
}

/// The proxy for the URLs of one scheme.
#[derive(Debug)]
pub(crate) enum Proxy {
    /// There is no proxy.
    Direct,
    /// Requests go through this proxy, except those to the listed hosts (`no_proxy`).
    Through(Url, String),
    /// The environment names a proxy that cannot be used.
    Unusable(Box<Unusable>),
}

/// A proxy that cannot be used. Only requests to the hosts of `no_proxy` are possible.
#[derive(Debug)]
pub(crate) struct Unusable {
    reason: String,
    hosts: Matcher,
}

impl Unusable {
    /// # Errors
    /// The reason, if a request to `url` has to go through the proxy.
    pub(crate) fn check(&self, url: &Url) -> Result<(), String> {
        match is_proxied(&self.hosts, url) {
            false => Ok(()),
            true => Err(self.reason.clone()),
        }
    }
}

impl Proxy {
    /// The proxy for URLs of a scheme ("http" or "https"). `variable` reads an environment variable.
    pub(crate) fn from_environment(scheme: &str, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let value = |name: &str| {
            let value = variable(name)?.to_string_lossy().trim().to_owned();
            (!value.is_empty()).then_some(value)
        };
        let either = |name: &str| {
            let upper = name.to_ascii_uppercase();
            // CGI passes a request's Proxy header to programs under this name.
            let is_a_header = upper == "HTTP_PROXY" && variable("REQUEST_METHOD").is_some();
            let named = |name: String| value(&name).map(|value| (name, value));
            named(name.to_owned()).or_else(|| named(upper).filter(|_| !is_a_header))
        };
        let Some((name, proxy)) = either(&format!("{scheme}_proxy")).or_else(|| either("all_proxy")) else {
            return Self::Direct;
        };
        let exempt = either("no_proxy").map_or_else(String::new, |(_, list)| entries(&list));
        if exempt.split(',').any(|entry| entry == "*") {
            return Self::Direct;
        }
        parse(&proxy).map_or_else(
            |reason| {
                Self::Unusable(Box::new(Unusable {
                    reason: format!("the proxy of the environment variable {name} cannot be used: {reason}"),
                    hosts: all_except(&exempt),
                }))
            },
            |url| Self::Through(url, exempt.clone()),
        )
    }

    /// Whether the connection to the proxy uses TLS.
    pub(crate) fn speaks_tls(&self) -> bool {
        matches!(self, Self::Through(url, _) if url.scheme() == "https")
    }

    /// The proxy's URL for messages, if requests to `url` go through it.
    pub(crate) fn shown_for(&self, url: &Url) -> Option<String> {
        match self {
            Self::Through(proxy, exempt) => is_proxied(&all_except(exempt), url).then(|| shown(proxy.as_str())),
            Self::Direct | Self::Unusable(_) => None,
        }
    }

    /// The proxy for reqwest; `None` if reqwest must not use one.
    pub(crate) fn to_reqwest(&self) -> reqwest::Result<Option<reqwest::Proxy>> {
        match self {
            Self::Direct | Self::Unusable(_) => Ok(None),
            Self::Through(url, exempt) => {
                let proxy = reqwest::Proxy::all(url.clone())?;
                Ok(Some(proxy.no_proxy(NoProxy::from_string(exempt))))
            }
        }
    }
}

fn all_except(exempt: &str) -> Matcher {
    Matcher::builder().all("http://any").no(exempt).build()
}

fn is_proxied(hosts: &Matcher, url: &Url) -> bool {
    let uri = url.as_str().parse();
    !uri.is_ok_and(|uri| hosts.intercept(&uri).is_none())
}

/// A `no_proxy` list, separated by commas alone. The variable's may also have spaces, and brackets around IPv6
/// addresses.
fn entries(list: &str) -> String {
    let is_separator = |c: char| c == ',' || c.is_whitespace();
    let bare = |entry: &str| entry.replace(['[', ']'], "");
    let entries: Vec<_> = list
        .split(is_separator)
        .filter(|entry| !entry.is_empty())
        .map(bare)
        .collect();
    entries.join(",")
}

/// A proxy's URL. Without a scheme it is `http`.
fn parse(proxy: &str) -> Result<Url, String> {
    let text = match proxy.contains("://") {
        true => proxy.to_owned(),
        false => format!("http://{proxy}"),
    };
    let refused = |reason: String| format!("{reason}: {:?}", shown(&text));
    let url = Url::parse(&text).map_err(|error| refused(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        let reason = format!("its scheme is {:?}; http and https can be used", url.scheme());
        return Err(refused(reason));
    }
    // Connections use this parser, which accepts fewer hosts.
    match url.as_str().parse::<http::Uri>() {
        Ok(_) => Ok(url),
        Err(error) => Err(refused(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(scheme: &str, variables: &[(&str, &str)]) -> Proxy {
        Proxy::from_environment(scheme, |name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    fn url(scheme: &str, variables: &[(&str, &str)]) -> Option<String> {
        match proxy(scheme, variables) {
            Proxy::Direct => None,
            Proxy::Through(url, _) => Some(url.to_string()),
            Proxy::Unusable(unusable) => panic!("{}", unusable.reason),
        }
    }

    fn reason(scheme: &str, variables: &[(&str, &str)], of: &str) -> Option<String> {
        match proxy(scheme, variables) {
            Proxy::Unusable(unusable) => unusable.check(&Url::parse(of).unwrap()).err(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_scheme_has_its_variable_and_lower_case_is_preferred() {
        let both = [
            ("http_proxy", "http://a"),
            ("HTTP_PROXY", "http://b"),
            ("all_proxy", "http://c"),
        ];
        assert_eq!(url("http", &both).as_deref(), Some("http://a/"));
        assert_eq!(url("https", &both).as_deref(), Some("http://c/"));
        assert_eq!(url("https", &both[..2]), None);
        assert_eq!(url("https", &[("HTTPS_PROXY", "b:1")]).as_deref(), Some("http://b:1/"));
        assert_eq!(url("http", &[]), None);
    }

    #[test]
    fn an_empty_variable_counts_as_not_set() {
        let empty = [
            ("http_proxy", ""),
            ("HTTP_PROXY", " "),
            ("ALL_PROXY", "https://me:pw@c:2"),
        ];
        assert_eq!(url("http", &empty).as_deref(), Some("https://me:pw@c:2/"));
        assert_eq!(url("http", &[("http_proxy", "")]), None);
    }

    #[test]
    fn ignores_the_proxy_header_of_a_cgi_request() {
        let cgi = [("HTTP_PROXY", "http://evil"), ("REQUEST_METHOD", "GET")];
        assert_eq!(url("http", &cgi), None);
        let cgi = [cgi[0], cgi[1], ("http_proxy", "a")];
        assert_eq!(url("http", &cgi).as_deref(), Some("http://a/"));
    }

    #[test]
    fn a_star_in_no_proxy_disables_proxies_and_unusable_ones_too() {
        for list in ["*", " * ", "a.example,*", "127.0.0.1 *"] {
            for proxy in ["http://a", "socks5://a"] {
                assert_eq!(url("http", &[("http_proxy", proxy), ("NO_PROXY", list)]), None);
            }
        }
    }

    #[test]
    fn an_unusable_proxy_is_an_error_with_its_variable_and_without_its_password() {
        for value in [
            "http://me:s3cret@h:port",
            "socks5://me:s3cret@h",
            "http://",
            "http://h{h",
            "://h",
            "me:s3cret",
        ] {
            for name in ["http_proxy", "HTTP_PROXY", "ALL_PROXY"] {
                let reason = reason("http", &[(name, value)], "http://streams.example/s").unwrap();
                assert!(
                    reason.contains(&format!("variable {name} cannot be used: ")),
                    "{reason}"
                );
                assert!(!reason.contains("s3cret@"), "{reason}");
            }
        }
    }

    #[test]
    fn hosts_in_no_proxy_do_not_need_an_unusable_proxy() {
        let variables = [
            ("https_proxy", "socks5://h"),
            ("no_proxy", "internal.example, 10.0.0.0/8 [::1],127.0.0.1"),
        ];
        let is_direct = |url| reason("https", &variables, url).is_none();
        for url in [
            "https://a.internal.example/s",
            "https://10.1.2.3",
            "https://[::1]:80/",
            "https://127.0.0.1",
        ] {
            assert!(is_direct(url), "{url}");
        }
        for url in ["https://internal.example.com/s", "https://11.0.0.1", "https://[::2]/"] {
            assert!(!is_direct(url), "{url}");
        }
    }
}
