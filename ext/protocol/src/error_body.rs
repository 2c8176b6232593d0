//! The JSON in which some servers say why a request failed.

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

#[cfg(test)]
mod tests {
    use super::*;

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
