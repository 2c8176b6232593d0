//! A request that ended without an answer.

/// How a request ended without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// No byte of it can have reached the server: the connection could not be made.
    NotSent,
    /// The connection broke after the request may have gone out.
    Dropped,
    /// The timeout passed after the request may have gone out.
    TimedOut,
}
