//! Redirects: which of them a request follows, and whether later writes go to their target at once.
//!
//! A server that redirects a request has done nothing else with it. Read [`Redirects`] first.

use http::{HeaderValue, Method, StatusCode};
use url::Url;

use crate::error::{Error, Kind, Result};

/// A request follows at most this many redirects.
pub const MAX_REDIRECTS: usize = 5;

/// The redirects of one request.
///
/// 307 and 308 are followed with every method, and the body is sent again. 301, 302 and 303 are followed by GET and
/// HEAD alone: other methods would become a GET.
#[derive(Debug)]
pub struct Redirects<'a> {
    reads: bool,
    start: &'a Url,
    /// The URLs that it was redirected to.
    followed: Vec<Url>,
}

/// What to do with a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedirectStep {
    /// It is the response to the request.
    Done,
    /// Send the request to this URL, exactly as it is.
    Follow(Url),
    /// The redirects have no end. No server has done anything with the request, so it may be sent again.
    Circle(String),
    /// The redirect cannot be followed at all.
    Unusable(String),
}

impl<'a> Redirects<'a> {
    /// None yet: the request goes to `start`.
    pub fn new(method: &Method, start: &'a Url) -> Self {
        Redirects {
            reads: matches!(*method, Method::GET | Method::HEAD),
            start,
            followed: Vec::new(),
        }
    }

    /// Where the request goes now.
    pub fn url(&self) -> &Url {
        self.followed.last().unwrap_or(self.start)
    }

    /// What to do with a response that has this status and this `Location`.
    pub fn handle_response(&mut self, status: StatusCode, location: Option<&HeaderValue>) -> RedirectStep {
        let (Some(location), true) = (location, self.follows(status)) else {
            return RedirectStep::Done;
        };
        let Some(target) = self.target(location) else {
            return RedirectStep::Unusable("the server redirected to a URL that is not http or https".to_owned());
        };
        if target == *self.start || self.followed.contains(&target) {
            return RedirectStep::Circle("the redirects form a circle".to_owned());
        }
        if self.followed.len() >= MAX_REDIRECTS {
            return RedirectStep::Circle(format!("more than {MAX_REDIRECTS} redirects"));
        }
        self.followed.push(target.clone());
        RedirectStep::Follow(target)
    }

    /// Whether later writes to the same stream go at once to where this request was redirected to. The response from
    /// there has this status.
    pub fn is_remembered_after(&self, status: StatusCode) -> bool {
        !self.reads && !self.followed.is_empty() && is_at_home(status)
    }

    fn follows(&self, status: StatusCode) -> bool {
        match status.as_u16() {
            307 | 308 => true,
            301..=303 => self.reads,
            _ => false,
        }
    }

    fn target(&self, location: &HeaderValue) -> Option<Url> {
        let mut target = self.url().join(location.to_str().ok()?).ok()?;
        target.set_fragment(None);
        matches!(target.scheme(), "http" | "https").then_some(target)
    }
}

/// Whether a response with this status comes from a server that has the stream. Later writes forget any other server.
pub fn is_at_home(status: StatusCode) -> bool {
    status.is_success() || status == StatusCode::CONFLICT
}

