//! A worker of one pull-wake subscription (PROTOCOL.md 7.2) as a state machine without I/O: it claims the subscription,
//! hands out its streams, acks what was handled, prolongs the lease meanwhile, and gives the claim back. Read
//! [`WorkerMachine`] first.
//!
//! # How a driver runs it
//! One thread sends the requests: it sends what [`WorkerMachine::poll_request`] gives, passes the end of the request to
//! [`WorkerMachine::handle_outcome`], and sleeps until [`WorkerMachine::poll_timeout`] or the next change. There is one
//! request at a time.
//!
//! A worker claims only if a thread is free. If threads are shared by several subscriptions, the driver decides which
//! one gets a free thread: [`WorkerMachine::poll_claim`] says when a claim is due.
//!
//! Other threads run the application's blocks. A free one takes a stream by [`WorkerMachine::poll_work`] and reads it
//! from the given offset. For each batch, it runs the block and calls [`WorkerMachine::handle_batch`], then waits until
//! [`WorkerMachine::poll_progress`] says whether to go on. If the block fails, it calls
//! [`WorkerMachine::handle_failure`].
//!
//! The events of the wake stream go to [`WorkerMachine::handle_wake`]. After every call, all threads poll again.
//!
//! # Guarantees
//! - An ack names only offsets up to which blocks have returned. So every event is handled at least once.
//! - The blocks of a stream run one after the other, in order. The next one begins only after the server has confirmed
//!   the ack of the one before. A stream whose block still runs, although its claim was lost, is not handed out again.
//! - No block begins later than the time of a lease after the last request that has prolonged it was sent. So the lease
//!   has not run out then. Acks are sent later too: only the server decides that a claim has ended.
//! - After the server has said that a claim has ended, nothing of it is acked, and no block of it begins. Blocks that
//!   run then get [`BlockProgress::Failed`].
//!
//! # What it does about failures
//! - **A lost response to a claim.** The claim may have been granted. Then the next try is refused, since the first one
//!   holds the lease. The worker waits for the wake that follows the end of that lease.
//! - **A lost response to an ack.** The ack is sent again, with the offsets that were added meanwhile. If it would have
//!   ended the claim, a refusal (FENCED) means that it has, as long as the lease cannot have run out.
//! - **A block that fails.** Its stream is finished in this claim, and not handed out again before a pause, which grows
//!   with each failure in a row. The claim is given back when the other blocks have returned, so that another worker
//!   can try. If there was nothing else to do in it, the worker waits a moment before it claims again. It does not wait
//!   for the end of the pause, because other streams may be pending: the server wakes nobody for them as long as the
//!   failing stream's wake is unclaimed.
//! - **Credentials that a claim is refused for.** If callables compute them, it is sent once more with new ones.
//! - **Wakes that are lost.** A worker that waits for a wake claims now and then without one.
//! - **An offset that the server refuses.** The stream may have been removed, or created again. A refused request acks
//!   nothing, so acks are then sent one by one. The stream whose own ack is refused has failed.
//!
//! # Long claims
//! A claim has the streams that were pending when it was made. Those that become pending later wait for the next one.
//! So a claim ends after about the time of a lease, with what was handled until then, and the worker claims again.
//! Another reason is that servers may limit the life of a claim's token. A block that runs then delays the end. Until
//! it returns, the claim's other streams are handled, and those that become pending wait.

mod claim;
mod config;
mod failures;
mod machine;
mod outcome;

#[cfg(test)]
mod tests;

pub use config::WorkerConfig;
pub use machine::{BlockProgress, Work, WorkerEvent, WorkerMachine};
