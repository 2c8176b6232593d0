//! Checks against serde_json, over documents made at random and cut at random.

mod documents;
mod fingerprint;
mod splitter;
mod validate;
