//! Inline jobs: the thread that waits for a request carries it out, on a single-threaded runtime. Read [`job::Job`]
//! first.

pub mod job;
pub(crate) mod runtime;
