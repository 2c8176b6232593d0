//! What is known of an operation after some tries, and of a try that failed.

use std::time::Duration;

/// The tries of an operation up to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TriesSoFar {
    /// The number of tries, with the current one.
    pub attempts: u32,
    /// The time since the first try began.
    pub elapsed: Duration,
    /// Whether the operation may have changed the stream without the caller's knowledge: it writes, and one of its
    /// tries ended without a response or with one that does not say what the server did (a 5xx).
    pub in_doubt: bool,
}

impl TriesSoFar {
    /// The same tries, in doubt if they were before or if `doubt` is true.
    #[must_use]
    pub fn in_doubt_if(self, doubt: bool) -> Self {
        Self {
            in_doubt: self.in_doubt || doubt,
            ..self
        }
    }
}

/// A try that has failed and is followed by another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedTry {
    /// Its number. The first try is 1.
    pub attempt: u32,
    /// The pause before the next one.
    pub delay: Duration,
    /// What happened.
    pub reason: String,
}

impl Default for TriesSoFar {
    /// One try, without doubt.
    fn default() -> Self {
        Self {
            attempts: 1,
            elapsed: Duration::ZERO,
            in_doubt: false,
        }
    }
}
