//! The tries of an operation. [`Tries`] decides whether a request is sent again, and after what delay.

use std::future::Future;
use std::time::{Duration, Instant};

use durable_streams_protocol::error::{Operation, Result};
use durable_streams_protocol::request::{Context, Request, RequestFailure, Response};
use durable_streams_protocol::retry::policy::RetryPolicy;
use durable_streams_protocol::retry::so_far::FailedTry;
use durable_streams_protocol::retry::tries::{RetryDecision, Tries};

use super::attempt;
use crate::connections::Pool;
use crate::endpoint::Endpoint;
use crate::events::{Event, EventDetails, EventName};

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
    with_retries(policy, endpoint, request, |number| {
        attempt(endpoint, pool, request, number)
    })
    .await
}

/// As [`send_with_policy`], but `attempt` makes each try, whose number it gets.
pub(crate) async fn with_retries<F>(
    policy: &RetryPolicy,
    endpoint: &Endpoint,
    request: &Request,
    mut attempt: impl FnMut(u32) -> F,
) -> Result<Response>
where
    F: Future<Output = std::result::Result<Response, RequestFailure>>,
{
    let mut tries = Tries::new(Instant::now(), endpoint.is_dynamic());
    loop {
        let number = tries.attempt();
        let outcome = attempt(number).await;
        let context = Context {
            policy,
            ..endpoint.context(request.operation)
        };
        match tries.handle_outcome(Instant::now(), &context, request.repeat, outcome, fastrand::f64()) {
            RetryDecision::Done(outcome) => return outcome,
            RetryDecision::RetryAfter { delay, error } => {
                let reason = error.into_detail();
                let failed = FailedTry {
                    attempt: number,
                    delay,
                    reason,
                };
                report_retry(endpoint, request.operation, failed);
                pause(delay).await;
            }
        }
    }
}

/// Reports that another try follows a failed one, if there is a pause before it.
pub(crate) fn report_retry(endpoint: &Endpoint, operation: Operation, failed: FailedTry) {
    let FailedTry { attempt, delay, reason } = failed;
    if delay.is_zero() {
        return;
    }
    endpoint.report(EventName::Retry, || {
        Event::now(EventDetails::Retry {
            operation,
            url: endpoint.display().to_owned(),
            attempt,
            delay,
            reason,
        })
    });
}

/// Waits before the next try.
async fn pause(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}
