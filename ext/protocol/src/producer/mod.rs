//! The idempotent producer as a state machine without IO: it decides, a driver beside it talks.
//!
//! In go messages ([`Machine::append`]), requests to flush and close, and what became of each request
//! ([`Machine::handle_response`], [`Machine::handle_lost`], [`Machine::header_failed`]); out come requests to send
//! ([`Machine::poll_transmit`]), the moment to look again ([`Machine::poll_timeout`]) and what there is to tell
//! ([`Machine::poll_event`]). Time is passed in. There is no socket, no clock, no lock and no thread here.
//!
//! # How a driver runs it
//! After *every* call that takes `&mut Machine`: send all that `poll_transmit` returns, hand on all that `poll_event`
//! returns, and set one timer to `poll_timeout`; when it fires, the same round again. `append` says with
//! [`Appended::wake`] whether that round is needed, so that most appends cost no more than a copy. Every
//! [`Transmit`] ends in exactly one of `handle_response`, `handle_lost` and `header_failed`, within a time that the
//! driver bounds (a failure is told when the answers that decide what landed are in). After [`Event::Failed`] what is
//! still out is dropped. The driver's own transport repeats nothing.
//!
//! # What is promised
//! All that [`Event::Delivered`] names is in the stream once, in append order. What is not is named, message by
//! message, by [`Event::Failed`], each with an [`Outcome`]: `NotDelivered` is proven, `Unknown` means that the
//! protocol gives no way to tell. The proofs rest on three things the protocol says: a server takes the numbers of an
//! epoch in order (so an accepted number proves all lower ones, and a refused one rules out all higher ones), an
//! epoch never goes down (so nothing of an old epoch lands once a newer one was seen), and an answer speaks for its
//! request: where it is a refusal, no copy of the request was or will be taken. (Copies of requests that were accepted,
//! or not answered, do no harm. A proxy that repeats a request unseen, and passes on that the repetition was refused,
//! takes the last proof away.)
//!
//! # Cases in doubt
//! - **Fenced (403) after a lost answer.** The lost request landed before the id was taken, or it did not; asking again
//!   under the old epoch gives 403 either way. Where a higher number was accepted it landed; where a lower one was
//!   refused for good it did not; otherwise it is `Unknown`, and then nothing is sent under a new epoch: to re-send
//!   could be a duplicate, to leave it out a loss, so the producer fails with [`Failure::StaleEpoch`] although
//!   `auto_claim` is on. A claim is made only when the outcome of every request of the old epoch is known.
//! - **A claim answered as a duplicate (204).** Two claimants that pick the same epoch look like one that repeats
//!   itself. The first request of an epoch that this producer *claimed* must therefore be answered as new data; 204
//!   fails with `StaleEpoch` and its batch is `Unknown`, even after a lost answer, when it may well be its own. The
//!   same goes for a later batch of a claimed epoch that was sent once and never before, and for a `Producer-Seq`
//!   beyond what was sent. In an epoch that the owner chose, 204 is a success: replaying the same numbers is what it is
//!   for.
//! - **5xx answers** may come from a gateway after the server took the request, so they count as lost answers. 4xx
//!   answers, 429 among them, prove that the request was refused.
//! - **Fighting over an id.** Each claim that was not followed by holding the epoch for a while ([`ClaimLimits`])
//!   counts, and one too many fails with `StaleEpoch`. Every claim is told ([`Event::Claimed`]).

mod answer;
mod batch;
mod claims;
mod config;
mod event;
mod lost;
mod machine;
mod outcome;
mod settle;
mod window;

#[cfg(test)]
mod tests;

pub use answer::Answer;
pub use batch::BodyKind;
pub use config::{ClaimLimits, Config, ConfigError, MAX_NUMBER};
pub use event::{Delivery, Event, Failure, FlushId, LastTry, Outcome, Undelivered, UndeliveredMessage};
pub use lost::Lost;
pub use machine::{AppendError, Appended, Jitter, Machine, Transmit, TransmitId};
