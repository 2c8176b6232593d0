//! The Durable Streams protocol from a client's side.
//!
//! What decides is sans-IO (state machines that take events and time); what talks is a thin driver over reqwest and
//! tokio beside it. Nothing in this crate knows that Ruby exists.

pub mod append;
pub mod cursor;
pub mod endpoint;
pub mod error;
pub mod http;
pub mod json;
pub mod lane;
pub mod lock;
pub mod operations;
pub mod payload;
pub mod process;
pub mod producer;
pub mod producing;
pub mod protocol;
pub mod reader;
pub mod retry;
pub mod sse;
pub mod task;
pub mod transport;
pub mod url;
pub mod work;

mod call;
mod gunzip;
mod outlet;
mod proxy;
mod tries;
mod upload;
