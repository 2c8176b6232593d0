//! Appends that share requests: which may, and which do.

mod batching;

pub use batching::Batching;
