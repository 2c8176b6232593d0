//! The requests of the subscription APIs: functions of `DurableStreams::Native`. Each takes a `Native::Stream` whose
//! URL is that of the request.

use std::time::SystemTime;

use durable_streams_client::signature;
use durable_streams_client::subscriptions as requests;
use durable_streams_protocol::subscriptions::{Lease, NewSubscription, StreamAck, WakeDelivery};
use durable_streams_protocol::webhook::{self, Refusal, SigningKeys};
use magnus::{Error, Object, RArray, RModule, RString, Ruby, TryConvert, Value, function};

use crate::client::seconds;
use crate::errors;
use crate::options::options;
use crate::stream::Stream;

options! {
    /// A new subscription. Exactly one of `webhook` (a URL) and `wake_stream` (a path) is not nil.
    pub(crate) struct SubscriptionOptions {
        webhook: Option<String>,
        wake_stream: Option<String>,
        pattern: Option<String>,
        streams: Vec<String>,
        lease_ttl_ms: Option<u64>,
        description: Option<String>,
    }
}

/// A lease, which Ruby passes as `[wake_id, generation, token]`.
struct RubyLease(Lease);

impl TryConvert for RubyLease {
    fn try_convert(value: Value) -> Result<Self, Error> {
        let (wake_id, generation, token): (String, u64, String) = TryConvert::try_convert(value)?;
        let lease = Lease::new(wake_id, generation, &token);
        let unusable = || {
            let message = "the token has characters that a header cannot have";
            errors::argument(&Ruby::get_with(value), message.to_owned())
        };
        lease.map(Self).ok_or_else(unusable)
    }
}

/// Acks, which Ruby passes as an Array of `[path, offset]`.
fn acks(pairs: RArray) -> Result<Vec<StreamAck>, Error> {
    let pairs: Vec<(String, String)> = pairs.to_vec()?;
    let acks = pairs.into_iter().map(|(stream, offset)| StreamAck { stream, offset });
    Ok(acks.collect())
}

/// `create_subscription(stream, options)` -> the subscription as JSON. See [`SubscriptionOptions`].
fn create(ruby: &Ruby, stream: &Stream, options: SubscriptionOptions) -> Result<RString, Error> {
    let delivery = match (options.webhook, options.wake_stream) {
        (Some(url), None) => WakeDelivery::Webhook(url),
        (None, Some(path)) => WakeDelivery::PullWake(path),
        _ => {
            return Err(errors::argument(
                ruby,
                "give exactly one: webhook or wake_stream".to_owned(),
            ));
        }
    };
    let subscription = NewSubscription {
        delivery,
        pattern: options.pattern,
        streams: options.streams,
        lease_ttl_ms: options.lease_ttl_ms,
        description: options.description,
    };
    let body = stream.request(ruby, |endpoint| Ok(requests::create(endpoint, &subscription)))?;
    Ok(json(ruby, &body))
}

/// `find_subscription(stream)` -> the subscription as JSON, or nil.
fn find(ruby: &Ruby, stream: &Stream) -> Result<Option<RString>, Error> {
    let body = stream.request(ruby, |endpoint| Ok(requests::find(endpoint)))?;
    Ok(body.map(|body| json(ruby, &body)))
}

/// `delete_subscription(stream)` -> nil.
fn delete(ruby: &Ruby, stream: &Stream) -> Result<(), Error> {
    stream.request(ruby, |endpoint| Ok(requests::delete(endpoint)))
}

/// `add_subscription_streams(stream, paths)` -> nil.
fn add_streams(ruby: &Ruby, stream: &Stream, paths: Vec<String>) -> Result<(), Error> {
    stream.request(ruby, |endpoint| Ok(requests::add_streams(endpoint, &paths)))
}

/// `remove_subscription_stream(stream)` -> nil.
fn remove_stream(ruby: &Ruby, stream: &Stream) -> Result<(), Error> {
    stream.request(ruby, |endpoint| Ok(requests::remove_stream(endpoint)))
}

