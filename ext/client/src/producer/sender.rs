//! Sends a producer's requests.

use std::sync::Arc;

use durable_streams_protocol::error::Operation;
use durable_streams_protocol::producer::{BatchResponse, Transmit};
use durable_streams_protocol::protocol;
use durable_streams_protocol::request::{Context, Repeat, Request, RequestFailure};
use durable_streams_protocol::retry::policy::RetryPolicy;
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderValue};

use crate::connections::Pool;
use crate::endpoint::Endpoint;
use crate::exchange::attempt;

/// What a producer's requests have in common.
pub(super) struct RequestSender {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) pool: Pool,
    /// The headers of every request: the content type and the producer's id.
    pub(super) headers: HeaderMap,
    /// How requests are retried.
    pub(super) retry: RetryPolicy,
}

impl RequestSender {
    /// Sends a batch once.
    pub(super) async fn send(&self, transmit: Transmit) -> Result<BatchResponse, RequestFailure> {
        let mut headers = self.headers.clone();
        headers.insert(protocol::PRODUCER_EPOCH, transmit.epoch.into());
        headers.insert(protocol::PRODUCER_SEQ, transmit.seq.into());
        if transmit.closes {
            headers.insert(protocol::STREAM_CLOSED, HeaderValue::from_static("true"));
        }
        let number = transmit.attempt;
        let body = (!transmit.body.is_empty()).then_some(transmit.body);
        let request = Request {
            repeat: Repeat::UnlessSent,
            ..Request::new(Operation::Produce, Method::POST, headers, body)
        };
        let response = attempt(&self.endpoint, &self.pool, &request, number).await?;
        let context = Context {
            policy: &self.retry,
            ..self.endpoint.context(request.operation)
        };
        Ok(BatchResponse::new(&context, response))
    }
}
