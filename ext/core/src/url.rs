//! URLs as text that a user gave, without their secrets: the parser that requests are made with is asked, so that no two
//! parsers disagree about where a host begins.

use std::borrow::Cow;

use reqwest::Url;

use crate::endpoint::displayed;

/// In http URLs the parser takes a backslash for a slash.
const SLASHES: [char; 2] = ['/', '\\'];

/// `text`, a URL or what somebody took for one, as messages may show it: without userinfo, query and fragment.
pub fn shown(text: &str) -> String {
    match Url::parse(text) {
        Ok(url) if !url.username().is_empty() || url.password().is_some() => displayed(&url),
        Ok(url) if url.has_host() => without_query(text),
        _ => without_query(&without_anything_before_an_at(text)),
    }
}

/// Text that the parser finds no host in, or that it refuses, may still be meant as a URL with a password, which other
/// parsers would find: nothing up to the last `@` is kept but a scheme and slashes. One slash alone begins a path.
fn without_anything_before_an_at(text: &str) -> Cow<'_, str> {
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
    // A slash may itself be the last thing before the `@`.
    let kept = &text[..(scheme + slashes).min(at)];
    Cow::Owned(format!("{kept}…{}", &text[at..]))
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

    #[test]
    fn userinfo_is_not_shown_in_any_form() {
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
    fn what_is_no_secret_is_shown_as_it_was_given() {
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
