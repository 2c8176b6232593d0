//! Compares the results with serde_json's, for random documents cut at random.

mod documents;
mod fingerprint;
mod splitter;
mod validate;
