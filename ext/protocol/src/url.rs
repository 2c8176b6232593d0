//! URLs from users: joins a path to a base URL, and removes secrets from a URL for messages.
//!
//! Both use the URL parser of the requests, so that there is one opinion on where a host or a path ends.

use std::borrow::Cow;

use url::Url;

use crate::error::{Error, Kind, Result};

/// The parser treats a backslash in an http URL as a slash.
const SLASHES: [char; 2] = ['/', '\\'];

/// The URL of `path` below `base`, with exactly one slash between them. `path` may have a query.
///
/// # Errors
/// `Kind::Argument` if the path has a fragment, which requests do not send, or if a server may resolve its `..`
/// segments to a path outside the base. Servers differ: before they resolve `..`, some merge slashes, decode `%2F` or
/// `%5C`, or drop the text after a `;`. So a path with an encoded slash may not have any `..` segment.
pub fn join(base: &str, path: &str) -> Result<String> {
    let path = path.trim_start_matches(SLASHES);
    if path.contains('#') {
        return Err(refused(path, "has a fragment, which is not sent: write # as %23"));
    }
    let segments = path.split('?').next().unwrap_or_default();
    if may_escape(segments) {
        return Err(refused(path, "may leave the base_url's path by \"..\""));
    }
    Ok(format!("{}/{path}", base.trim_end_matches(SLASHES)))
}

/// `text`, a URL or a mistyped one, for messages: without userinfo, query and fragment.
pub fn shown(text: &str) -> String {
    match Url::parse(text) {
        Ok(url) if !url.username().is_empty() || url.password().is_some() => displayed(&url),
        Ok(url) if url.has_host() => without_query(text),
        _ => without_query(&without_userinfo(text)),
    }
}

/// A URL for messages: without credentials, and without its query and fragment, which may contain a token.
pub fn displayed(url: &Url) -> String {
    let mut bare = url.clone();
    // A URL that cannot have credentials refuses both calls.
    let _refused = bare.set_username("").and_then(|()| bare.set_password(None));
    bare.set_query(None);
    bare.set_fragment(None);
    let suffix = if url.query().is_some() || url.fragment().is_some() {
        "?…"
    } else {
        ""
    };
    format!("{bare}{suffix}")
}

fn refused(path: &str, reason: &str) -> Error {
    Error::plain(Kind::Argument, format!("url {:?} {reason}", shown(&format!("/{path}"))))
}

/// Whether some server may resolve a relative path to one above its start, at any segment.
///
/// This function splits the path at every slash, encoded or not. Servers split it at the same slashes or at fewer. So
/// if it finds no `..` segment, no server does. Without encoded slashes, all servers split at the same slashes. It
/// ignores empty segments, so a server that counts them is never higher up.
fn may_escape(path: &str) -> bool {
    let path = path.to_ascii_lowercase().replace("%2e", ".");
    let split = path.replace("%2f", "/").replace("%5c", "/");
    let has_encoded_slash = split != path;
    let mut depth = 0_usize;
    for segment in split.split(SLASHES) {
        match name(segment).as_str() {
            "" | "." => {}
            ".." if has_encoded_slash || depth == 0 => return true,
            ".." => depth -= 1,
            _ => depth += 1,
        }
    }
    false
}

/// A segment without its parameters and without the characters that URL parsers drop: tabs and newlines, and at the end
/// of a URL spaces and control characters.
fn name(segment: &str) -> String {
    let name = segment.split(';').next().unwrap_or_default();
    let name = name.trim_end_matches(|c| c <= ' ');
    name.replace(['\t', '\n', '\r'], "")
}

/// Removes possible userinfo from text that the parser refuses or finds no host in. The text may be a mistyped URL with
/// a password. So only a scheme and slashes remain of everything before the last `@`. Text that begins with one slash
/// is a path, and does not change.
fn without_userinfo(text: &str) -> Cow<'_, str> {
    let Some(at) = text.rfind('@') else {
        return Cow::Borrowed(text);
    };
    let scheme = match text.split_once(':') {
        Some((name, rest)) if rest.starts_with(SLASHES) && is_scheme(name) => name.len() + 1,
        _ => 0,
    };
    let slashes = text[scheme..].len() - text[scheme..].trim_start_matches(SLASHES).len();
    if scheme == 0 && slashes == 1 {
        return Cow::Borrowed(text);
    }
    // The `@` may come directly after the slashes.
    let prefix = &text[..(scheme + slashes).min(at)];
    Cow::Owned(format!("{prefix}…{}", &text[at..]))
}

