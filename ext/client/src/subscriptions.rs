//! The requests of the subscription APIs, each as a [`Job`]. The endpoint is that of the request, not of a stream.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use durable_streams_protocol::error::Operation;
use durable_streams_protocol::request::{Request, RequestFailure, Response};
use durable_streams_protocol::retry::jitter::Jitter;
use durable_streams_protocol::retry::so_far::FailedTry;
use durable_streams_protocol::subscriptions::{self, Lease, NewSubscription, StreamAck, SubscriptionOperation};
use durable_streams_protocol::worker::{WorkerConfig, WorkerMachine};

use crate::endpoint::Endpoint;
use crate::exchange::{self, retry};
use crate::inline::job::Job;
use crate::requests::job;

/// Creates a subscription (PUT). Gives it as JSON.
pub fn create(endpoint: &Arc<Endpoint>, subscription: &NewSubscription) -> Job<Bytes> {
    job(endpoint, subscriptions::create(subscription), subscriptions::created)
}

/// Gets a subscription (GET), as JSON. `None` if there is none.
pub fn find(endpoint: &Arc<Endpoint>) -> Job<Option<Bytes>> {
    job(endpoint, subscriptions::find(), subscriptions::found)
}

/// Deletes a subscription (DELETE).
pub fn delete(endpoint: &Arc<Endpoint>) -> Job<()> {
    job(endpoint, subscriptions::delete(), subscriptions::deleted)
}

/// Links streams to a subscription (POST).
pub fn add_streams(endpoint: &Arc<Endpoint>, paths: &[String]) -> Job<()> {
    job(endpoint, subscriptions::add_streams(paths), subscriptions::done)
}

/// Removes the link of a stream (DELETE).
pub fn remove_stream(endpoint: &Arc<Endpoint>) -> Job<()> {
    job(endpoint, subscriptions::remove_stream(), subscriptions::deleted)
}

/// Claims a subscription for a worker (POST). Gives the claim as JSON. `None` if there is nothing to do.
pub fn claim(endpoint: &Arc<Endpoint>, worker: &str) -> Job<Option<Bytes>> {
    job(endpoint, subscriptions::claim(worker), |response, context| {
        let body = response.body.clone();
        Ok(subscriptions::claimed(response, context)?.map(|_| body))
    })
}

/// A worker that claims under this name, with the client's retry policy.
pub fn worker(endpoint: &Endpoint, name: String) -> WorkerMachine {
    let retry = endpoint.client().config().retry.clone();
    let config = WorkerConfig {
        name,
        retry,
        fresh_values: endpoint.is_dynamic(),
    };
    WorkerMachine::new(config, Jitter::new(fastrand::f64), Instant::now())
}

/// Sends a worker's request once, and gives its end. `attempt` is the number of the try.
pub fn send_once(endpoint: &Arc<Endpoint>, request: Request, attempt: u32) -> Job<Result<Response, RequestFailure>> {
    let to = Arc::clone(endpoint);
    Job::new(endpoint, request.operation, move |pool| async move {
        Ok(exchange::attempt(&to, &pool, &request, attempt).await)
    })
}

/// Reports, to those who have subscribed, that another try follows a failed one of a worker's request.
pub fn report_retry(endpoint: &Endpoint, operation: SubscriptionOperation, failed: FailedTry) {
    retry::report_retry(endpoint, Operation::Subscription(operation), failed);
}

/// Acks the streams of a claim (POST), and ends it if `done`. Gives whether there is more to do then.
pub fn ack(endpoint: &Arc<Endpoint>, lease: &Lease, acks: &[StreamAck], done: bool) -> Job<bool> {
    job(endpoint, subscriptions::ack(lease, acks, done), subscriptions::acked)
}

/// Ends a claim without an ack (POST).
pub fn release(endpoint: &Arc<Endpoint>, lease: &Lease) -> Job<()> {
    job(endpoint, subscriptions::release(lease), subscriptions::released)
}

/// As [`ack`], for the receiver of a webhook.
pub fn callback(endpoint: &Arc<Endpoint>, lease: &Lease, acks: &[StreamAck], done: bool) -> Job<bool> {
    job(
        endpoint,
        subscriptions::callback(lease, acks, done),
        subscriptions::acked,
    )
}

/// Gets the keys that webhooks are signed with (GET), as JSON.
pub fn signing_keys(endpoint: &Arc<Endpoint>) -> Job<Bytes> {
    job(endpoint, subscriptions::signing_keys(), subscriptions::keys)
}
