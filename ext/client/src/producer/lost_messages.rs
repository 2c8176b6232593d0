//! Messages that did not reach their stream.

/// Messages that were accepted, did not reach their stream, and whose owner was not told so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostMessages {
    /// Where they were to go.
    pub url: String,
    /// How many.
    pub count: u64,
    /// Why the producer has failed; `None` if it only ran out of time.
    pub reason: Option<String>,
}

/// Where a producer puts what its owner may not come to know otherwise.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReportSink {
    /// Gets what is lost when nobody holds the producer any more.
    pub(super) record_lost: fn(LostMessages),
    /// Gets a line for the log.
    pub(super) warn: fn(String),
}