fn is_scheme(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(allowed)
}

fn without_query(text: &str) -> String {
    match text.find(['?', '#']) {
        Some(end) => format!("{}?…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::iter;

    fn is_refused(path: &str) -> bool {
        matches!(join("http://h/v1", path), Err(error) if matches!(error.kind(), Kind::Argument))
    }

    #[test]
    fn joins_a_path_with_one_slash() {
        let cases = [
            ("http://h", "s", "http://h/s"),
            ("http://h//", "//s", "http://h/s"),
            ("http://h/v1\\", "\\/host/s", "http://h/v1/host/s"),
            ("http://h/v1/", "/a/b/?x=../..", "http://h/v1/a/b/?x=../.."),
            ("http://h/v1", "", "http://h/v1/"),
            (
                "http://h/v1",
                "rooms/gid://app/Room/1/m",
                "http://h/v1/rooms/gid://app/Room/1/m",
            ),
        ];
        for (base, path, joined) in cases {
            assert_eq!(join(base, path).unwrap(), joined);
        }
    }

    #[test]
    fn refuses_paths_that_leave_the_base() {
        let climbing = [
            "..",
            "/..",
            "/../admin",
            "a/../..",
            "a/../../v1/b",
            "..\\x",
            "./../x",
            "%2e%2E/x",
            ".%2e/x",
            "%2E./x",
            "..%2fx",
            "%2f..%2fx",
            "a%2f%2f..%2f..%2fx",
            "a%5Cb%2f..%2f..%2fx",
            "a%2f./..%2f..",
            "a//../../x",
            "a/./../..;b/x",
            "..;/x",
            ";/../x",
            ".\t./x",
            ".. ",
            "..\u{1}\n?q",
            "..%5Cx",
            "%2e%2e%2Fx",
            "a%2Fb/../../x",
            "a/..%2f..",
            "//../x",
            "..?q",
        ];
        for path in climbing {
            assert!(is_refused(path), "{path}");
        }
        let inside = [
            "a/../b",
            "a//../b",
            "a/b/../../c",
            "a%2Fb%5Cc",
            "a;b=../c",
            "gid:%2F%2Fapp%2FRoom%2F1",
            "...",
            "..a",
            "a..",
            ".",
            "./a",
            "%252e%252e/x",
            "a/%2e%2e/b",
            "a?/../../x",
            "a..%2fb",
        ];
        for path in inside {
            assert!(!is_refused(path), "{path}");
        }
    }

    #[test]
    fn joined_paths_are_below_the_base_for_the_parser() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut joined = 0;
        for _ in 0..20_000 {
            let path = random_path(&mut random);
            if let Ok(url) = join("http://h:1/v1/x", &path) {
                let url = Url::parse(&url).unwrap();
                assert!(url.path().starts_with("/v1/x/"), "{path} became {url}");
                assert_eq!((url.host_str(), url.port(), url.username()), (Some("h"), Some(1), ""));
                joined += 1;
            }
        }
        assert!(joined > 1_000);
    }

    fn random_path(random: &mut fastrand::Rng) -> String {
        const PIECES: [&str; 18] = [
            "..", "..", "/", "/", "\\", ".", "%2e", "%2E", "%2f", "%5C", "%25", "a", "?", "@", ":", "//h2", ";", "\t",
        ];
        let length = random.usize(1..10);
        iter::repeat_with(|| PIECES[random.usize(..PIECES.len())])
            .take(length)
            .collect()
    }

    /// How a server changes a path before it resolves `..` segments.
    #[derive(Clone, Copy, Debug)]
    struct ServerRules {
        decodes_slashes: bool,
        decodes_backslashes: bool,
        backslash_is_slash: bool,
        merges_slashes: bool,
        drops_parameters: bool,
    }

    impl ServerRules {
        fn all() -> impl Iterator<Item = Self> {
            (0..32).map(|bits: u32| Self {
                decodes_slashes: bits & 1 != 0,
                decodes_backslashes: bits & 2 != 0,
                backslash_is_slash: bits & 4 != 0,
                merges_slashes: bits & 8 != 0,
                drops_parameters: bits & 16 != 0,
            })
        }

        /// The path with `..` segments resolved; `None` if it leads above the root.
        fn resolved(self, path: &str) -> Option<String> {
            let mut path = path.replace("%2e", ".").replace("%2E", ".");
            if self.decodes_slashes {
                path = path.replace("%2f", "/");
            }
            if self.decodes_backslashes {
                path = path.replace("%5C", "\\");
            }
            if self.backslash_is_slash {
                path = path.replace('\\', "/");
            }
            let mut segments = Vec::new();
            for segment in path.split('/').skip(1) {
                let parameters = segment.find(';').filter(|_| self.drops_parameters);
                match &segment[..parameters.unwrap_or(segment.len())] {
                    "." => {}
                    "" if self.merges_slashes => {}
                    ".." => drop(segments.pop()?),
                    name => segments.push(name),
                }
            }
            Some(format!("/{}", segments.join("/")))
        }
    }

    #[test]
    fn joined_paths_are_below_the_base_for_every_server_and_for_one_behind_it() {
        let is_below = |path: &str| path == "/v1/x" || path.starts_with("/v1/x/");
        let mut random = fastrand::Rng::with_seed(8);
        let mut joined = 0;
        for _ in 0..3_000 {
            let path = random_path(&mut random);
            let Ok(url) = join("http://h/v1/x", &path) else {
                continue;
            };
            let sent = Url::parse(&url).unwrap().path().to_owned();
            joined += 1;
            let mut known = HashSet::new();
            for first in ServerRules::all() {
                let passed_on = first.resolved(&sent).filter(|path| is_below(path));
                let passed_on = passed_on.unwrap_or_else(|| panic!("{path:?} leaves the base on {first:?}"));
                if !known.insert(passed_on.clone()) {
                    continue;
                }
                for second in ServerRules::all() {
                    let reached = second.resolved(&passed_on).filter(|path| is_below(path));
                    assert!(
                        reached.is_some(),
                        "{path:?} leaves the base on {second:?} behind {first:?}"
                    );
                }
            }
        }
        assert!(joined > 500);
    }

    #[test]
    fn refuses_a_path_with_a_fragment() {
        assert!(is_refused("/rooms/#general"));
    }

    #[test]
    fn hides_userinfo_in_any_form() {
        let leaky = [
            "http://me:s3cret@h/p",
            "http://s3cret@h/p",
            "http:///me:s3cret@h/p",
            "http:me:s3cret@h/p",
            "http:/me:s3cret@h/p",
            "http:\\\\me:s3cret@h/p",
            "http:/\\me:s3cret@h/p",
            "ht\ttp://me:s3cret@h/p",
            " http://me:s3cret@h/p",
            "HTTPS://me:s3cret@h/p",
            "http://me:s3cret@@h/p",
            "http://me:p@s3cret@h/p",
            "http://me:s3/cret@h/p",
            "http://me:s3?cret@h/p",
            "http://me:s3#cret@h/p",
            "http://me:s3\\cret@h/p",
            "http://me:s3cret@[::1/p",
            "http://me:s3cret@h:port/p",
            "socks5://me:s3cret@h/p",
            "gid://me:s3\\cret@h/p",
            "me:s3cret@h/p",
            "s3cret@h/p",
            "//me:s3cret@h/p",
            "\\\\me:s3cret@h/p",
            "http://h/p?key=s3cret",
            "http://h/p#s3cret",
            "/p?key=s3cret@x",
        ];
        for text in leaky {
            let shown = shown(text);
            assert!(
                !shown.contains("s3") && !shown.contains("cret"),
                "{text} became {shown}"
            );
            assert!(shown.contains('p'), "{text} became {shown}");
        }
    }

    #[test]
    fn shows_text_without_secrets_unchanged() {
        for text in [
            "http://h",
            "https://h/@me/a:b@c",
            "/rooms/@me",
            "",
            "a b",
            "gid://app/Room/1",
            "h:80",
        ] {
            assert_eq!(shown(text), text);
        }
    }
}
