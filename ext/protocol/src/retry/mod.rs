//! Retries of requests. [`policy`] has the user's settings and the delays between tries. [`tries`] decides whether a
//! request is sent again.
//!
//! Nothing here sleeps or reads a clock: the caller waits.

pub mod policy;
pub mod tries;
