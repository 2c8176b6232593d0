//! Redirects: which of them a request follows, and whether later writes go to their target at once.
//!
//! A server that redirects a request has done nothing else with it. Read [`Redirects`] first.

use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use url::Url;

use crate::error::{Error, Kind, Result};
use crate::protocol::PRODUCER_EPOCH;
use crate::redirected::RedirectedTo;
use crate::url::{displayed, shown};

/// A request follows at most this many redirects.
pub const MAX_REDIRECTS: usize = 5;

/// The redirects of one request.
///
/// 307 and 308 are followed with every method, and the body is sent again. 301, 302 and 303 are followed by GET and
/// HEAD alone: other methods would become a GET.
///
/// A write begins at the remembered target of an earlier write, if there is one. If the response shows that the stream
/// is not there any more, the write begins once more, at the original URL. Then only that response counts.
#[derive(Debug)]
pub struct Redirects<'a> {
    reads: bool,
    original: &'a Url,
    start: Start<'a>,
    /// The URLs that it was redirected to since the start.
    followed: Vec<Url>,
}

/// Where a request begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start<'a> {
    /// At the original URL.
    Original,
    /// At the remembered target.
    Remembered(&'a Url),
    /// At the original URL, because the stream is not at the remembered target any more.
    OriginalAgain,
}

/// What to do with a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedirectStep {
    /// It is the response to the request.
    Done,
    /// Send the request to this URL, exactly as it is.
    Follow(Url),
    /// Send the request to the original URL. The server of the remembered target has rejected it.
    StartOver,
    /// The redirects have no end. No server has done anything with the request, so it may be sent again.
    Circle(String),
    /// The redirect cannot be followed at all.
    Unusable(String),
}

/// What becomes of the remembered target of a stream's writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetMemory {
    /// It remains as it is.
    Unchanged,
    /// Later writes go to [`Redirects::url`] at once.
    Remember,
    /// Later writes go to the original URL.
    Forget,
}

impl<'a> Redirects<'a> {
    /// None yet. The request is for `original`. A write goes to the `remembered` target of an earlier one, if there is
    /// one.
    pub fn new(method: &Method, original: &'a Url, remembered: Option<&'a Url>) -> Self {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        Redirects {
            reads,
            original,
            start: match remembered {
                Some(target) if !reads => Start::Remembered(target),
                _ => Start::Original,
            },
            followed: Vec::new(),
        }
    }

    /// Where the request goes now.
    pub fn url(&self) -> &Url {
        self.followed.last().unwrap_or_else(|| self.first())
    }

    /// Where the request is now, if that is not where the application sent it. `is_trusted`: whether the user's headers
    /// go there.
    pub fn redirected_to(&self, is_trusted: bool) -> Option<RedirectedTo> {
        (self.url() != self.original).then(|| RedirectedTo::new(self.url(), is_trusted))
    }

    /// Where the request began.
    fn first(&self) -> &Url {
        match self.start {
            Start::Remembered(target) => target,
            Start::Original | Start::OriginalAgain => self.original,
        }
    }

    /// What to do with a response that has this status and these headers.
    pub fn handle_response(&mut self, status: StatusCode, headers: &HeaderMap) -> RedirectStep {
        let (Some(location), true) = (headers.get(LOCATION), self.follows(status)) else {
            if matches!(self.start, Start::Remembered(_)) && is_elsewhere(status, headers) {
                self.start = Start::OriginalAgain;
                self.followed.clear();
                return RedirectStep::StartOver;
            }
            return RedirectStep::Done;
        };
        let Some(target) = self.target(location) else {
            let location = location
                .to_str()
                .map_or_else(|_| String::new(), |location| format!(": {}", shown(location)));
            return RedirectStep::Unusable(format!(
                "the server redirected to a URL that is not http or https{location}"
            ));
        };
        if target == *self.first() || self.followed.contains(&target) {
            return RedirectStep::Circle(format!("the redirects form a circle, by {}", displayed(&target)));
        }
        if self.followed.len() >= MAX_REDIRECTS {
            return RedirectStep::Circle(format!(
                "more than {MAX_REDIRECTS} redirects, the last one to {}",
                displayed(&target)
            ));
        }
        self.followed.push(target.clone());
        RedirectStep::Follow(target)
    }

