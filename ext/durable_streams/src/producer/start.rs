//! Starts a producer: its options, and what they become.

use std::cell::Cell;
use std::sync::Arc;

use durable_streams_client::connections::Config;
use durable_streams_client::fork::ProcessBound;
use durable_streams_client::producer::Producer as CoreProducer;
use durable_streams_protocol::producer::{BodyKind, ClaimLimits, ProducerConfig};
use magnus::typed_data::Obj;
use magnus::value::{Opaque, ReprValue};
use magnus::{Error, RHash, Ruby, Value};

use super::Producer;
use super::originals::Originals;
use crate::callback_threads;
use crate::client::{RetryPolicyOptions, policy, seconds};
use crate::errors::{self, guard};
use crate::events;
use crate::handles::WorkHandle;
use crate::memory::ReportedMemory;
use crate::options::options;
use crate::stream::Stream;

options! {
    /// A producer's options. `lib/durable_streams/producer.rb` and the fields of [`ProducerConfig`] describe them.
    pub(crate) struct ProducerOptions {
        producer_id: String,
        content_type: String,
        /// Whether messages are JSON values.
        json: bool,
        epoch: u64,
        next_seq: Option<u64>,
        auto_claim: bool,
        max_batch_bytes: usize,
        /// nil: no limit.
        max_batch_items: Option<usize>,
        /// Seconds.
        linger: f64,
        max_in_flight: usize,
        max_buffered_bytes: usize,
        /// Whether an append waits while the buffer is full.
        block_when_full: bool,
        /// nil: the client's.
        retry_policy: Option<RetryPolicyOptions>,
        /// Seconds after which a batch is not sent again. nil: no limit.
        delivery_timeout: Option<f64>,
        /// Gets the notices of deliveries and failures. nil: no callbacks.
        listener: Option<Value>,
        /// An empty `DurableStreams::Originals`.
        originals: RHash,
    }
}

impl Producer {
    /// `Native::Producer.new(stream, **options)`: see [`ProducerOptions`].
    pub(super) fn new(ruby: &Ruby, stream: Obj<Stream>, mut options: ProducerOptions) -> Result<Obj<Self>, Error> {
        guard(ruby, || {
            let config = config(ruby, stream.endpoint.client().config(), &mut options)?;
            let (json, originals, listener) = (options.json, options.originals, options.listener);
            let mut handles = Vec::new();
            let endpoint = match stream.application {
                None => Arc::clone(&stream.endpoint),
                Some(_) => {
                    let handle = WorkHandle::new(stream);
                    handles.push(handle.clone());
                    Arc::new(stream.endpoint.with_application(&callback_threads::call_sender(handle)))
                }
            };
            let notices = match listener {
                None => None,
                Some(listener) => {
                    let deliveries: bool = listener.funcall("deliveries?", ())?;
                    let (listener, originals) = (WorkHandle::new(listener), WorkHandle::new(originals));
                    handles.extend([listener.clone(), originals.clone()]);
                    Some(callback_threads::listener(listener, originals, deliveries))
                }
            };
            let pin_from = if json { usize::MAX } else { config.max_batch_bytes };
            events::keep_served(ruby)?;
            callback_threads::keep_served(ruby, stream.application.is_some(), listener.is_some())?;
            let started = CoreProducer::start(&endpoint, &options.producer_id, &options.content_type, config, notices);
            let started = started.map_err(|error| errors::raise(ruby, error))?;
            for handle in &handles {
                handle.keep_alive_while(started.has_work());
            }
            let producer = ruby.obj_wrap(Self {
                running: ProcessBound::new(started),
                json,
                pin_from,
                block_when_full: options.block_when_full,
                originals: Originals::new(originals),
                stream: stream.into(),
                listener: listener.map(Opaque::from),
                handles,
                unreported: Cell::new(0),
                memory: ReportedMemory::default(),
            });
            // Until the Ruby object exists, only the caller's frames and this one refer to them.
            std::hint::black_box((originals, stream, listener));
            Ok(producer)
        })
    }
}

/// The settings for the client crate. Without a retry policy of its own, the producer has that of `client`.
fn config(ruby: &Ruby, client: &Config, options: &mut ProducerOptions) -> Result<ProducerConfig, Error> {
    let (retry, patient) = match options.retry_policy.take() {
        Some(retry) => (policy(ruby, retry)?, false),
        None => (client.retry.clone(), client.patient),
    };
    let delivery_timeout = options.delivery_timeout;
    let delivery_timeout = delivery_timeout.map(|limit| seconds(ruby, "delivery_timeout", limit));
    Ok(ProducerConfig {
        body: if options.json { BodyKind::Json } else { BodyKind::Bytes },
        epoch: options.epoch,
        next_seq: options.next_seq,
        auto_claim: options.auto_claim,
        claims: ClaimLimits::default(),
        max_batch_bytes: options.max_batch_bytes,
        max_batch_items: options.max_batch_items.unwrap_or(usize::MAX),
        linger: seconds(ruby, "linger_ms", options.linger)?,
        max_in_flight: options.max_in_flight,
        max_buffered_bytes: options.max_buffered_bytes,
        retry,
        patient,
        delivery_timeout: delivery_timeout.transpose()?,
    })
}
