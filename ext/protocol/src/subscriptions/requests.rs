//! The requests. Their URLs are the caller's concern.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Map, Value, json};

use super::operation::SubscriptionOperation;
use crate::error::{About, Kind, Operation, Result};
use crate::request::Request;

/// How a subscription wakes workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// By a POST to this URL.
    Webhook(String),
    /// By an event in this stream.
    PullWake(String),
}

/// The configuration of a new subscription. Paths are relative to the server's stream root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSubscription {
    /// How it wakes workers.
    pub delivery: Delivery,
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
#[derive(Clone, PartialEq, Eq)]
pub struct Lease {
    /// The id of the wake that was claimed.
    pub wake_id: String,
    /// Its generation. Every wake has a higher one.
    pub generation: u64,
    /// The secret that shows who made the claim.
    pub token: String,
}

impl std::fmt::Debug for Lease {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease")
            .field("wake_id", &self.wake_id)
            .field("generation", &self.generation)
            .finish_non_exhaustive()
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
        Delivery::Webhook(url) => {
            set("type", "webhook".into());
            set("webhook", json!({ "url": url }));
        }
        Delivery::PullWake(stream) => {
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
///
/// # Errors
/// `Kind::Argument` if the token has characters that a header cannot have.
pub fn ack(url: &str, lease: &Lease, acks: &[StreamAck], done: bool) -> Result<Request> {
    acks_request(SubscriptionOperation::Ack, url, lease, acks, done)
}

/// The same for the receiver of a webhook (POST).
///
/// # Errors
/// `Kind::Argument` if the token has characters that a header cannot have.
pub fn callback(url: &str, lease: &Lease, acks: &[StreamAck], done: bool) -> Result<Request> {
    acks_request(SubscriptionOperation::Callback, url, lease, acks, done)
}

/// Ends the claim without an ack (POST).
///
/// # Errors
/// `Kind::Argument` if the token has characters that a header cannot have.
pub fn release(url: &str, lease: &Lease) -> Result<Request> {
    let body = json!({ "wake_id": lease.wake_id, "generation": lease.generation });
    with_token(
        request(SubscriptionOperation::Release, Method::POST, Some(body)),
        url,
        lease,
    )
}

/// Gets the keys that webhooks are signed with (GET).
pub fn signing_keys() -> Request {
    request(SubscriptionOperation::SigningKeys, Method::GET, None)
}

fn acks_request(
    operation: SubscriptionOperation,
    url: &str,
    lease: &Lease,
    acks: &[StreamAck],
    done: bool,
) -> Result<Request> {
    let acks = acks
        .iter()
        .map(|ack| json!({ "stream": ack.stream, "offset": ack.offset }));
    let body = json!({
        "wake_id": lease.wake_id,
        "generation": lease.generation,
        "acks": acks.collect::<Vec<_>>(),
        "done": done,
    });
    with_token(request(operation, Method::POST, Some(body)), url, lease)
}

fn request(operation: SubscriptionOperation, method: Method, body: Option<Value>) -> Request {
    let mut headers = HeaderMap::new();
    if body.is_some() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let body = body.map(|body| Bytes::from(body.to_string()));
    Request::new(Operation::Subscription(operation), method, headers, body)
}

/// The request with the lease's token in place of the user's `Authorization`. `url` is for messages.
fn with_token(mut request: Request, url: &str, lease: &Lease) -> Result<Request> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", lease.token)).map_err(|_| {
        let operation = request.operation;
        About { operation, url }.error(Kind::Argument, "the token has characters that a header cannot have")
    })?;
    value.set_sensitive(true);
    request.headers.insert(AUTHORIZATION, value);
    Ok(request)
}
