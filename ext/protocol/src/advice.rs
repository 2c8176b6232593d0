//! What to do about an error: the end of its message.

use std::borrow::Cow;

use http::StatusCode;

use crate::error::{CHECK_URL, Kind, Operation, Purpose};
use crate::subscriptions::operation::SubscriptionOperation;

/// What to do about an error of this kind.
pub(crate) fn of(kind: &Kind, operation: Operation, status: StatusCode) -> Option<Cow<'static, str>> {
    let advice = match kind {
        Kind::BadRequest if operation == Operation::Read => {
            "an offset is \"-1\" (the start), \"now\" (the end), or a next_offset of the same stream"
        }
        // Their token is that of a claim, which may have ended.
        Kind::Unauthorized if matches!(operation, Operation::Subscription(of) if of.needs_claim()) => return None,
        Kind::Unauthorized => {
            "check the credentials: an Authorization header in headers, or user and password in the URL"
        }
        Kind::Forbidden => "check what these credentials allow",
        Kind::StaleEpoch { current_epoch } => return Some(stale_epoch(*current_epoch)),
        Kind::NotFound => not_found(operation),
        Kind::Exists => {
            "its content type, its lifetime or whether it is closed differs: use it without creating it, or delete it \
             first; a fork has its source's content type"
        }
        Kind::SubscriptionsNotSupported => {
            "check that base_url is the stream root of a server that has them, such as https://example.com/v1/stream"
        }
        Kind::StreamClosed { .. } => "it accepts no more data, for good: use another stream",
        Kind::ContentTypeMismatch => "without content_type: the handle uses the stream's own",
        Kind::SequenceGap { .. } => "make another producer",
        Kind::PayloadTooLarge if operation == Operation::Produce => {
            "lower max_batch_bytes, or raise the limit of the server or of a proxy before it"
        }
        Kind::PayloadTooLarge if operation.writes() => {
            "append less at a time, or raise the limit of the server or of a proxy before it"
        }
        Kind::RateLimited {
            retry_after: Some(wait),
        } => {
            return Some(Cow::Owned(format!("try again in {} s", wait.as_secs_f64())));
        }
        Kind::Status => return for_status(operation, status).map(Cow::Borrowed),
        _ => return None,
    };
    Some(Cow::Borrowed(advice))
}

/// What to do if another producer has the id.
pub fn stale_epoch(current_epoch: Option<u64>) -> Cow<'static, str> {
    let remedy = "give each live producer its own producer_id; auto_claim: true claims the next epoch";
    match current_epoch {
        Some(epoch) => Cow::Owned(format!("the id's epoch is {epoch} now: {remedy}")),
        None => Cow::Borrowed(remedy),
    }
}

fn not_found(operation: Operation) -> &'static str {
    match operation {
        // Servers make a stream of any name, unless it is a fork.
        Operation::Create => "check base_url and the path, and the source of a fork",
        Operation::HeadFor(Purpose::Fork) => "the source of the fork does not exist",
        Operation::Head | Operation::Delete | Operation::Subscription(SubscriptionOperation::Create) => CHECK_URL,
        _ => "create it first, or check base_url and the path",
    }
}

fn for_status(operation: Operation, status: StatusCode) -> Option<&'static str> {
    match status.as_u16() {
        301..=303 if operation.writes() => {
            Some("writes follow only 307 and 308: check base_url, and whether it begins with http or https")
        }
        407 => Some("the proxy requires credentials: its URL must have them, as in http://user:password@proxy:3128"),
        405 | 501 => Some("this does not look like a Durable Streams server: check base_url and the path"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(kind: Kind, operation: Operation, status: u16) -> String {
        let status = StatusCode::from_u16(status).unwrap();
        of(&kind, operation, status).unwrap_or_default().into_owned()
    }

    #[test]
    fn says_what_the_operation_lacks() {
        assert!(advice(Kind::NotFound, Operation::Append, 404).starts_with("create it first"));
        assert!(advice(Kind::NotFound, Operation::HeadFor(Purpose::Read), 404).starts_with("create it first"));
        assert_eq!(advice(Kind::NotFound, Operation::Head, 404), CHECK_URL);
        assert!(advice(Kind::PayloadTooLarge, Operation::Produce, 413).contains("max_batch_bytes"));
        assert_eq!(advice(Kind::PayloadTooLarge, Operation::Read, 413), "");
        assert!(advice(Kind::BadRequest, Operation::Read, 400).contains("next_offset"));
        assert_eq!(advice(Kind::BadRequest, Operation::Append, 400), "");
    }

    #[test]
    fn names_the_epoch_that_has_the_id() {
        let stale = Kind::StaleEpoch { current_epoch: Some(7) };
        assert!(advice(stale, Operation::Produce, 403).starts_with("the id's epoch is 7 now"));
    }

    #[test]
    fn says_where_the_credentials_of_a_proxy_belong() {
        assert!(advice(Kind::Status, Operation::Append, 407).contains("http://user:password@"));
    }

    #[test]
    fn explains_redirects_to_writes_alone() {
        assert!(advice(Kind::Status, Operation::Append, 301).contains("307"));
        assert_eq!(advice(Kind::Status, Operation::Read, 300), "");
    }
}
