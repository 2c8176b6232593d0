//! The Durable Streams protocol from a client's side, as decisions: no socket, no clock, no thread and no Ruby.
//!
//! Bytes, responses and the current time go in; what to send, what to hand to the application and when to look again come
//! out. The crate `durable-streams-client` carries the decisions out over HTTP.
//!
//! - [`target`] and [`request`]: what a request to a stream consists of; [`operations`]: what each operation requests, and
//!   what the response says.
//! - [`url`]: URLs as users give them.
//! - [`meaning`]: what a response means, as an [`error`]; [`retry`]: when a request is sent again.
//! - [`append`]: which appends share a request, and who sends it.
//! - [`read`]: where a read stands and what it asks for next. [`sse`] and [`json`] decode what comes back.
//! - [`producer`]: the idempotent producer.
//! - [`protocol`]: header names, and what a content type means.

pub mod append;
pub mod error;
pub mod json;
pub mod meaning;
pub mod operations;
pub mod producer;
pub mod protocol;
pub mod read;
pub mod request;
pub mod retry;
pub mod sse;
pub mod target;
pub mod url;
