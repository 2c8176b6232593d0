//! Decoding Server-Sent Events, compared with memcpy and with only a search for line ends.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use core_benches::{array, copy, messages};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use durable_streams_protocol::sse::{Encoding, EventDecoder};

/// The size of the pieces of a response's body, in bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// A response with all messages in `events` data events, each followed by a control event.
fn body(events: usize) -> Bytes {
    let messages = messages();
    let mut body = Vec::new();
    for (number, slice) in messages.chunks(messages.len() / events).enumerate() {
        body.extend_from_slice(b"event: data\ndata:");
        body.extend_from_slice(&array(slice));
        let control = format!(
            "\n\nevent: control\ndata:{{\"streamNextOffset\":\"0000000000000000_{number:016}\",\"streamCursor\":\"1\"}}\n\n"
        );
        body.extend_from_slice(control.as_bytes());
    }
    Bytes::from(body)
}

fn decoding(criterion: &mut Criterion) {
    for (name, body) in [("one large event", body(1)), ("an event a message", body(10_000))] {
        let mut group = criterion.benchmark_group(format!("sse/{name}"));
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.sample_size(20).measurement_time(Duration::from_secs(2));
        group.bench_function("memcpy", |bench| bench.iter(|| copy(black_box(&body))));
        group.bench_function("lines alone", |bench| {
            bench.iter(|| black_box(&body).split(|byte| *byte == b'\n').count());
        });
        group.bench_function("core", |bench| {
            bench.iter(|| {
                let mut decoder = EventDecoder::new(Encoding::Plain, usize::MAX);
                let mut events = 0;
                for from in (0..body.len()).step_by(PIECE_BYTES) {
                    decoder.push(body.slice(from..body.len().min(from + PIECE_BYTES)));
                    while decoder.next_event().expect("a valid body").is_some() {
                        events += 1;
                    }
                }
                events
            });
        });
    }
}

criterion_group!(benches, decoding);
criterion_main!(benches);
