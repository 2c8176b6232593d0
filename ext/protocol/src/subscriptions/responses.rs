//! What the responses say. A response that is not one of the subscription APIs means that the server has none: it may
//! have taken the request for one to an ordinary stream.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::requests::Lease;
use crate::advice;
use crate::error::{Kind, Result};
use crate::protocol::is_html;
use crate::request::{Context, Response};

/// A granted claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What its acks need.
    pub lease: Lease,
    /// How long the lease lasts without an ack.
    pub lease_ttl: Duration,
    /// All streams of the subscription.
    pub streams: Vec<ClaimedStream>,
}

/// A stream of a claimed subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedStream {
    /// The path, relative to the server's stream root.
    pub path: String,
    /// The last offset that is handled.
    pub acked_offset: String,
    /// Where the stream ended when it was claimed.
    pub tail_offset: String,
    /// Whether there is something between the two.
    pub has_pending: bool,
}

/// The subscription in the response to `find`, as JSON; `None` if there is none.
///
/// # Errors
/// If the response is another failure, or describes no subscription.
pub fn found(response: Response, context: &Context<'_>) -> Result<Option<Bytes>> {
    match created(response, context) {
        Err(error) if matches!(error.kind(), Kind::NotFound) => Ok(None),
        found => found.map(Some),
    }
}

/// The subscription in the response to `create`, as JSON.
///
/// # Errors
/// If the response is not a success, or describes no subscription.
pub fn created(response: Response, context: &Context<'_>) -> Result<Bytes> {
    let response = context.expect(response, &[200, 201])?;
    let has = |body: &Map<String, Value>, name| body.get(name).is_some_and(Value::is_string);
    match object(&response.body) {
        Some(body) if has(&body, "type") && (has(&body, "id") || has(&body, "subscription_id")) => Ok(response.body),
        _ => Err(not_supported(response, context, "describes no subscription")),
    }
}

/// Checks the response to a request whose success has no content.
///
/// # Errors
/// If the response is not a success.
pub fn done(response: Response, context: &Context<'_>) -> Result<()> {
    let response = context.expect(response, &[200, 202, 204])?;
    match is_html(&response.headers) {
        true => Err(not_supported(response, context, "is a web page")),
        false => Ok(()),
    }
}

/// Checks the response to a DELETE. If an earlier try may have deleted the same, this one may not find it.
///
/// # Errors
/// If the response is not a success.
pub fn deleted(response: Response, context: &Context<'_>) -> Result<()> {
    match response.tries.in_doubt && matches!(context.meaning(&response).kind, Kind::NotFound) {
        true => Ok(()),
        false => done(response, context),
    }
}

/// Checks the response to `release`. If an earlier try may have released the claim, this one is fenced.
///
/// # Errors
/// If the response is not a success.
pub fn released(response: Response, context: &Context<'_>) -> Result<()> {
    match response.tries.in_doubt && matches!(context.meaning(&response).kind, Kind::Fenced) {
        true => Ok(()),
        false => done(response, context),
    }
}

/// The claim that the response to `claim` grants; `None` if there is nothing to do.
///
/// # Errors
/// If the response is another failure, or grants no claim.
pub fn claimed(response: Response, context: &Context<'_>) -> Result<Option<Claim>> {
    if matches!(context.meaning(&response).kind, Kind::NoPendingWork) {
        return Ok(None);
    }
    let response = context.expect(response, &[200, 201])?;
    match object(&response.body).and_then(|body| claim_of(&body)) {
        Some(claim) => Ok(Some(claim)),
        None => Err(not_supported(response, context, "grants no claim")),
    }
}

/// Whether there is more to do, as the response to `ack` or `callback` says. It has a meaning only if that has ended
/// the claim.
///
/// # Errors
/// If the response is not a success, or says nothing of an ack.
pub fn acked(response: Response, context: &Context<'_>) -> Result<bool> {
    let response = context.expect(response, &[200])?;
    match object(&response.body) {
        Some(body) if body.contains_key("ok") || body.contains_key("next_wake") => {
            Ok(body.get("next_wake").and_then(Value::as_bool).unwrap_or(false))
        }
        _ => Err(not_supported(response, context, "confirms no ack")),
    }
}

/// The keys in the response to `signing_keys`, as JSON.
///
/// # Errors
/// If the response is not a success, or has no keys.
pub fn keys(response: Response, context: &Context<'_>) -> Result<Bytes> {
    let response = context.expect(response, &[200])?;
    match object(&response.body) {
        Some(body) if body.get("keys").is_some_and(Value::is_array) => Ok(response.body),
        _ => Err(not_supported(response, context, "has no keys")),
    }
}

fn not_supported(response: Response, context: &Context<'_>, fault: &str) -> crate::error::Error {
    let reason = format!("the server has no subscriptions: its response {fault}");
    let kind = Kind::SubscriptionsNotSupported;
    let advice = advice::of(&kind, context.about.operation, response.status);
    context.error_of(response, kind, &reason).with_note(advice)
}

fn claim_of(body: &Map<String, Value>) -> Option<Claim> {
    let streams = body.get("streams")?.as_array()?.iter().map(stream_of);
    Some(Claim {
        lease: Lease::new(
            text(body, "wake_id")?,
            body.get("generation")?.as_u64()?,
            body.get("token")?.as_str()?,
        )?,
        lease_ttl: Duration::from_millis(body.get("lease_ttl_ms")?.as_u64()?),
        streams: streams.collect::<Option<_>>()?,
    })
}

fn stream_of(stream: &Value) -> Option<ClaimedStream> {
    let stream = stream.as_object()?;
    Some(ClaimedStream {
        path: text(stream, "path")?,
        acked_offset: text(stream, "acked_offset")?,
        tail_offset: text(stream, "tail_offset")?,
        has_pending: stream.get("has_pending")?.as_bool()?,
    })
}

fn object(body: &[u8]) -> Option<Map<String, Value>> {
    match serde_json::from_slice(body).ok()? {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

fn text(object: &Map<String, Value>, name: &str) -> Option<String> {
    object.get(name)?.as_str().map(str::to_owned)
}
