//! A Durable Streams client: HTTP and concurrency around the decisions of `durable-streams-protocol`. Nothing here knows
//! that Ruby exists.
//!
//! - [`endpoint`]: a stream's URL, and the client and application behind it; [`connections`]: a client and its pools.
//! - [`requests`], [`append`], [`reader`], [`producer`]: the operations.
//! - [`inline`]: requests that their waiter carries out; [`runtime`]: the threads that carry out all others.
//! - [`fork`], [`lock`]: living in a process that forks.
//! - [`transport`]: an application that answers requests in the network's stead.

pub mod append;
pub mod connections;
pub mod endpoint;
mod exchange;
pub mod fork;
pub mod inline;
pub mod lock;
pub mod producer;
mod proxy;
pub mod reader;
pub mod requests;
pub mod runtime;
pub mod transport;

pub use durable_streams_protocol as protocol;
