//! Group commit of appends. While the request of one append (the leader) is out, the appends that arrive (the followers)
//! wait, and go out together with the next request. Every append has its own outcome.
//!
//! `sharing` says which appends share a request, [`Group`] who leads, [`AppendBatch`] how often
//! that request is sent and what each append in it is told.

mod batch;
mod group;
mod message;
mod sharing;
#[cfg(test)]
mod tests;

pub use batch::{AppendAction, AppendBatch, Caller, Follower};
pub use group::{Arrival, Group, Leader, LeaderAction, Queue};
pub use message::Append;
pub use sharing::Batching;
