//! The tries of an operation. [`Tries`] decides whether a request is sent again, and after what delay.

use std::future::Future;
use std::time::{Duration, Instant};

use durable_streams_protocol::error::Result;
use durable_streams_protocol::request::{Context, Request, RequestFailure, Response};
use durable_streams_protocol::retry::policy::RetryPolicy;
use durable_streams_protocol::retry::tries::{RetryDecision, Tries};

use super::attempt;
use crate::connections::Pool;
use crate::endpoint::Endpoint;

/// Sends the request until it gets a response that needs no other try, as often as the client's retry policy and the
/// request's kind allow. If no try got one, the last failure is the error.
pub(crate) async fn send_with_retries(endpoint: &Endpoint, pool: &Pool, request: &Request) -> Result<Response> {
    send_with_policy(&endpoint.client().config().retry, endpoint, pool, request).await
}

/// As [`send_with_retries`], with `policy` instead of the client's.
pub(crate) async fn send_with_policy(
    policy: &RetryPolicy,
    endpoint: &Endpoint,
    pool: &Pool,
    request: &Request,
) -> Result<Response> {
    with_retries(policy, endpoint, request, || attempt(endpoint, pool, request)).await
}

/// As [`send_with_policy`], but `attempt` makes each try.
pub(crate) async fn with_retries<F>(
    policy: &RetryPolicy,
    endpoint: &Endpoint,
    request: &Request,
    mut attempt: impl FnMut() -> F,
) -> Result<Response>
where
    F: Future<Output = std::result::Result<Response, RequestFailure>>,
{
    let mut tries = Tries::new(Instant::now(), endpoint.is_dynamic());
    loop {
        let outcome = attempt().await;
        let context = Context {
            policy,
            ..endpoint.context(request.operation)
        };
        match tries.handle_outcome(Instant::now(), &context, request.repeat, outcome, fastrand::f64()) {
            RetryDecision::Done(outcome) => return outcome,
            RetryDecision::RetryAfter { delay, .. } => pause(delay).await,
        }
    }
}

/// Waits before the next try.
async fn pause(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}
