//! What a producer's requests are made with, and what becomes of them.

use std::sync::Arc;
use std::time::SystemTime;

use durable_streams_protocol::error::{Error, Kind, Operation, retry_after};
use durable_streams_protocol::producer::{Answer, Lost, Transmit};
use durable_streams_protocol::protocol::{self, flag, number, text};
use durable_streams_protocol::request::{Answer as HttpAnswer, Failure, Repeat, Request};
use durable_streams_protocol::retry::Policy;
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderValue};

use crate::connections::Pool;
use crate::endpoint::Endpoint;
use crate::exchange::attempt;

/// What a producer's requests are made with.
pub(super) struct Sender {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) pool: Pool,
    /// The headers that every request carries: the content type and the producer's id.
    pub(super) headers: HeaderMap,
    /// How requests are repeated that send nothing.
    pub(super) retry: Policy,
}

/// What a request came to.
pub(super) enum Outcome {
    Answered(Answer, Option<Error>),
    Lost(Lost, Error),
    /// It could not be made.
    Unmade(Error),
}

impl Sender {
    /// Sends a batch once.
    pub(super) async fn send(&self, transmit: Transmit) -> Outcome {
        let mut headers = self.headers.clone();
        headers.insert(protocol::PRODUCER_EPOCH, transmit.epoch.into());
        headers.insert(protocol::PRODUCER_SEQ, transmit.seq.into());
        if transmit.closes {
            headers.insert(protocol::STREAM_CLOSED, HeaderValue::from_static("true"));
        }
        let body = (!transmit.body.is_empty()).then_some(transmit.body);
        let request = Request {
            repeat: Repeat::UnlessSent,
            ..Request::new(Operation::Produce, Method::POST, headers, body)
        };
        match attempt(&self.endpoint, &self.pool, &request).await {
            Ok(answer) => self.answered(&request, answer),
            Err(Failure::NotSent(error)) => Outcome::Lost(Lost::NotSent, error),
            Err(Failure::Unanswered(error)) => {
                let lost = if matches!(error.kind(), Kind::Timeout) {
                    Lost::TimedOut
                } else {
                    Lost::Dropped
                };
                Outcome::Lost(lost, error)
            }
            Err(Failure::Final(error)) => Outcome::Unmade(error),
        }
    }

    fn answered(&self, request: &Request, answer: HttpAnswer) -> Outcome {
        let headers = &answer.headers;
        let told = Answer {
            status: answer.status.as_u16(),
            next_offset: text(headers, &protocol::STREAM_NEXT_OFFSET).map(str::to_owned),
            producer_epoch: number(headers, &protocol::PRODUCER_EPOCH),
            producer_seq: number(headers, &protocol::PRODUCER_SEQ),
            expected_seq: number(headers, &protocol::PRODUCER_EXPECTED_SEQ),
            received_seq: number(headers, &protocol::PRODUCER_RECEIVED_SEQ),
            stream_closed: flag(headers, &protocol::STREAM_CLOSED),
            retry_after: retry_after(headers, SystemTime::now()),
        };
        let error = (!answer.status.is_success()).then(|| self.endpoint.context(request.operation).error(answer));
        Outcome::Answered(told, error)
    }
}
