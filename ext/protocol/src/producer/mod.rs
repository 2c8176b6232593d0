//! The idempotent producer as a state machine without IO: it decides, a driver beside it talks.
//!
//! In go messages ([`ProducerMachine::append`]), requests to flush and close, and what became of each request
//! ([`ProducerMachine::handle_response`], [`ProducerMachine::handle_failure`]) and of each lookup
//! ([`ProducerMachine::handle_tail`], [`ProducerMachine::handle_search_result`]); out come lookups ([`ProducerMachine::poll_lookup`]), requests to send
//! ([`ProducerMachine::poll_transmit`]), the moment to look again ([`ProducerMachine::poll_timeout`]) and what there is to tell
//! ([`ProducerMachine::poll_event`]). Time is passed in. There is no socket, no clock, no lock and no thread here.
//!
//! # How a driver runs it
//! After *every* call that takes `&mut ProducerMachine`: look up what `poll_lookup` returns, send all that `poll_transmit`
//! returns, hand on all that `poll_event` returns, and set one timer to `poll_timeout`; when it fires, the same round
//! again. `append` says with [`Appended::wake`] whether that round is needed, so that most appends cost no more than a
//! copy. Every [`Transmit`] ends in exactly one of `handle_response` and `handle_failure`, and every
//! [`Lookup`] in `handle_tail` or `handle_search_result`, within a time that the driver bounds (a failure is told when the answers
//! that decide what landed are in). After [`ProducerEvent::Failed`] what is still out is dropped. The driver's own transport
//! repeats no [`Transmit`].
//!
//! # What is promised
//! All that [`ProducerEvent::Delivered`] names is in the stream once, in append order. What is not is named, message by
//! message, by [`ProducerEvent::Failed`], each with an [`DeliveryOutcome`]: `NotDelivered` is proven, `Unknown` means that the
//! protocol gives no way to tell. The proofs rest on three things the protocol says: a server takes the numbers of an
//! epoch in order (so an accepted number proves all lower ones, and a refused one rules out all higher ones), an
//! epoch never goes down (so nothing of an old epoch lands once a newer one was seen), and an answer speaks for its
//! request: where it is a refusal, no copy of the request was or will be taken. (Copies of requests that were accepted,
//! or not answered, do no harm. A proxy that repeats a request unseen, and passes on that the repetition was refused,
//! takes the last proof away.)
//!
//! # An epoch that others may use
//! To a server, a program that is run again under the same id and epoch is one that repeats itself, and so are two programs
//! that run under them at the same time: it answers 204, and stores nothing. So does a server that gets a request twice,
//! from a proxy or after a lost answer. So a machine trusts no 204 to a batch that it sent once, unless its owner has said
//! where to go on in the epoch ([`ProducerConfig::next_seq`]). Before the first batch it learns where the stream ends
//! ([`Lookup::Tail`]), and it sends nothing beside that batch until an answer says that something was stored. If a batch
//! is answered by 204:
//!
//! - `Producer-Seq` is beyond what was sent: the epoch is another's.
//! - Otherwise, when all that was sent is answered, the stream is read from that tail on, or from the offset that the last
//!   answer told, and the batch looked for ([`Lookup::Batch`], [`Search`]). If it is not there, another has stored one
//!   under its number. If it is there, it is delivered; what stood before, with the same content perhaps, was not read.
//!   But an equal batch of another's would be found too. So [`ProducerEvent::Assumed`] tells of a batch that was found and sent
//!   only once, before the delivery.
//! - It cannot be looked up (the stream cannot be read, or other batches sent since have the same content): in an epoch of
//!   the owner's choice it counts as delivered, which [`ProducerEvent::Assumed`] tells too. In a claimed epoch the producer fails
//!   with [`ProducerFailure::StaleEpoch`] and the batch is `Unknown`.
//!
//! If nothing is known to be stored by this producer, the epoch is another's: with `auto_claim` the next one is claimed and
//! the batch sent in it, else the producer fails with [`ProducerFailure::EpochReused`]. After a batch that was assumed, the next one
//! travels alone too, as only an answer 200 says that this producer has stored something. If it has, both write in the
//! epoch: the producer fails with `StaleEpoch`, and the batch is `Unknown`.
//!
//! What remains: a batch that was sent again after a lost answer is taken for this producer's, the first one if an equal one
//! is found; and so is a later request that only closes the stream, which servers answer by 204 the first time too.
//!
//! # Cases in doubt
//! - **Fenced (403) after a lost answer.** The lost request landed before the id was taken, or it did not; asking again
//!   under the old epoch gives 403 either way. Where a higher number was accepted it landed; where a lower one was
//!   refused for good it did not; the first batch of an epoch that may not be new is looked up, as nothing of a fenced
//!   epoch can land any more; otherwise it is `Unknown`, and then nothing is sent under a new epoch: to re-send could be a
//!   duplicate, to leave it out a loss, so the producer fails with [`ProducerFailure::StaleEpoch`] although `auto_claim` is on. A
//!   claim is made only when the outcome of every request of the old epoch is known.
//! - **5xx answers** may come from a gateway after the server took the request, so they count as lost answers. 4xx
//!   answers, 429 among them, prove that the request was refused.
//! - **Fighting over an id.** Each claim that was not followed by holding the epoch for a while ([`ClaimLimits`])
//!   counts, and one too many fails with `StaleEpoch`. Every claim is told ([`ProducerEvent::Claimed`]).
//!
//! # Example
//! ```
//! use std::time::{Duration, Instant, SystemTime};
//!
//! use bytes::Bytes;
//! use durable_streams_protocol::error::{About, Operation};
//! use durable_streams_protocol::producer::{BatchResponse, BodyKind, ClaimLimits, ProducerConfig, ProducerEvent, ProducerMachine};
//! use durable_streams_protocol::request::{self, Context};
//! use durable_streams_protocol::retry::policy::RetryPolicy;
//! use http::{HeaderMap, StatusCode};
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
//!         next_seq: Some(0), // It goes on in the epoch, so nothing is looked up before the first batch.
//!         auto_claim: false,
//!         claims: ClaimLimits::default(),
//!         max_batch_bytes: 1 << 20,
//!         max_batch_items: usize::MAX,
//!         linger: Duration::from_millis(5),
//!         max_in_flight: 5,
//!         max_buffered_bytes: 64 << 20,
//!         retry: retry.clone(),
//!     },
//!     Box::new(|| 0.5),
//! )?;
//! machine.append(b"{\"n\":1}").unwrap();
//! machine.append(b"{\"n\":2}").unwrap();
//! machine.flush().unwrap();
//!
//! // One request goes out …
//! let now = Instant::now();
//! let transmit = machine.poll_transmit(now).unwrap();
//! assert_eq!((transmit.epoch, transmit.seq), (0, 0));
//! assert_eq!(transmit.body, "[{\"n\":1},{\"n\":2}]");
//! assert!(machine.poll_transmit(now).is_none());
//!
//! // … and this comes back.
//! let response = request::Response {
//!     status: StatusCode::OK,
//!     headers: HeaderMap::new(),
//!     body: Bytes::new(),
//!     after_lost_response: false,
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
mod settle;
mod window;

#[cfg(test)]
mod tests;

pub use batch::BodyKind;
pub use config::{ClaimLimits, ConfigError, MAX_NUMBER, ProducerConfig};
pub use event::{Delivery, DeliveryOutcome, ProducerEvent, ProducerFailure, Undelivered, UndeliveredMessage};
pub use lookup::Lookup;
pub use machine::{AppendError, Appended, ProducerJitter, ProducerMachine, Transmit, TransmitId};
pub use response::BatchResponse;
pub use search::{MOST_READ_BACK, READ_BACK_LIMIT, Search, SearchResult, WantedBatch};
