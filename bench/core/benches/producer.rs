//! The cost of an append to a producer, which copies the message into the batch to send.

use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use core_benches::{copy, messages};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use durable_streams_protocol::error::{About, Operation};
use durable_streams_protocol::json::validate;
use durable_streams_protocol::producer::{BatchResponse, BodyKind, ClaimLimits, ProducerConfig, ProducerMachine};
use durable_streams_protocol::request::{self, Context};
use durable_streams_protocol::retry::jitter::Jitter;
use durable_streams_protocol::retry::policy::RetryPolicy;
use http::{HeaderMap, HeaderValue, StatusCode};

/// The defaults of `DurableStreams::Producer.new`.
fn config() -> ProducerConfig {
    ProducerConfig {
        body: BodyKind::Json,
        epoch: 0,
        // Given, so that the machine does not look up the tail.
        next_seq: Some(0),
        auto_claim: false,
        claims: ClaimLimits::default(),
        max_batch_bytes: 1 << 20,
        max_batch_items: usize::MAX,
        linger: Duration::from_millis(5),
        max_in_flight: 5,
        max_buffered_bytes: 64 << 20,
        patient: false,
        delivery_timeout: None,
        retry: RetryPolicy {
            max_retries: 5,
            initial_delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(30),
            multiplier: 2.0,
            statuses: vec![429, 500, 502, 503, 504],
        },
    }
}

/// A successful response.
fn accepted() -> BatchResponse {
    let mut headers = HeaderMap::new();
    headers.insert("producer-epoch", HeaderValue::from_static("0"));
    let response = request::Response {
        status: StatusCode::OK,
        headers,
        body: Bytes::new(),
        tries: Default::default(),
        redirected: None,
    };
    let context = Context {
        about: About {
            operation: Operation::Produce,
            url: "http://localhost/s",
        },
        policy: &config().retry,
        now: SystemTime::UNIX_EPOCH,
    };
    BatchResponse::new(&context, response)
}

/// Appends all messages. A server acknowledges every batch at once.
fn produce(messages: &[String], now: Instant) -> u64 {
    let mut machine = ProducerMachine::new(config(), Jitter::new(|| 0.5)).expect("valid settings");
    let mut delivered = 0;
    let mut round = |machine: &mut ProducerMachine| {
        while let Some(transmit) = machine.poll_transmit(now) {
            machine.handle_response(now, transmit.id, accepted());
        }
        while machine.poll_event().is_some() {
            delivered += 1;
        }
    };
    for message in messages {
        let appended = machine
            .append(black_box(message.as_bytes()))
            .expect("the machine accepts the message");
        if appended.wake {
            round(&mut machine);
        }
    }
    machine.flush().expect("the machine has not failed");
    round(&mut machine);
    assert_eq!(machine.pending(), 0);
    delivered
}

fn batches(criterion: &mut Criterion) {
    let messages = messages();
    let bytes: usize = messages.iter().map(String::len).sum();
    let mut group = criterion.benchmark_group("producer/append");
    group.throughput(Throughput::Bytes(bytes as u64));
    group.sample_size(20).measurement_time(Duration::from_secs(2));
    let joined = messages.concat();
    group.bench_function("memcpy", |bench| bench.iter(|| copy(black_box(joined.as_bytes()))));
    group.bench_function("one growing buffer", |bench| {
        bench.iter(|| {
            let mut buffer = Vec::with_capacity(bytes + messages.len());
            for message in &messages {
                buffer.extend_from_slice(black_box(message.as_bytes()));
                buffer.push(b',');
            }
            buffer
        });
    });
    let now = Instant::now();
    group.bench_function("core", |bench| bench.iter(|| produce(&messages, now)));
    group.bench_function("core, and validation", |bench| {
        bench.iter(|| {
            assert!(messages.iter().all(|message| validate(message.as_bytes()).is_ok()));
            produce(&messages, now)
        });
    });
}

criterion_group!(benches, batches);
criterion_main!(benches);
