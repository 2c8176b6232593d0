//! Events: what requests, reads and producers did, for subscribers. Read [`Event`] and [`EventOwner`] first.
//!
//! Nothing is built or timed for an event that nobody wants ([`is_wanted`]). An event belongs to the call in which it
//! happened, and waits in that call's queue. Events without a call, and those whose call has ended, are unowned:
//! another thread delivers them.

mod event;
mod queue;

pub use event::{Event, EventDetails, EventName, ReadCount, any_wanted, is_wanted, want};
pub(crate) use queue::put;
pub use queue::{EventOwner, EventQueue, Owner, has_unowned, next_unowned, on_unowned, put_unowned};
