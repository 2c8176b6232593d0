//! JSON as bytes: whether it is valid, and where its items end. This module builds no tree; the Ruby extension builds
//! objects from the text.
//!
//! * [`validate()`] checks that a text is exactly one JSON value.
//! * [`Splitter`] splits a response's JSON into blocks of complete items while it arrives.
//! * [`Fingerprinter`] compares values independently of how they are written.
//! * [`scan`] has the byte searches that these use.

mod array;
mod block;
mod fingerprint;
mod pending;
pub mod scan;
mod sequence;
mod simd;
mod splitter;
mod validate;

pub use block::{Block, JsonForm, SplitError, SplitReason};
pub use fingerprint::{Fingerprint, Fingerprinter, NotJson, Numbers};
pub use splitter::Splitter;
pub use validate::{InvalidJson, validate};

#[cfg(test)]
mod tests;
