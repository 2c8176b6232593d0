//! Why a request failed, as the body of the response says it: as text, as the title of a web page, or as JSON.

use bytes::Bytes;
use serde_json::Value;

/// The body of an error response, or the data of an SSE error event, as some servers send it:
/// `{"error": {"code": "STREAM_NOT_FOUND", "message": "the stream does not exist"}}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ErrorBody {
    /// The server's code for the error; empty if there is none.
    pub code: String,
    /// The server's message; empty if there is none.
    pub message: String,
}

impl ErrorBody {
    /// Reads it; `None` if it has another form.
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        let body: Value = serde_json::from_slice(body).ok()?;
        let error = body.get("error")?.as_object()?;
        let field = |name| error.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Some(Self {
            code: field("code"),
            message: field("message"),
        })
    }
}

/// The beginning of a body for a message: one line of readable text, or `None`.
pub(crate) fn excerpt(body: &Bytes) -> Option<String> {
    const LONGEST: usize = 200;
    let error = ErrorBody::parse(body).map(|ErrorBody { code, message }| match (&*code, &*message) {
        ("", _) => message,
        (_, "") => code,
        _ => format!("{code}: {message}"),
    });
    let text = match &error {
        Some(text) => text.trim(),
        None => std::str::from_utf8(body).ok()?.trim(),
    };
    let text = match text.starts_with('<') {
        true => title(text)?,
        false => text,
    };
    if text.is_empty() || text.contains(char::is_control) {
        return None;
    }
    let mut excerpt: String = text.chars().take(LONGEST).collect();
    if excerpt.len() < text.len() {
        excerpt.push('…');
    }
    Some(excerpt)
}

/// The title of a web page. Servers put the reason there.
fn title(page: &str) -> Option<&str> {
    let (_, rest) = page.split_once("<title>")?;
    rest.split_once("</title>").map(|(title, _)| title.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_excerpt_of_a_body_is_short_and_readable() {
        assert_eq!(
            excerpt(&Bytes::from_static(b" no such offset ")),
            Some("no such offset".to_owned())
        );
        assert_eq!(
            excerpt(&Bytes::from_static(
                br#"{"error":{"code":"NO_LEADER","message":"try later"}}"#
            )),
            Some("NO_LEADER: try later".to_owned())
        );
        assert_eq!(excerpt(&Bytes::from_static(b"<html>")), None);
        assert_eq!(
            excerpt(&Bytes::from_static(b"<html><title> 502 Bad Gateway </title>")),
            Some("502 Bad Gateway".to_owned())
        );
        assert_eq!(excerpt(&Bytes::from_static(&[0xff, 0xfe])), None);
        assert_eq!(
            excerpt(&Bytes::from("é".repeat(300))).map(|s| s.chars().count()),
            Some(201)
        );
    }

    #[test]
    fn an_error_body_has_a_code_and_a_message() {
        let parse = |body: &str| ErrorBody::parse(body.as_bytes()).map(|body| (body.code, body.message));
        let both = Some(("A".to_owned(), "b".to_owned()));
        assert_eq!(parse(r#"{"error": {"code": "A", "message": "b", "more": 1}}"#), both);
        assert_eq!(parse(r#"{"error": {"code": 7}}"#), Some((String::new(), String::new())));
        for other in ["", "null", r#"{"error": "A"}"#, "[1]", "{"] {
            assert_eq!(parse(other), None);
        }
    }
}
