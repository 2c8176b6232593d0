//! Subscriptions (PROTOCOL.md 6 and 7): durable cursors on the server that wake workers when streams have new messages.
//! Here are the requests, and what their responses mean.
//!
//! Every request may be sent again after a lost response:
//!
//! - To create, to find and to delete a subscription, and to add and remove streams, is idempotent.
//! - A claim whose response was lost may have been granted. Then a second one is refused, since the first one holds the
//!   lease. Nothing is lost by that: without the token nobody could have used the first one, and its lease runs out.
//! - An ack names offsets, so a second one changes nothing. One that ends the claim may be refused the second time,
//!   because the first one has ended it. The same holds for a release.
//! - A copy that arrives late, in a later generation, is refused (FENCED).

pub(crate) mod operation;
mod requests;
mod responses;

#[cfg(test)]
mod tests;

pub use operation::SubscriptionOperation;
pub use requests::{
    Lease, NewSubscription, StreamAck, WakeDelivery, ack, add_streams, callback, claim, create, delete, find, release,
    remove_stream, signing_keys,
};
pub use responses::{Claim, ClaimedStream, acked, claimed, created, deleted, done, found, keys, released};
