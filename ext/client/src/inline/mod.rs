//! Inline requests: the thread that waits for a request carries it out, on a runtime of its own without threads.

pub mod job;
pub(crate) mod runtime;