    /// What becomes of the remembered target after a response with this status, or without a response.
    pub fn memory_after(&self, status: Option<StatusCode>) -> TargetMemory {
        let at_home = status.is_some_and(is_at_home);
        match self.start {
            _ if self.reads => TargetMemory::Unchanged,
            _ if at_home && !self.followed.is_empty() => TargetMemory::Remember,
            Start::Remembered(_) if at_home => TargetMemory::Unchanged,
            Start::Remembered(_) | Start::OriginalAgain => TargetMemory::Forget,
            Start::Original => TargetMemory::Unchanged,
        }
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
fn is_at_home(status: StatusCode) -> bool {
    status.is_success() || status == StatusCode::CONFLICT
}

/// Whether a rejected write shows that this is not, or not any more, the stream's server: it does not know the stream,
/// the host or the user. It has stored nothing. A 403 about a producer's epoch is from the stream's server.
fn is_elsewhere(status: StatusCode, headers: &HeaderMap) -> bool {
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::UNAUTHORIZED | StatusCode::MISDIRECTED_REQUEST => true,
        StatusCode::FORBIDDEN => !headers.contains_key(PRODUCER_EPOCH),
        _ => false,
    }
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
            && !text.contains('*')
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
        Redirects::new(&method, &START, None)
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn step(redirects: &mut Redirects<'_>, status: u16, location: &str) -> RedirectStep {
        let location = HeaderValue::from_str(location).unwrap();
        let headers = HeaderMap::from_iter([(LOCATION, location)]);
        redirects.handle_response(StatusCode::from_u16(status).unwrap(), &headers)
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
        let response = redirects.handle_response(StatusCode::TEMPORARY_REDIRECT, &HeaderMap::new());
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
    fn knows_where_it_is_unless_it_is_where_it_began() {
        let mut followed = redirects(Method::GET);
        assert_eq!(followed.redirected_to(true), None);
        step(&mut followed, 307, "/t");
        let to = Some(RedirectedTo::new(&url("http://h/t"), true));
        assert_eq!(followed.redirected_to(true), to);
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
        let ok = Some(StatusCode::OK);
        assert_eq!(write.memory_after(ok), TargetMemory::Unchanged);
        step(&mut write, 307, "http://leader/s");
        for at_home in [StatusCode::NO_CONTENT, StatusCode::CONFLICT] {
            assert_eq!(write.memory_after(Some(at_home)), TargetMemory::Remember);
        }
        assert_eq!(
            write.memory_after(Some(StatusCode::SERVICE_UNAVAILABLE)),
            TargetMemory::Unchanged
        );
        let mut read = redirects(Method::GET);
        step(&mut read, 307, "http://leader/s");
        assert_eq!(read.memory_after(ok), TargetMemory::Unchanged);
    }

    #[test]
    fn a_write_begins_at_the_remembered_target_and_forgets_it_after_a_failure() {
        let leader = url("http://leader/s");
        assert_eq!(Redirects::new(&Method::GET, &START, Some(&leader)).url(), &*START);
        let mut write = Redirects::new(&Method::POST, &START, Some(&leader));
        assert_eq!(write.url(), &leader);
        let status = |code| Some(StatusCode::from_u16(code).unwrap());
        for (outcome, memory) in [
            (status(200), TargetMemory::Unchanged),
            (status(409), TargetMemory::Unchanged),
            (status(400), TargetMemory::Forget),
            (status(503), TargetMemory::Forget),
            (None, TargetMemory::Forget),
        ] {
            assert_eq!(write.memory_after(outcome), memory, "{outcome:?}");
        }
        step(&mut write, 307, "http://next-leader/s");
        assert_eq!(write.memory_after(status(200)), TargetMemory::Remember);
    }

    #[test]
    fn a_write_starts_over_once_if_the_stream_is_not_at_the_remembered_target_any_more() {
        let leader = url("http://leader/s");
        let stale = HeaderMap::from_iter([(PRODUCER_EPOCH, HeaderValue::from_static("4"))]);
        for status in [401, 403, 404, 410, 421] {
            let mut write = Redirects::new(&Method::POST, &START, Some(&leader));
            assert_eq!(step(&mut write, status, "/t"), RedirectStep::StartOver, "{status}");
            assert_eq!(write.url(), &*START);
            for last in [200, 404] {
                let last = StatusCode::from_u16(last).unwrap();
                assert_eq!(write.memory_after(Some(last)), TargetMemory::Forget);
            }
            assert_eq!(
                step(&mut write, 307, "http://leader/s"),
                RedirectStep::Follow(leader.clone())
            );
            assert_eq!(write.memory_after(Some(StatusCode::OK)), TargetMemory::Remember);
            assert_eq!(step(&mut write, status, "/t"), RedirectStep::Done, "{status}");
        }
        let mut redirected = Redirects::new(&Method::POST, &START, Some(&leader));
        step(&mut redirected, 307, "http://next-leader/s");
        assert_eq!(step(&mut redirected, 404, "/t"), RedirectStep::StartOver);
        for status in [200, 204, 400, 409, 413, 429, 500, 502, 503, 504] {
            let mut write = Redirects::new(&Method::POST, &START, Some(&leader));
            assert_eq!(step(&mut write, status, "/t"), RedirectStep::Done, "{status}");
        }
        let mut fenced = Redirects::new(&Method::POST, &START, Some(&leader));
        assert_eq!(
            fenced.handle_response(StatusCode::FORBIDDEN, &stale),
            RedirectStep::Done
        );
    }

    #[test]
    fn origins_are_written_without_the_usual_port() {
        assert_eq!(origin_of(&url("https://node2:4437/a?b")), "https://node2:4437");
        assert_eq!(parse_origin("HTTP://Node2:80/").unwrap(), "http://node2");
        for text in [
            "node2",
            "http://h/path",
            "https://*.example.com",
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
