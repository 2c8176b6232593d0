//! Checks against serde_json, over documents made at random and cut at random.

mod documents;
mod splitter;
mod validate;