/// A URL's origin as users write it: `https://node2:4437`. The scheme's own port is left out.
pub fn origin_of(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// The origin that a user wrote, as [`origin_of`] writes it.
///
/// # Errors
/// `Kind::Argument` if it is not the origin of an http or https URL, and nothing more.
pub fn parse_origin(text: &str) -> Result<String> {
    let is_origin = |url: &Url| {
        matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.password().is_none()
            && (url.path(), url.query(), url.fragment()) == ("/", None, None)
    };
    let url = Url::parse(text).ok().filter(is_origin);
    url.map(|url| origin_of(&url)).ok_or_else(|| {
        let message = "an origin is the scheme, host and port of an http or https URL, such as \"https://node2:4437\"";
        Error::plain(Kind::Argument, message.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    static START: LazyLock<Url> = LazyLock::new(|| url("http://h/s?a=1"));

    fn redirects(method: Method) -> Redirects<'static> {
        Redirects::new(&method, &START)
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn step(redirects: &mut Redirects<'_>, status: u16, location: &str) -> RedirectStep {
        let location = HeaderValue::from_str(location).unwrap();
        redirects.handle_response(StatusCode::from_u16(status).unwrap(), Some(&location))
    }

    #[test]
    fn every_method_follows_307_and_308() {
        for method in [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE] {
            for status in [307, 308] {
                let to = url("http://other:1/t?b=2");
                let followed = step(&mut redirects(method.clone()), status, to.as_str());
                assert_eq!(followed, RedirectStep::Follow(to), "{method} {status}");
            }
        }
    }

    #[test]
    fn writes_do_not_follow_redirects_that_would_make_them_reads() {
        for status in [301, 302, 303] {
            assert_eq!(step(&mut redirects(Method::POST), status, "/t"), RedirectStep::Done);
            assert!(matches!(
                step(&mut redirects(Method::GET), status, "/t"),
                RedirectStep::Follow(_)
            ));
        }
    }

    #[test]
    fn other_statuses_and_responses_without_a_location_are_responses() {
        let mut redirects = redirects(Method::GET);
        assert_eq!(step(&mut redirects, 200, "/t"), RedirectStep::Done);
        assert_eq!(step(&mut redirects, 304, "/t"), RedirectStep::Done);
        let response = redirects.handle_response(StatusCode::TEMPORARY_REDIRECT, None);
        assert_eq!(response, RedirectStep::Done);
    }

    #[test]
    fn circles_and_long_ways_fail() {
        let mut circle = redirects(Method::POST);
        step(&mut circle, 307, "http://other/s");
        assert!(matches!(
            step(&mut circle, 307, "http://h/s?a=1"),
            RedirectStep::Circle(_)
        ));
        let mut long = redirects(Method::POST);
        for n in 0..MAX_REDIRECTS {
            assert!(matches!(
                step(&mut long, 307, &format!("/{n}")),
                RedirectStep::Follow(_)
            ));
        }
        assert!(matches!(step(&mut long, 307, "/more"), RedirectStep::Circle(_)));
    }

    #[test]
    fn only_web_addresses_are_followed() {
        for location in ["ftp://h/s", "file:///etc/passwd", "http://", "javascript:alert(1)"] {
            assert!(matches!(
                step(&mut redirects(Method::GET), 307, location),
                RedirectStep::Unusable(_)
            ));
        }
    }

    #[test]
    fn the_target_of_a_write_is_remembered_where_the_stream_is() {
        let mut write = redirects(Method::POST);
        assert!(!write.is_remembered_after(StatusCode::OK));
        step(&mut write, 307, "http://leader/s");
        assert!(write.is_remembered_after(StatusCode::NO_CONTENT));
        assert!(write.is_remembered_after(StatusCode::CONFLICT));
        assert!(!write.is_remembered_after(StatusCode::SERVICE_UNAVAILABLE));
        let mut read = redirects(Method::GET);
        step(&mut read, 307, "http://leader/s");
        assert!(!read.is_remembered_after(StatusCode::OK));
    }

    #[test]
    fn origins_are_written_without_the_usual_port() {
        assert_eq!(origin_of(&url("https://node2:4437/a?b")), "https://node2:4437");
        assert_eq!(parse_origin("HTTP://Node2:80/").unwrap(), "http://node2");
        for text in [
            "node2",
            "http://h/path",
            "http://h?q",
            "http://me:pass@h",
            "ftp://h",
            "http://",
        ] {
            assert!(
                matches!(parse_origin(text).unwrap_err().kind(), Kind::Argument),
                "{text}"
            );
        }
    }
}
