//! The producer, case by case and in simulation.

mod batching;
mod claims;
mod ending;
mod gaps;
mod patience;
mod reruns;
mod responses;
mod sim;

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::*;
use crate::error::{About, Error, Kind, Operation};
use crate::protocol;
use crate::request::{self, Context};
use crate::retry::jitter::Jitter;
use crate::retry::outage::OutageEvent;
use crate::retry::policy::RetryPolicy;

/// A machine and its clock.
struct Bench {
    machine: ProducerMachine,
    now: Instant,
    started: Instant,
}

/// Settings that send at once and one message at a time, unless a test says otherwise.
fn config() -> ProducerConfig {
    ProducerConfig {
        body: BodyKind::Bytes,
        linger: Duration::ZERO,
        max_batch_items: 1,
        ..ProducerConfig::new(RetryPolicy {
            max_retries: 2,
            ..RetryPolicy::for_tests()
        })
    }
}

/// Those, but with one try for each request.
fn without_retries() -> ProducerConfig {
    ProducerConfig {
        retry: RetryPolicy {
            max_retries: 0,
            ..RetryPolicy::for_tests()
        },
        ..config()
    }
}

/// What a server says.
#[derive(Clone, Debug, Default)]
struct SimulatedResponse {
    status: u16,
    next_offset: Option<String>,
    producer_epoch: Option<u64>,
    producer_seq: Option<u64>,
    expected_seq: Option<u64>,
    received_seq: Option<u64>,
    stream_closed: bool,
    retry_after: Option<Duration>,
}

impl SimulatedResponse {
    /// What the machine is given of it.
    fn to_batch_response(&self) -> BatchResponse {
        let number = |number: Option<u64>| number.map(|number| number.to_string());
        let headers = [
            (protocol::STREAM_NEXT_OFFSET, self.next_offset.clone()),
            (protocol::PRODUCER_EPOCH, number(self.producer_epoch)),
            (protocol::PRODUCER_SEQ, number(self.producer_seq)),
            (protocol::PRODUCER_EXPECTED_SEQ, number(self.expected_seq)),
            (protocol::PRODUCER_RECEIVED_SEQ, number(self.received_seq)),
            (protocol::STREAM_CLOSED, self.stream_closed.then(|| "true".to_owned())),
        ];
        let value = |value: String| HeaderValue::try_from(value).expect("a header's value");
        let headers = headers
            .into_iter()
            .filter_map(|(name, text)| Some((name, value(text?))));
        let response = request::Response {
            status: StatusCode::from_u16(self.status).expect("a status"),
            headers: headers.collect::<HeaderMap>(),
            body: Bytes::new(),
            tries: Default::default(),
            redirected: None,
        };
        let context = Context {
            about: About {
                operation: Operation::Produce,
                url: "http://h/s",
            },
            policy: &RetryPolicy::for_tests(),
            now: SystemTime::UNIX_EPOCH,
        };
        let mut response = BatchResponse::new(&context, response);
        // A header has whole seconds only.
        response.retry_after = self.retry_after;
        response
    }
}

fn ok(status: u16, seq: u64) -> SimulatedResponse {
    SimulatedResponse {
        status,
        producer_seq: Some(seq),
        next_offset: Some(format!("after {seq}")),
        ..SimulatedResponse::default()
    }
}

fn status(status: u16) -> SimulatedResponse {
    SimulatedResponse {
        status,
        ..SimulatedResponse::default()
    }
}

/// A duplicate from a server that has forgotten the offset after it, and does not say its last number.
fn duplicate() -> SimulatedResponse {
    SimulatedResponse {
        producer_epoch: Some(0),
        ..status(204)
    }
}

fn gap(expected: u64, received: u64) -> SimulatedResponse {
    SimulatedResponse {
        expected_seq: Some(expected),
        received_seq: Some(received),
        ..status(409)
    }
}

fn stale(epoch: u64) -> SimulatedResponse {
    SimulatedResponse {
        producer_epoch: Some(epoch),
        ..status(403)
    }
}

fn not_sent() -> request::RequestFailure {
    request::RequestFailure::NotSent(Error::plain(Kind::Connection, "not sent".to_owned()))
}

fn response_lost() -> request::RequestFailure {
    request::RequestFailure::ResponseLost(Error::plain(Kind::Timeout, "lost".to_owned()))
}

fn no_headers() -> request::RequestFailure {
    request::RequestFailure::Final(Error::plain(Kind::Abandoned, "no headers".to_owned()))
}

/// FailureReason a producer has failed, in a form that can be compared.
#[derive(Clone, Debug, PartialEq)]
enum FailureReason {
    StaleEpoch {
        current_epoch: u64,
    },
    EpochReused {
        epoch: u64,
    },
    SequenceGap {
        expected: Option<u64>,
        received: u64,
    },
    StreamClosed {
        final_offset: Option<String>,
    },
    ContentTypeMismatch,
    /// Any other response, by its status.
    Rejected(u16),
    /// No response, by the error's text.
    NoResponse(String),
    NumbersExhausted,
    Aborted,
}

