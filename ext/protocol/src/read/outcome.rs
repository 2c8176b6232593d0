//! [`ReadOutcome`]: how a read's request ended. `next_try` decides what follows.

use std::time::Duration;

use super::cursor::Stall;
use crate::error::Error;

/// A live request that lasted at least this long, and then did not fail, resets the count of failures. So does an SSE
/// connection that was lost after this time.
pub(super) const MIN_STABLE_REQUEST: Duration = Duration::from_secs(5);

/// How a request ended, and so when the next one goes out.
///
/// The count of failures is reset by `ReadMachine::succeeded`, usually while the response arrives, and by one of these
/// variants as it says. Otherwise none changes it but those that count a failure.
pub(super) enum ReadOutcome {
    /// An SSE connection ended in an orderly way, which was a success: send the next request after this pause.
    Ended(Duration),
    /// The response is complete. [`Stall`] says whether responses still make progress, which was a success, or whether
    /// this counts as a failure.
    Complete(Stall),
    /// Retry at once. No failure: resets the count after a live request that lasted for [`MIN_STABLE_REQUEST`].
    RetryNow,
    /// Retry by the policy, but not before the server's `Retry-After`. Counts as a failure, however long the request
    /// lasted.
    Retry(Error, Option<Duration>),
    /// The read fails: a retry cannot help.
    Fatal(Error),
}
