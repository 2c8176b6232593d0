//! Messages that did not reach their stream.

/// Messages that were accepted, did not reach their stream, and whose owner was not told so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Where they were to go.
    pub url: String,
    /// How many.
    pub count: u64,
    /// Why the producer has failed; `None` if it only ran out of time.
    pub reason: Option<String>,
}
