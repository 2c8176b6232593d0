//! Group commit of appends. While the request of one append (the leader) is in flight, later appends (the followers)
//! wait. The next request has all of them. Every append has its own outcome.
//!
//! [`Group`] decides who leads. `sharing` decides which appends share a request. [`AppendBatch`] decides when that
//! request is sent, and which outcome each append has. `once` has the producer ids under which the appends are stored
//! once, if the handle has `exactly_once`. A producer's batches are in [`producer`](crate::producer).

mod batch;
mod group;
mod late;
mod message;
mod once;
mod sharing;
#[cfg(test)]
mod tests;

pub use batch::{AppendAction, AppendBatch, Caller, Follower};
pub use group::{Arrival, Group, Leader, LeaderAction, Queue};
pub use message::Append;
pub use sharing::Batching;
