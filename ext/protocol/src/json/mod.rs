//! JSON as bytes: is it valid, and where do its items end. No tree is ever built here: turning text into objects is the
//! business of whoever has objects (the Ruby extension).
//!
//! * [`validate`]: is this exactly one JSON value?
//! * [`Splitter`]: a response's JSON array, cut into blocks of complete items while it arrives.
//! * [`Fingerprinter`]: are two values the same, however they are written?
//! * [`scan`]: the byte-level searches both are made of.

mod array;
mod block;
mod fingerprint;
mod pending;
pub mod scan;
mod sequence;
mod splitter;
mod validate;

pub use block::{Block, JsonForm, Limits, SplitError, SplitReason};
pub use fingerprint::{Fingerprint, Fingerprinter, NotJson, Numbers};
pub use splitter::Splitter;
pub use validate::{InvalidJson, validate};

#[cfg(test)]
mod tests;