/// `claim_subscription(stream, worker)` -> the claim as JSON, or nil if nothing is pending.
fn claim(ruby: &Ruby, stream: &Stream, worker: String) -> Result<Option<RString>, Error> {
    let body = stream.request(ruby, |endpoint| Ok(requests::claim(endpoint, &worker)))?;
    Ok(body.map(|body| json(ruby, &body)))
}

/// `ack_subscription(stream, lease, acks, done)` -> whether there is more to do. It has a meaning only if `done`.
fn ack(ruby: &Ruby, stream: &Stream, lease: RubyLease, pairs: RArray, done: bool) -> Result<bool, Error> {
    let acks = acks(pairs)?;
    stream.request(ruby, |endpoint| Ok(requests::ack(endpoint, &lease.0, &acks, done)))
}

/// `call_back(stream, lease, acks, done)`: as `ack_subscription`, for the receiver of a webhook.
fn callback(ruby: &Ruby, stream: &Stream, lease: RubyLease, pairs: RArray, done: bool) -> Result<bool, Error> {
    let acks = acks(pairs)?;
    stream.request(ruby, |endpoint| Ok(requests::callback(endpoint, &lease.0, &acks, done)))
}

/// `release_subscription(stream, lease)` -> nil.
fn release(ruby: &Ruby, stream: &Stream, lease: RubyLease) -> Result<(), Error> {
    stream.request(ruby, |endpoint| Ok(requests::release(endpoint, &lease.0)))
}

/// `signing_keys(stream)` -> the keys as JSON.
fn signing_keys(ruby: &Ruby, stream: &Stream) -> Result<RString, Error> {
    let body = stream.request(ruby, |endpoint| Ok(requests::signing_keys(endpoint)))?;
    Ok(json(ruby, &body))
}

/// `check_webhook(header, body, keys, tolerance)` -> nil if the server has signed this body with one of its keys (JSON),
/// at most so many seconds ago; else the reason, and whether other keys may help.
fn check_webhook(
    ruby: &Ruby,
    header: RString,
    body: RString,
    keys: RString,
    tolerance: f64,
) -> Result<Option<(String, bool)>, Error> {
    let tolerance = seconds(ruby, "tolerance", tolerance)?;
    // SAFETY: no Ruby code runs while the bytes are used.
    let (header, body, keys) = unsafe { (header.as_slice(), body.as_slice(), keys.as_slice()) };
    let header = String::from_utf8_lossy(header);
    let keys = SigningKeys::parse(keys);
    let checked = webhook::check(&header, body, &keys, SystemTime::now(), tolerance, signature::is_valid);
    Ok(checked
        .err()
        .map(|refusal| (refusal.to_string(), refusal == Refusal::UnknownKey)))
}

/// JSON as a UTF-8 String. It was parsed, so it is valid UTF-8.
fn json(ruby: &Ruby, body: &[u8]) -> RString {
    ruby.str_new(&String::from_utf8_lossy(body))
}

/// Defines the module functions.
pub(crate) fn init(native: RModule) -> Result<(), Error> {
    native.define_singleton_method("create_subscription", function!(create, 2))?;
    native.define_singleton_method("find_subscription", function!(find, 1))?;
    native.define_singleton_method("delete_subscription", function!(delete, 1))?;
    native.define_singleton_method("add_subscription_streams", function!(add_streams, 2))?;
    native.define_singleton_method("remove_subscription_stream", function!(remove_stream, 1))?;
    native.define_singleton_method("claim_subscription", function!(claim, 2))?;
    native.define_singleton_method("ack_subscription", function!(ack, 4))?;
    native.define_singleton_method("call_back", function!(callback, 4))?;
    native.define_singleton_method("release_subscription", function!(release, 2))?;
    native.define_singleton_method("signing_keys", function!(signing_keys, 1))?;
    native.define_singleton_method("check_webhook", function!(check_webhook, 4))
}
