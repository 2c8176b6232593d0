//! JSON in the protocol crate: validating a value and splitting a body into items. For comparison: parsing into a tree,
//! which neither the crate nor the extension does.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use core_benches::{array, copy, documents, messages};
use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use durable_streams_protocol::json::{JsonForm, Splitter, validate};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use sonic_rs::JsonValueTrait as _;

/// The size of the pieces of a response's body, in bytes.
const PIECE_BYTES: usize = 64 * 1024;

fn inputs() -> [(&'static str, Vec<String>); 2] {
    [("messages", messages()), ("documents", documents())]
}

fn group<'a>(criterion: &'a mut Criterion, name: &str, bytes: usize) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Bytes(bytes as u64));
    group.sample_size(20).measurement_time(Duration::from_secs(2));
    group
}

/// Validates every message, as an append does.
fn validation(criterion: &mut Criterion) {
    for (name, items) in inputs() {
        let bytes = items.iter().map(String::len).sum();
        let mut group = group(criterion, &format!("validate/{name}"), bytes);
        group.bench_function("memcpy", |bench| {
            bench.iter(|| items.iter().for_each(|item| drop(black_box(copy(item.as_bytes())))));
        });
        group.bench_function("core", |bench| {
            bench.iter(|| items.iter().all(|item| validate(black_box(item.as_bytes())).is_ok()));
        });
        group.bench_function("serde_json", |bench| {
            bench.iter(|| {
                items
                    .iter()
                    .all(|item| serde_json::from_str::<IgnoredAny>(black_box(item)).is_ok())
            });
        });
        group.bench_function("sonic-rs", |bench| {
            bench.iter(|| {
                items
                    .iter()
                    .all(|item| sonic_rs::from_str::<IgnoredAny>(black_box(item)).is_ok())
            });
        });
        group.bench_function("simd-json (tape)", |bench| {
            // simd-json writes into its input.
            let fresh = || items.iter().map(|item| item.clone().into_bytes()).collect::<Vec<_>>();
            let mut buffers = simd_json::Buffers::default();
            bench.iter_batched(
                fresh,
                |mut items| {
                    items
                        .iter_mut()
                        .all(|item| simd_json::to_tape_with_buffers(item, &mut buffers).is_ok())
                },
                BatchSize::LargeInput,
            );
        });
    }
}

/// Splits a body into items.
fn splitting(criterion: &mut Criterion) {
    for (name, items) in inputs() {
        let body = array(&items);
        let mut group = group(criterion, &format!("split/{name}"), body.len());
        group.bench_function("memcpy", |bench| bench.iter(|| copy(black_box(&body))));
        group.bench_function("core", |bench| {
            let body = Bytes::from(body.clone());
            bench.iter(|| {
                let mut splitter = Splitter::new(JsonForm::Array, usize::MAX);
                let mut items = 0;
                for from in (0..body.len()).step_by(PIECE_BYTES) {
                    let piece = body.slice(from..body.len().min(from + PIECE_BYTES));
                    splitter
                        .push(&piece, |block| items += block.items)
                        .expect("a valid body");
                }
                items + splitter.finish().expect("a whole body").map_or(0, |block| block.items)
            });
        });
        group.bench_function("serde_json (raw values)", |bench| {
            bench.iter(|| {
                serde_json::from_slice::<Vec<&RawValue>>(black_box(&body))
                    .expect("a valid body")
                    .len()
            });
        });
        group.bench_function("sonic-rs (lazy values)", |bench| {
            bench.iter(|| {
                sonic_rs::to_array_iter(black_box(&body[..]))
                    .filter(|item| item.is_ok())
                    .count()
            });
        });
        group.bench_function("simd-json (tape)", |bench| {
            let mut buffers = simd_json::Buffers::default();
            bench.iter_batched(
                || body.clone(),
                |mut body| simd_json::to_tape_with_buffers(&mut body, &mut buffers).map(|tape| tape.0.len()),
                BatchSize::LargeInput,
            );
        });
    }
}

/// Parses a body into a tree: the cost of doing so before Ruby objects are built.
fn trees(criterion: &mut Criterion) {
    for (name, items) in inputs() {
        let body = array(&items);
        let mut group = group(criterion, &format!("tree/{name}"), body.len());
        group.bench_function("serde_json", |bench| {
            bench.iter(|| {
                serde_json::from_slice::<serde_json::Value>(black_box(&body))
                    .expect("a valid body")
                    .is_array()
            });
        });
        group.bench_function("sonic-rs", |bench| {
            bench.iter(|| {
                sonic_rs::from_slice::<sonic_rs::Value>(black_box(&body))
                    .expect("a valid body")
                    .is_array()
            });
        });
        group.bench_function("simd-json", |bench| {
            bench.iter_batched(
                || body.clone(),
                |mut body| {
                    let tree = simd_json::to_borrowed_value(&mut body).expect("a valid body");
                    matches!(tree, simd_json::BorrowedValue::Array(_))
                },
                BatchSize::LargeInput,
            );
        });
    }
}

criterion_group!(benches, validation, splitting, trees);
criterion_main!(benches);
