//! The part of a producer that runs on the runtime's threads: requests, timers, and what the machine has to tell.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use durable_streams_protocol::error::{Error, Kind, Operation, retry_after};
use durable_streams_protocol::producer::{Answer, Lost, Transmit, TransmitId};
use durable_streams_protocol::protocol::{self, flag, number, text};
use durable_streams_protocol::request::{Answer as HttpAnswer, Failure as CallFailure, Patience, Repeat, Request};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderValue};

use super::notice::Listener;
use super::state::Shared;
use crate::connections::Pool;
use crate::endpoint::Endpoint;
use crate::exchange::attempt;

/// What a producer's requests are made with.
pub(super) struct Sender {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) pool: Pool,
    /// The headers that every request carries: the content type and the producer's id.
    pub(super) headers: HeaderMap,
}

/// What a request came to.
enum Outcome {
    Answered(Answer, Option<Error>),
    Lost(Lost, Error),
    /// It could not be made.
    Unmade(Error),
}

/// Runs the producer to its end. Then what it was given is dropped, and requests that are still out (there are some only
/// after a failure) are cancelled.
pub(super) async fn drive(shared: Arc<Shared>, sender: Sender, listener: Option<Listener>) {
    struct Finally(Arc<Shared>);
    impl Drop for Finally {
        fn drop(&mut self) {
            self.0.driven();
        }
    }
    let finally = Finally(shared);
    let (shared, sender) = (&finally.0, &sender);
    // Polled here, one after the other: tasks of their own would start in any order, and requests that overtake one
    // another are refused by the server and have to be sent again.
    let mut requests = FuturesUnordered::new();
    loop {
        let (transmits, timeout) = {
            let mut state = shared.state.lock();
            let now = Instant::now();
            let transmits: Vec<Transmit> = std::iter::from_fn(|| state.machine.poll_transmit(now)).collect();
            state.take_events(&shared.url, listener.as_ref());
            if state.ended || state.failed.is_some() {
                return;
            }
            (transmits, state.machine.poll_timeout())
        };
        for transmit in transmits {
            requests.push(async move { (transmit.id, sender.send(transmit).await) });
        }
        let due = async {
            match timeout {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shared.work.notified() => {}
            () = due => {}
            Some((id, outcome)) = requests.next() => shared.ended(id, outcome),
        }
    }
}

impl Shared {
    fn ended(&self, id: TransmitId, outcome: Outcome) {
        let mut state = self.state.lock();
        let now = Instant::now();
        let failing_before = state.machine.failure().is_some();
        let said = match outcome {
            Outcome::Answered(answer, error) => {
                state.machine.handle_response(now, id, answer);
                error
            }
            Outcome::Lost(lost, error) => {
                state.machine.handle_lost(now, id, lost);
                Some(error)
            }
            Outcome::Unmade(error) => {
                state.machine.header_failed(now, id);
                Some(error)
            }
        };
        if !failing_before && said.is_some() {
            state.last_error = said;
        }
    }
}

impl Sender {
    async fn send(&self, transmit: Transmit) -> Outcome {
        let mut headers = self.headers.clone();
        headers.insert(protocol::PRODUCER_EPOCH, transmit.epoch.into());
        headers.insert(protocol::PRODUCER_SEQ, transmit.seq.into());
        if transmit.closes {
            headers.insert(protocol::STREAM_CLOSED, HeaderValue::from_static("true"));
        }
        let request = Request {
            operation: Operation::Produce,
            method: Method::POST,
            headers,
            query: Vec::new(),
            body: (!transmit.body.is_empty()).then_some(transmit.body),
            repeat: Repeat::UnlessSent,
            patience: Patience::Bounded,
        };
        match attempt(&self.endpoint, &self.pool, &request).await {
            Ok(answer) => self.answered(&request, answer),
            Err(CallFailure::NotSent(error)) => Outcome::Lost(Lost::NotSent, error),
            Err(CallFailure::Unanswered(error)) => {
                let lost = if matches!(error.kind(), Kind::Timeout) {
                    Lost::TimedOut
                } else {
                    Lost::Dropped
                };
                Outcome::Lost(lost, error)
            }
            Err(CallFailure::Final(error)) => Outcome::Unmade(error),
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
