//! Group commit of appends. While the request of one append (the leader) is out, the appends that arrive (the followers)
//! wait, and go out together with the next request. Every append has its own outcome.
//!
//! [`Batching`] says which appends take part, [`Group`] who leads and which appends share a request, [`Batch`] how often
//! that request is sent and what each append in it is told.

mod batch;
mod batching;
mod group;
mod message;
#[cfg(test)]
mod tests;

pub use batch::{Action, Batch, Caller, Follower};
pub use batching::Batching;
pub use group::{Arrival, Group, Leader, Next, Queue};
pub use message::Append;
