//! The requests. Their URLs are the caller's concern.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Map, Value, json};

use super::operation::SubscriptionOperation;
use crate::error::Operation;
use crate::request::Request;

/// How a subscription wakes workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WakeDelivery {
    /// By a POST to this URL.
    Webhook(String),
    /// By an event in this stream.
    PullWake(String),
}

/// The configuration of a new subscription. Paths are relative to the server's stream root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSubscription {
    /// How it wakes workers.
    pub delivery: WakeDelivery,
    /// The streams it is about: `*` is one path segment, `**` any number.
    pub pattern: Option<String>,
    /// More streams.
    pub streams: Vec<String>,
    /// How long a worker's lease lasts. `None`: the server's default.
    pub lease_ttl_ms: Option<u64>,
    /// Text for humans.
    pub description: Option<String>,
}

/// What a request for the holder of a claim needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The id of the wake that was claimed.
    pub wake_id: String,
    /// Its generation. Every wake has a higher one.
    pub generation: u64,
    /// The `Authorization` header. It has the token that only the claim's holder knows.
    authorization: HeaderValue,
}

impl Lease {
    /// The lease of a claim. `None` if the token has characters that a header cannot have.
    pub fn new(wake_id: String, generation: u64, token: &str) -> Option<Self> {
        let mut authorization = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
        authorization.set_sensitive(true);
        Some(Self {
            wake_id,
            generation,
            authorization,
        })
    }
}

/// Says that a stream is handled up to an offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamAck {
    /// The stream's path.
    pub stream: String,
    /// The last offset that is handled: the next read begins after it.
    pub offset: String,
}

/// Creates the subscription (PUT). It is a success if it exists with the same configuration.
pub fn create(subscription: &NewSubscription) -> Request {
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| body.insert(name.to_owned(), value);
    match &subscription.delivery {
        WakeDelivery::Webhook(url) => {
            set("type", "webhook".into());
            set("webhook", json!({ "url": url }));
        }
        WakeDelivery::PullWake(stream) => {
            set("type", "pull-wake".into());
            set("wake_stream", stream.as_str().into());
        }
    }
    if let Some(pattern) = &subscription.pattern {
        set("pattern", pattern.as_str().into());
    }
    if !subscription.streams.is_empty() {
        set("streams", subscription.streams.as_slice().into());
    }
    if let Some(milliseconds) = subscription.lease_ttl_ms {
        set("lease_ttl_ms", milliseconds.into());
    }
    if let Some(description) = &subscription.description {
        set("description", description.as_str().into());
    }
    request(SubscriptionOperation::Create, Method::PUT, Some(body.into()))
}

/// Gets the subscription (GET).
pub fn find() -> Request {
    request(SubscriptionOperation::Find, Method::GET, None)
}

/// Deletes the subscription (DELETE).
pub fn delete() -> Request {
    request(SubscriptionOperation::Delete, Method::DELETE, None)
}

/// Links streams to the subscription, from their present ends (POST).
pub fn add_streams(paths: &[String]) -> Request {
    let body = json!({ "streams": paths });
    request(SubscriptionOperation::AddStreams, Method::POST, Some(body))
}

/// Removes the link of a stream (DELETE).
pub fn remove_stream() -> Request {
    request(SubscriptionOperation::RemoveStream, Method::DELETE, None)
}

/// Claims the subscription for a worker (POST).
pub fn claim(worker: &str) -> Request {
    let body = json!({ "worker": worker });
    request(SubscriptionOperation::Claim, Method::POST, Some(body))
}

/// Acks offsets and prolongs the lease, or ends the claim if `done` (POST).
pub fn ack(lease: &Lease, acks: &[StreamAck], done: bool) -> Request {
    acks_request(SubscriptionOperation::Ack, lease, acks, done)
}

/// The same for the receiver of a webhook (POST).
pub fn callback(lease: &Lease, acks: &[StreamAck], done: bool) -> Request {
    acks_request(SubscriptionOperation::Callback, lease, acks, done)
}

/// Ends the claim without an ack (POST).
pub fn release(lease: &Lease) -> Request {
    let body = json!({ "wake_id": lease.wake_id, "generation": lease.generation });
    holders_request(SubscriptionOperation::Release, lease, body)
}

/// Gets the keys that webhooks are signed with (GET).
pub fn signing_keys() -> Request {
    request(SubscriptionOperation::SigningKeys, Method::GET, None)
}

fn acks_request(operation: SubscriptionOperation, lease: &Lease, acks: &[StreamAck], done: bool) -> Request {
    let acks = acks
        .iter()
        .map(|ack| json!({ "stream": ack.stream, "offset": ack.offset }));
    let body = json!({
        "wake_id": lease.wake_id,
        "generation": lease.generation,
        "acks": acks.collect::<Vec<_>>(),
        "done": done,
    });
    holders_request(operation, lease, body)
}

/// A request with the lease's token in place of the user's `Authorization`.
fn holders_request(operation: SubscriptionOperation, lease: &Lease, body: Value) -> Request {
    let mut request = request(operation, Method::POST, Some(body));
    request.headers.insert(AUTHORIZATION, lease.authorization.clone());
    request
}

fn request(operation: SubscriptionOperation, method: Method, body: Option<Value>) -> Request {
    let mut headers = HeaderMap::new();
    if body.is_some() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let body = body.map(|body| Bytes::from(body.to_string()));
    Request::new(Operation::Subscription(operation), method, headers, body)
}
