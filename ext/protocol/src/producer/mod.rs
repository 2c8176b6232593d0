//! The idempotent producer (PROTOCOL.md 5.2.1) as a state machine without I/O: no socket, no clock, no lock, no thread.
//! The driver in `durable-streams-client` sends its requests. Read [`ProducerMachine`], [`ProducerEvent`] and
//! [`ProducerConfig`] first.
//!
//! The owner passes in messages ([`ProducerMachine::append`]) and calls of `flush` and `close`. The driver passes in
//! the end of each request ([`ProducerMachine::handle_response`], [`ProducerMachine::handle_failure`]), the result of
//! each lookup ([`ProducerMachine::handle_tail`], [`ProducerMachine::handle_search_result`]) and the current time. It
//! takes out lookups ([`ProducerMachine::poll_lookup`]), requests ([`ProducerMachine::poll_transmit`]), the next
//! deadline ([`ProducerMachine::poll_timeout`]) and events ([`ProducerMachine::poll_event`]).
//!
//! # How a driver runs it
//! After *every* call that takes `&mut ProducerMachine`, poll it: carry out the lookup of `poll_lookup`, send all
//! requests of `poll_transmit`, pass on all events of `poll_event`, and set one timer to `poll_timeout`. When the timer
//! expires, poll again. `append` is the exception: it returns in [`Appended::wake`] whether to poll, so that most
//! appends are only a copy.
//!
//! Every [`Transmit`] ends in exactly one call of `handle_response` or `handle_failure`, and every [`Lookup`] in one of
//! `handle_tail` or `handle_search_result`. The driver limits the time until then, because a failure is reported only
//! when the responses that decide what is stored have arrived. After [`ProducerEvent::Failed`] it drops the requests in
//! flight. The driver never sends a [`Transmit`] twice.
//!
//! # Guarantees
//! All messages of [`ProducerEvent::Delivered`] are in the stream once, in append order. [`ProducerEvent::Failed`]
//! lists every other message with a [`DeliveryOutcome`]: `NotDelivered` is proven, `Unknown` means that the protocol
//! allows no proof.
//!
//! The proofs rely on three rules of the protocol:
//!
//! - A server accepts the sequence numbers of an epoch in order. An accepted number proves that all lower ones were
//!   accepted, and a rejected one that no higher one was.
//! - The epoch never decreases. After a newer epoch, nothing of an older one is stored.
//! - A rejection holds for every copy of the request: none was stored or will be. Copies of requests that were
//!   accepted, or had no response, do no harm. A proxy that sends a request twice and passes on only the rejection of
//!   the second copy invalidates this rule.
//!
//! # An epoch that others may use
//! A program that runs again with the same id and epoch looks to the server like one that sends its batches again. So
//! do two programs that use them at the same time. In both cases the server responds with 204 and stores nothing. It
//! also responds with 204 to a request that arrives twice, through a proxy or after a lost response.
//!
//! So the producer does not trust a 204 to a batch that it sent once, unless its owner has set
//! [`ProducerConfig::next_seq`]. Before the first batch it looks up where the stream ends ([`Lookup::Tail`]). It sends
//! no other batch until a response says that the first one was stored. After a 204:
//!
//! - If `Producer-Seq` is higher than all numbers that were sent, the epoch is another producer's.
//! - Otherwise the producer waits until no request is in flight. Then the stream is read from the looked-up end, or
//!   from the offset of the last response, and searched for the batch ([`Lookup::Batch`], [`Search`]). If the batch is
//!   not found, another producer has stored one under its number. If it is found, it is delivered; earlier batches with
//!   the same content are not read. If it was sent only once, the search may have found an equal batch of another
//!   producer, so [`ProducerEvent::Assumed`] comes before the delivery.
//! - If the lookup is impossible (the stream cannot be read, or other batches sent since have the same content): in an
//!   epoch that the owner chose, the batch counts as delivered, after [`ProducerEvent::Assumed`]. In a claimed epoch
//!   the producer fails with [`ProducerFailure::StaleEpoch`], and the batch is `Unknown`.
//!
//! If another producer has stored the batch, and this one is not known to have stored anything in the epoch, the epoch
//! is another's. With `auto_claim` the producer claims the next epoch and sends the batch in it. Otherwise it fails
//! with [`ProducerFailure::EpochReused`]. If this producer has stored something in the epoch, both write in it: the
//! producer fails with `StaleEpoch`, and the batch is `Unknown`. After an assumed batch, the next one is sent alone
//! too, because only a 200 proves that this producer has stored something.
//!
//! Two cases cannot be detected. A batch that was sent again after a lost response counts as this producer's; the first
//! batch of an epoch does so only if an equal one is found. A later request that only closes the stream counts as this
//! producer's, because servers respond to it with 204 the first time too.
//!
//! # Uncertain outcomes
//! - **Fenced (403) after a lost response.** The request may have been stored before the new epoch or not. Sending it
//!   again in the old epoch gives 403 in both cases. The batch is stored if a higher number was accepted. It is not
//!   stored if a lower one was rejected for good. The first batch of an epoch that may not be new is looked up, because
//!   nothing of a fenced epoch can be stored any more. Otherwise it is `Unknown`. Then the producer fails with
//!   [`ProducerFailure::StaleEpoch`], even with `auto_claim`: to send the batch again in a new epoch could duplicate
//!   it, to omit it could lose it. So the producer claims an epoch only when the outcome of every request of the old
//!   epoch is known.
//! - **5xx.** A gateway may send it after the server accepted the request, so it counts as a lost response. A 4xx,
//!   including 429, proves that the request was rejected.
//! - **Alternating claims.** Consecutive claims without a stable epoch in between are counted ([`ClaimLimits`]). After
//!   too many, the producer fails with `StaleEpoch`. Every claim is reported ([`ProducerEvent::Claimed`]).
//!
//! # Example
//! ```
//! use std::time::{Duration, Instant, SystemTime};
//!
//! use bytes::Bytes;
//! use durable_streams_protocol::error::{About, Operation};
//! use durable_streams_protocol::producer::{
//!     BatchResponse, BodyKind, ClaimLimits, ProducerConfig, ProducerEvent, ProducerMachine,
//! };
//! use durable_streams_protocol::request::{self, Context};
//! use durable_streams_protocol::retry::jitter::Jitter;
//! use durable_streams_protocol::retry::policy::RetryPolicy;
//! use http::{HeaderMap, HeaderValue, StatusCode};
//!
//! let retry = RetryPolicy {
//!     max_retries: 5,
//!     initial_delay: Duration::from_millis(100),
//!     max_delay: Duration::from_secs(30),
//!     multiplier: 2.0,
//!     statuses: vec![429, 503],
//! };
//! let mut machine = ProducerMachine::new(
//!     ProducerConfig {
//!         body: BodyKind::Json,
//!         epoch: 0,
//!         next_seq: Some(0), // The epoch is this producer's, so nothing is looked up before the first batch.
//!         auto_claim: false,
//!         claims: ClaimLimits::default(),
//!         max_batch_bytes: 1 << 20,
//!         max_batch_items: usize::MAX,
//!         linger: Duration::from_millis(5),
//!         max_in_flight: 5,
//!         max_buffered_bytes: 64 << 20,
//!         patient: false,
//!         delivery_timeout: None,
//!         retry: retry.clone(),
//!     },
//!     Jitter::new(|| 0.5),
//! )?;
//! machine.append(b"{\"n\":1}").unwrap();
//! machine.append(b"{\"n\":2}").unwrap();
//! machine.flush().unwrap();
//!
//! // One request is sent …
//! let now = Instant::now();
//! let transmit = machine.poll_transmit(now).unwrap();
//! assert_eq!((transmit.epoch, transmit.seq), (0, 0));
//! assert_eq!(transmit.body, "[{\"n\":1},{\"n\":2}]");
//! assert!(machine.poll_transmit(now).is_none());
//!
//! // … and this is its response.
//! let mut headers = HeaderMap::new();
//! headers.insert("stream-next-offset", HeaderValue::from_static("2"));
//! let response = request::Response {
//!     status: StatusCode::OK,
//!     headers,
//!     body: Bytes::new(),
//!     tries: Default::default(),
//!     redirected: None,
//! };
//! let about = About { operation: Operation::Produce, url: "http://localhost/s" };
//! let context = Context { about, policy: &retry, now: SystemTime::now() };
//! machine.handle_response(now, transmit.id, BatchResponse::new(&context, response));
//! let Some(ProducerEvent::Delivered(delivery)) = machine.poll_event() else { panic!("a delivery") };
//! assert_eq!(delivery.count, 2);
//! # Ok::<(), durable_streams_protocol::producer::ConfigError>(())
//! ```

mod authorship;
mod batch;
mod claims;
mod config;
mod event;
mod lookup;
mod machine;
mod outcome;
mod response;
mod search;
mod sending;
mod settle;
mod transmit;
mod window;

#[cfg(test)]
mod tests;

pub use batch::BodyKind;
pub use config::{ClaimLimits, ConfigError, MAX_NUMBER, ProducerConfig};
pub use event::{
    Delivery, DeliveryOutcome, ProducerEvent, ProducerFailure, SentBatch, Undelivered, UndeliveredMessage,
};
pub use lookup::Lookup;
pub use machine::{AppendError, Appended, ProducerMachine};
pub use response::BatchResponse;
pub use search::{MAX_READ_BACK_BYTES, READ_BACK_TIMEOUT, Search, SearchResult, WantedBatch};
pub use transmit::{Transmit, TransmitId};