impl From<&ProducerFailure> for FailureReason {
    fn from(failure: &ProducerFailure) -> Self {
        let error = match failure {
            ProducerFailure::StaleEpoch { current_epoch } => {
                let current_epoch = *current_epoch;
                return Self::StaleEpoch { current_epoch };
            }
            ProducerFailure::EpochReused { epoch } => return Self::EpochReused { epoch: *epoch },
            ProducerFailure::NumbersExhausted => return Self::NumbersExhausted,
            ProducerFailure::Aborted => return Self::Aborted,
            ProducerFailure::Request(error) => error,
        };
        match error.kind().clone() {
            Kind::StaleEpoch {
                current_epoch: Some(current_epoch),
            } => Self::StaleEpoch { current_epoch },
            Kind::SequenceGap {
                expected,
                received: Some(received),
            } => Self::SequenceGap { expected, received },
            Kind::StreamClosed { final_offset } => Self::StreamClosed { final_offset },
            Kind::ContentTypeMismatch => Self::ContentTypeMismatch,
            _ => match error.status() {
                Some(status) => Self::Rejected(status),
                None => Self::NoResponse(error.reason().to_owned()),
            },
        }
    }
}

impl Bench {
    fn new(config: ProducerConfig) -> Self {
        let now = Instant::now();
        let machine = ProducerMachine::new(config, Jitter::new(|| 1.0)).expect("a valid configuration");
        Self {
            machine,
            now,
            started: now,
        }
    }

    /// A machine whose epoch the server has acknowledged already.
    fn established(config: ProducerConfig) -> Self {
        let mut bench = Self::new(config);
        let first = bench.append_and_send(&["first"]);
        bench
            .machine
            .handle_response(bench.now, first[0].id, ok(200, 0).to_batch_response());
        bench.events();
        bench
    }

    /// Such a machine that has just sent these messages.
    fn sending(config: ProducerConfig, messages: &[&str]) -> (Self, Vec<Transmit>) {
        let mut bench = Self::established(config);
        let sent = bench.append_and_send(messages);
        (bench, sent)
    }

    fn append(&mut self, messages: &[&str]) {
        for message in messages {
            self.machine.append(message.as_bytes()).expect("room");
        }
    }

    /// All requests that may go out now. The tail of the stream, if it is requested, is at "tail".
    fn send(&mut self) -> Vec<Transmit> {
        match self.machine.poll_lookup(self.now) {
            Some(Lookup::Tail { .. }) => self.machine.handle_tail(Some("tail".to_owned())),
            Some(lookup) => panic!("{lookup:?}"),
            None => {}
        }
        std::iter::from_fn(|| self.machine.poll_transmit(self.now)).collect()
    }

    /// Has a batch looked for, with this result. Tells from where on.
    fn finish_search(&mut self, found: SearchResult) -> String {
        let Some(Lookup::Batch { from, .. }) = self.machine.poll_lookup(self.now) else {
            panic!("no batch is looked for")
        };
        self.machine.handle_search_result(self.now, found);
        from
    }

    fn append_and_send(&mut self, messages: &[&str]) -> Vec<Transmit> {
        self.append(messages);
        self.send()
    }

    fn respond(&mut self, transmit: &Transmit, response: SimulatedResponse) {
        self.machine
            .handle_response(self.now, transmit.id, response.to_batch_response());
    }

    fn accept(&mut self, transmit: &Transmit) {
        self.respond(transmit, ok(200, transmit.seq));
    }

    fn lose(&mut self, transmit: &Transmit) {
        self.machine.handle_failure(self.now, transmit.id, response_lost());
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// When the timer is set to, from the start on.
    fn timer(&self) -> Option<Duration> {
        self.machine.poll_timeout().map(|at| at - self.started)
    }

    /// The events, without those of outages and retries.
    fn events(&mut self) -> Vec<ProducerEvent> {
        std::iter::from_fn(|| self.machine.poll_event())
            .filter(|event| !matches!(event, ProducerEvent::Outage(_) | ProducerEvent::Retry(_)))
            .collect()
    }

    fn outages(&mut self) -> Vec<OutageEvent> {
        let outage = |event| match event {
            ProducerEvent::Outage(event) => Some(event),
            _ => None,
        };
        std::iter::from_fn(|| self.machine.poll_event())
            .filter_map(outage)
            .collect()
    }

    /// The deliveries that no earlier call has returned, as (first token, count, number).
    fn delivered(&mut self) -> Vec<(u64, u64, u64)> {
        let deliveries = self.events().into_iter().filter_map(|event| match event {
            ProducerEvent::Delivered(delivery) => Some((delivery.first, delivery.count, delivery.seq)),
            _ => None,
        });
        deliveries.collect()
    }

    /// Why the producer accepts nothing more.
    fn failure(&self) -> Option<FailureReason> {
        self.machine.failure().map(FailureReason::from)
    }

    /// The reported failure, and the undelivered messages with their outcomes.
    fn failed(&mut self) -> Option<(FailureReason, Vec<(String, DeliveryOutcome)>)> {
        self.events().into_iter().find_map(|event| match event {
            ProducerEvent::Failed { failure, undelivered } => Some((
                FailureReason::from(&failure),
                undelivered
                    .messages()
                    .map(|m| (String::from_utf8_lossy(&m.data).into_owned(), m.outcome))
                    .collect(),
            )),
            _ => None,
        })
    }
}

fn bodies(transmits: &[Transmit]) -> Vec<(u64, String)> {
    transmits
        .iter()
        .map(|t| (t.seq, String::from_utf8_lossy(&t.body).into_owned()))
        .collect()
}

fn not_delivered(message: &str) -> (String, DeliveryOutcome) {
    (message.to_owned(), DeliveryOutcome::NotDelivered)
}

fn unknown(message: &str) -> (String, DeliveryOutcome) {
    (message.to_owned(), DeliveryOutcome::Unknown)
}
