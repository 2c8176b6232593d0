//! [`Meaning::of`] maps the operation, status and headers of an unsuccessful response to an error [`Kind`]. There is no
//! other such table: all operations use this one.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use http::header::{HeaderMap, RETRY_AFTER};

use serde_json::Value;

use crate::advice;
use crate::error::{Kind, Operation};
use crate::error_body::ErrorBody;
use crate::protocol::{self, flag, number, text};
use crate::retry::policy::RetryPolicy;
use crate::subscriptions::operation::SubscriptionOperation;

/// The meaning of a response that is not the success that its request expects.
#[derive(Clone, Debug)]
pub struct Meaning {
    /// The kind of error.
    pub kind: Kind,
    /// The reason in words, for the message.
    pub reason: &'static str,
    /// What to do about it, for the message.
    pub advice: Option<Cow<'static, str>>,
    /// Whether the request may have changed the stream nevertheless. A gateway may send a 5xx after the server accepted
    /// the request. An intermediary may send a success that the protocol does not define. Every other response means
    /// that the server rejected the request.
    pub may_be_stored: bool,
    status: StatusCode,
}

impl Meaning {
    /// The meaning of a response to a request of `operation`. A `Retry-After` that is a date counts from `now`.
    pub fn of(operation: Operation, status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Self {
        let (kind, reason) = match status.as_u16() {
            400 => (Kind::BadRequest, "bad request"),
            401 => (Kind::Unauthorized, "unauthorized"),
            403 => forbidden(operation, headers),
            404 => (Kind::NotFound, "stream not found"),
            409 => conflict(operation, headers),
            410 => (Kind::Gone, "gone: the stream, or its data at this offset, was deleted"),
            413 => (Kind::PayloadTooLarge, "payload too large"),
            416 if operation == Operation::Read => (Kind::Status, BEYOND_THE_END),
            300..=399 => (Kind::Status, "redirected"),
            429 => {
                let retry_after = retry_after(headers, now);
                (Kind::RateLimited { retry_after }, "rate limited")
            }
            500..=599 => (Kind::Status, "server error"),
            _ => (Kind::Status, "unexpected status"),
        };
        Self {
            advice: advice::of(&kind, operation, status),
            kind,
            reason,
            may_be_stored: operation.writes() && matches!(status.as_u16(), 200..=299 | 500..),
            status,
        }
    }

    /// The same for a response of the subscription APIs, whose body has the cause of a 404 or a 409.
    pub(crate) fn of_subscription(mut self, operation: SubscriptionOperation, body: &[u8]) -> Self {
        let code = ErrorBody::parse(body).map_or_else(String::new, |body| body.code);
        (self.kind, self.reason) = match self.status.as_u16() {
            404 if code == "SUBSCRIPTION_NOT_FOUND" => (Kind::NotFound, "subscription not found"),
            404 | 405 | 501 => (Kind::SubscriptionsNotSupported, "the server has no subscriptions"),
            409 => subscription_conflict(operation, &code, body),
            _ => return self,
        };
        self.advice = advice::of(&self.kind, Operation::Subscription(operation), self.status);
        self
    }

    /// Whether the same request may succeed later. `policy` has to list the status, and the kind of error must be one
    /// that time can resolve.
    pub fn is_worth_retry(&self, policy: &RetryPolicy) -> bool {
        let permanent = matches!(
            self.kind,
            Kind::StaleEpoch { .. }
                | Kind::Exists
                | Kind::StreamClosed { .. }
                | Kind::SeqConflict
                | Kind::ContentTypeMismatch
                | Kind::SequenceGap { .. }
                | Kind::SubscriptionExists
                | Kind::SubscriptionsNotSupported
                | Kind::AlreadyClaimed { .. }
                | Kind::NoPendingWork
                | Kind::Fenced
                | Kind::InvalidAck
        );
        policy.covers(self.status) && !permanent
    }
}

const BEYOND_THE_END: &str = "the offset is beyond the end of the stream, which may have lost data, or was deleted and \
    created again: read from another offset, or from the start (\"-1\")";

/// The status that means the same as the code of an SSE error event; `None` if another try may help.
pub fn status_of_code(code: &str) -> Option<StatusCode> {
    match code {
        "UNAUTHORIZED"
        | "UNAUTHENTICATED"
        | "FORBIDDEN"
        | "PERMISSION_DENIED"
        | "ACCESS_DENIED"
        | "INVALID_TOKEN"
        | "TOKEN_EXPIRED"
        | "INVALID_CREDENTIALS" => Some(StatusCode::UNAUTHORIZED),
        "NOT_FOUND" | "STREAM_NOT_FOUND" => Some(StatusCode::NOT_FOUND),
        "GONE" | "STREAM_GONE" => Some(StatusCode::GONE),
        "OFFSET_OUT_OF_RANGE" => Some(StatusCode::BAD_REQUEST),
        _ => None,
    }
}

/// The kind of error for a response whose request is not known. The headers show what the request was.
pub fn kind_of(status: u16, headers: &HeaderMap, now: SystemTime) -> Kind {
    let operation = match status {
        403 => Operation::Produce,
        409 if headers.contains_key(protocol::STREAM_SEQ) => Operation::AppendWithSeq,
        // A 409 without distinguishing headers counts as a conflict on create.
        409 if !flag(headers, &protocol::STREAM_CLOSED) && gap(headers).is_none() => Operation::Create,
        _ => Operation::Append,
    };
    StatusCode::from_u16(status).map_or(Kind::Status, |status| Meaning::of(operation, status, headers, now).kind)
}

/// A 403 for a producer is about its epoch if it has the header `Producer-Epoch`.
fn forbidden(operation: Operation, headers: &HeaderMap) -> (Kind, &'static str) {
    let has_epoch = matches!(
        operation,
        Operation::Produce | Operation::AppendOnce { .. } | Operation::CloseOnce
    );
    if has_epoch && headers.contains_key(protocol::PRODUCER_EPOCH) {
        let current_epoch = number(headers, &protocol::PRODUCER_EPOCH);
        let reason = "this epoch of the producer id is closed";
        return (Kind::StaleEpoch { current_epoch }, reason);
    }
    (Kind::Forbidden, "forbidden")
}

/// The headers and the operation distinguish the causes of a 409.
fn conflict(operation: Operation, headers: &HeaderMap) -> (Kind, &'static str) {
    if operation == Operation::Create {
        return (Kind::Exists, "stream already exists with another configuration");
    }
    if flag(headers, &protocol::STREAM_CLOSED) {
        let final_offset = text(headers, &protocol::STREAM_NEXT_OFFSET).map(str::to_owned);
        return (Kind::StreamClosed { final_offset }, "stream is closed");
    }
    if let Some(kind) = gap(headers) {
        let reason = match kind {
            Kind::SequenceGap { expected: Some(0), .. } => {
                "producer sequence gap: the server has no record of this producer (servers that store it in memory \
                 forget it when they restart)"
            }
            _ => "producer sequence gap",
        };
        return (kind, reason);
    }
    if protocol::is_html(headers) {
        // A proxy has replaced the server's response, and its headers are lost. Servers respond with text or JSON.
        return (
            Kind::Status,
            "conflict, but a proxy has replaced the server's response by a web page",
        );
    }
    match operation {
        Operation::AppendWithSeq | Operation::AppendOnce { with_seq: true } => (
            Kind::SeqConflict,
            "sequence conflict: seq must be above the stream's last one, compared as text (\"10\" is below \"9\")",
        ),
        Operation::Append
        | Operation::AppendOnce { .. }
        | Operation::Close
        | Operation::CloseWithData
        | Operation::CloseOnce
        | Operation::Produce => (Kind::ContentTypeMismatch, "content type differs from the stream's"),
        _ => (Kind::Status, "conflict"),
    }
}

/// The code in the body distinguishes the causes of a 409. Without one, the operation decides.
fn subscription_conflict(operation: SubscriptionOperation, code: &str, body: &[u8]) -> (Kind, &'static str) {
    match (operation, code) {
        (SubscriptionOperation::Create, _) => (
            Kind::SubscriptionExists,
            "subscription already exists with another configuration",
        ),
        (SubscriptionOperation::Claim, "NO_PENDING_WORK") => (Kind::NoPendingWork, "subscription has no pending work"),
        (SubscriptionOperation::Claim, _) => (already_claimed(body), "another worker has the subscription's lease"),
        (_, "INVALID_OFFSET") => (Kind::InvalidAck, "the server does not accept this offset"),
        (operation, _) if operation.needs_claim() => (
            Kind::Fenced,
            "the claim has ended, because its lease ran out or another worker has claimed the subscription",
        ),
        _ => (Kind::Status, "conflict"),
    }
}

fn already_claimed(body: &[u8]) -> Kind {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = &body["error"];
    Kind::AlreadyClaimed {
        current_holder: error["current_holder"].as_str().map(str::to_owned),
        generation: error["generation"].as_u64(),
    }
}

/// The gap in a producer's sequence numbers, if the headers of a 409 have these numbers.
fn gap(headers: &HeaderMap) -> Option<Kind> {
    let expected = number(headers, &protocol::PRODUCER_EXPECTED_SEQ);
    let received = number(headers, &protocol::PRODUCER_RECEIVED_SEQ);
    (expected.is_some() || received.is_some()).then_some(Kind::SequenceGap { expected, received })
}

/// Whether this status requests other credentials. New header and parameter values may help.
pub fn asks_for_credentials(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

/// The delay that `Retry-After` requests. The header has seconds or an HTTP date; a date is relative to `now`.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = text(headers, &RETRY_AFTER)?.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use http::header::{HeaderName, HeaderValue};

    use super::*;

    const CLOSED: [(HeaderName, &str); 2] = [(protocol::STREAM_CLOSED, "true"), (protocol::STREAM_NEXT_OFFSET, "7")];
    const GAP: [(HeaderName, &str); 2] = [
        (protocol::PRODUCER_EXPECTED_SEQ, "3"),
        (protocol::PRODUCER_RECEIVED_SEQ, "5"),
    ];
    const EPOCH: [(HeaderName, &str); 1] = [(protocol::PRODUCER_EPOCH, "4")];

    fn meaning(operation: Operation, status: u16, headers: &[(HeaderName, &'static str)]) -> Meaning {
        let headers = headers.iter().cloned();
        let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
        let status = StatusCode::from_u16(status).unwrap();
        Meaning::of(operation, status, &headers.collect(), SystemTime::UNIX_EPOCH)
    }

    fn kind(operation: Operation, status: u16, headers: &[(HeaderName, &'static str)]) -> Kind {
        meaning(operation, status, headers).kind
    }

    #[test]
    fn the_headers_of_a_409_decide_its_kind() {
        let closed = kind(Operation::Append, 409, &CLOSED);
        assert!(matches!(closed, Kind::StreamClosed { final_offset: Some(offset) } if offset == "7"));
        assert!(matches!(kind(Operation::AppendWithSeq, 409, &[]), Kind::SeqConflict));
        assert!(matches!(kind(Operation::Append, 409, &[]), Kind::ContentTypeMismatch));
        assert!(matches!(kind(Operation::Create, 409, &[]), Kind::Exists));
        let gap = kind(Operation::Produce, 409, &GAP);
        assert!(matches!(
            gap,
            Kind::SequenceGap {
                expected: Some(3),
                received: Some(5)
            }
        ));
    }

    #[test]
    fn a_web_page_does_not_say_why_there_is_a_conflict() {
        let page = [(http::header::CONTENT_TYPE, "text/html; charset=iso-8859-1")];
        for operation in [Operation::Append, Operation::AppendWithSeq, Operation::Produce] {
            assert!(matches!(kind(operation, 409, &page), Kind::Status), "{operation:?}");
        }
        assert!(matches!(kind(Operation::Create, 409, &page), Kind::Exists));
    }

    #[test]
    fn a_403_is_a_stale_epoch_only_for_a_producer() {
        let stale = kind(Operation::Produce, 403, &EPOCH);
        assert!(matches!(stale, Kind::StaleEpoch { current_epoch: Some(4) }));
        assert!(matches!(kind(Operation::Produce, 403, &[]), Kind::Forbidden));
        assert!(matches!(kind(Operation::Append, 403, &EPOCH), Kind::Forbidden));
    }

    #[test]
    fn the_code_in_the_body_decides_what_a_response_about_a_subscription_means() {
        use SubscriptionOperation::{Ack, Callback, Claim, Create, Find, Release};
        let kind = |operation, status, body: &str| {
            let meaning = meaning(Operation::Subscription(operation), status, &[]);
            meaning.of_subscription(operation, body.as_bytes()).kind
        };
        let code = |code: &str| format!(r#"{{"error": {{"code": "{code}"}}}}"#);
        assert!(matches!(
            kind(Find, 404, &code("SUBSCRIPTION_NOT_FOUND")),
            Kind::NotFound
        ));
        for status in [404, 405, 501] {
            let kind = kind(Find, status, "no such stream");
            assert!(matches!(kind, Kind::SubscriptionsNotSupported), "{status}");
        }
        let exists = kind(Create, 409, &code("SUBSCRIPTION_ALREADY_EXISTS"));
        assert!(matches!(exists, Kind::SubscriptionExists));
        assert!(matches!(
            kind(Claim, 409, &code("NO_PENDING_WORK")),
            Kind::NoPendingWork
        ));
        let claimed = kind(
            Claim,
            409,
            r#"{"error": {"code": "ALREADY_CLAIMED", "current_holder": "a", "generation": 7}}"#,
        );
        assert!(matches!(
            claimed,
            Kind::AlreadyClaimed { current_holder: Some(name), generation: Some(7) } if name == "a"
        ));
        for operation in [Ack, Release, Callback] {
            assert!(matches!(kind(operation, 409, &code("FENCED")), Kind::Fenced));
            assert!(matches!(kind(operation, 409, ""), Kind::Fenced));
            assert!(matches!(
                kind(operation, 409, &code("INVALID_OFFSET")),
                Kind::InvalidAck
            ));
        }
        assert!(matches!(kind(Ack, 401, &code("TOKEN_EXPIRED")), Kind::Unauthorized));
    }

    #[test]
    fn a_write_may_be_stored_after_a_5xx_or_an_unknown_success() {
        let may_be_stored = |operation, status| meaning(operation, status, &[]).may_be_stored;
        for status in [202, 206, 299, 500, 501, 502, 503, 504, 599] {
            assert!(may_be_stored(Operation::Append, status), "{status}");
            assert!(!may_be_stored(Operation::Read, status), "{status}");
        }
        for status in [302, 400, 403, 404, 408, 409, 410, 413, 418, 429, 499] {
            assert!(!may_be_stored(Operation::Append, status), "{status}");
        }
    }

    #[test]
    fn permanent_errors_are_not_retried_even_if_the_policy_lists_their_status() {
        let policy = RetryPolicy {
            statuses: vec![403, 409, 503],
            ..RetryPolicy::for_tests()
        };
        let is_worth_retry =
            |operation, status, headers: &[_]| meaning(operation, status, headers).is_worth_retry(&policy);
        assert!(is_worth_retry(Operation::Produce, 503, &[]));
        assert!(is_worth_retry(Operation::Produce, 403, &[]));
        assert!(is_worth_retry(Operation::Delete, 409, &[]));
        assert!(!is_worth_retry(Operation::Produce, 500, &[]));
        assert!(!is_worth_retry(Operation::Produce, 403, &EPOCH));
        assert!(!is_worth_retry(Operation::Produce, 409, &CLOSED));
        assert!(!is_worth_retry(Operation::Produce, 409, &GAP));
        for operation in [Operation::Create, Operation::Append, Operation::AppendWithSeq] {
            assert!(!is_worth_retry(operation, 409, &[]), "{operation:?}");
        }
    }

    #[test]
    fn a_416_says_what_to_do_on_a_read() {
        let read = meaning(Operation::Read, 416, &[]);
        assert!(matches!(read.kind, Kind::Status));
        assert!(read.reason.contains("beyond the end") && read.reason.contains("read from another offset"));
        assert_eq!(meaning(Operation::Append, 416, &[]).reason, "unexpected status");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:30 GMT").unwrap();
        let at = |value| {
            retry_after(
                &HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]),
                now,
            )
        };
        assert_eq!(at("120"), Some(Duration::from_secs(120)));
        assert_eq!(at("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(7)));
        assert_eq!(at("Sun, 06 Nov 1994 08:49:00 GMT"), Some(Duration::ZERO));
        assert_eq!(at("soon"), None);
    }
}
