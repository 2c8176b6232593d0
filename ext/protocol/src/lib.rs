//! The client side of the Durable Streams protocol as state machines: no socket, no clock, no thread and no Ruby.
//!
//! Bytes, responses and the current time go in. Requests to send, data for the application and deadlines come out. The
//! crate `durable-streams-client` sends the requests over HTTP.
//!
//! - [`target`] and [`request`]: the parts of a request. [`operations`]: the request of each operation, and what its
//!   response says.
//! - [`url`]: parses and joins the URLs that users pass.
//! - [`redirect`]: which redirects a request follows. [`redirected`]: where they led it.
//! - [`meaning`]: maps a response to an [`error`]. [`advice`]: what to do about it. [`retry`]: decides whether a
//!   request is sent again.
//! - [`append`]: which appends share a request, and which caller sends it.
//! - [`read`]: the position of a reader, and its next request. [`sse`] and [`json`] decode the responses.
//! - [`producer`]: the idempotent producer.
//! - [`subscriptions`]: the requests of subscriptions, and what their responses say.
//! - [`worker`]: a worker of a subscription. [`webhook`]: the signatures of webhooks.
//! - [`protocol`]: header names and content types.

pub mod advice;
pub mod append;
pub mod error;
mod error_body;
pub mod json;
pub mod meaning;
pub mod operations;
pub mod producer;
pub mod protocol;
pub mod read;
pub mod redirect;
pub mod redirected;
pub mod request;
pub mod retry;
pub mod sse;
pub mod subscriptions;
pub mod target;
pub mod url;
pub mod webhook;
pub mod worker;
