//! Reports of messages that did not reach their stream.

/// Messages that were accepted and did not reach their stream, and for which the producer's owner got no error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostMessages {
    /// The stream's URL, without credentials.
    pub url: String,
    /// How many messages.
    pub count: u64,
    /// Why the producer has failed; `None` if it only ran out of time.
    pub reason: Option<String>,
}

/// Where a producer reports what its owner may not learn otherwise.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReportSink {
    /// Gets the lost messages when the producer is dropped.
    pub(super) record_lost: fn(LostMessages),
}
