//! The payloads of events: docs/observability.md describes them.

use durable_streams_client::events::{EventDetails, ReadCount};
use durable_streams_protocol::error::{Operation, Purpose};
use durable_streams_protocol::read::cursor::Mode;
use durable_streams_protocol::retry::outage::OutageEvent;
use durable_streams_protocol::subscriptions::SubscriptionOperation;
use magnus::value::ReprValue;
use magnus::{Error, Exception, RHash, Ruby, Symbol, Value};

/// A frozen Hash of these entries.
macro_rules! payload {
    ($ruby:expr, $($name:ident: $value:expr),+ $(,)?) => {{
        let hash = $ruby.hash_new();
        $(hash.aset($ruby.to_symbol(stringify!($name)), $value)?;)+
        hash.freeze();
        Ok(hash)
    }};
}

/// The frozen payload. `error` is the exception of the event.
pub(super) fn payload(ruby: &Ruby, details: &EventDetails, error: Option<Exception>) -> Result<RHash, Error> {
    let text = |text: &String| frozen(ruby, text);
    match details {
        EventDetails::Request {
            operation,
            method,
            url,
            status,
            attempt,
            bytes_sent,
            bytes_received,
            ..
        } => payload!(
            ruby,
            operation: operation_name(ruby, *operation),
            method: frozen(ruby, method.as_str()),
            url: text(url),
            status: *status,
            attempt: *attempt,
            bytes_sent: *bytes_sent,
            bytes_received: *bytes_received,
        ),
        EventDetails::Retry {
            operation,
            url,
            attempt,
            delay,
            reason,
        } => payload!(
            ruby,
            operation: operation_name(ruby, *operation),
            url: text(url),
            attempt: *attempt,
            delay: delay.as_secs_f64(),
            reason: text(reason),
        ),
        EventDetails::Batch {
            url,
            producer_id,
            epoch,
            seq,
            messages,
            bytes,
            attempts,
            duplicate,
            next_offset,
            ..
        } => payload!(
            ruby,
            url: text(url),
            producer_id: text(producer_id),
            epoch: *epoch,
            seq: *seq,
            messages: *messages,
            bytes: *bytes,
            attempts: *attempts,
            duplicate: *duplicate,
            next_offset: next_offset.as_ref().map(text),
        ),
        EventDetails::Claim {
            url,
            producer_id,
            from,
            to,
        } => payload!(
            ruby,
            url: text(url),
            producer_id: text(producer_id),
            from: *from,
            to: *to,
        ),
        EventDetails::ProducerFailed {
            url,
            producer_id,
            undelivered,
            ..
        } => payload!(
            ruby,
            url: text(url),
            producer_id: text(producer_id),
            undelivered: *undelivered,
            error: error,
        ),
        EventDetails::Read {
            url,
            mode,
            count,
            next_offset,
            up_to_date,
        } => match count {
            ReadCount::Items(items) => payload!(
                ruby,
                url: text(url),
                mode: mode_name(ruby, *mode),
                items: *items,
                next_offset: text(next_offset),
                up_to_date: *up_to_date,
            ),
            ReadCount::Bytes(bytes) => payload!(
                ruby,
                url: text(url),
                mode: mode_name(ruby, *mode),
                bytes: *bytes,
                next_offset: text(next_offset),
                up_to_date: *up_to_date,
            ),
        },
        EventDetails::Outage { url, outage } => {
            let (reason, attempts) = match &outage.event {
                OutageEvent::Began { reason } => (reason, 1),
                OutageEvent::Ended {
                    reason, failed_tries, ..
                } => (reason, *failed_tries),
            };
            payload!(
                ruby,
                url: text(url),
                mode: mode_name(ruby, outage.mode),
                offset: text(&outage.offset),
                reason: text(reason),
                attempts: attempts,
            )
        }
        EventDetails::Application(_) => Ok(ruby.hash_new()),
    }
}

/// A frozen String.
pub(super) fn frozen(ruby: &Ruby, text: &str) -> Value {
    let string = ruby.str_new(text);
    string.freeze();
    string.as_value()
}

/// What the caller called.
fn operation_name(ruby: &Ruby, operation: Operation) -> Symbol {
    ruby.to_symbol(match operation {
        Operation::Create => "create",
        Operation::Head => "head",
        Operation::HeadFor(Purpose::Connect) => "connect",
        Operation::HeadFor(Purpose::Fork) => "fork",
        Operation::Append
        | Operation::AppendWithSeq
        | Operation::AppendOnce { .. }
        | Operation::HeadFor(Purpose::Append) => "append",
        Operation::Close | Operation::CloseWithData | Operation::CloseOnce | Operation::HeadFor(Purpose::Close) => {
            "close"
        }
        Operation::Delete => "delete",
        Operation::Read | Operation::HeadFor(Purpose::Read) => "read",
        Operation::Produce | Operation::HeadFor(Purpose::Produce) => "produce",
        Operation::Subscription(operation) => subscription_operation_name(operation),
    })
}

fn subscription_operation_name(operation: SubscriptionOperation) -> &'static str {
    match operation {
        SubscriptionOperation::Create => "create_subscription",
        SubscriptionOperation::Find => "find_subscription",
        SubscriptionOperation::Delete => "delete_subscription",
        SubscriptionOperation::AddStreams => "add_streams",
        SubscriptionOperation::RemoveStream => "remove_stream",
        SubscriptionOperation::Claim => "claim",
        SubscriptionOperation::Ack => "ack",
        SubscriptionOperation::Release => "release",
        SubscriptionOperation::Callback => "callback",
        SubscriptionOperation::SigningKeys => "signing_keys",
    }
}

fn mode_name(ruby: &Ruby, mode: Mode) -> Symbol {
    ruby.to_symbol(match mode {
        Mode::CatchUp => "catch_up",
        Mode::LongPoll => "long_poll",
        Mode::Sse => "sse",
    })
}
