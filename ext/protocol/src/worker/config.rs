//! The settings of a worker.

use std::fmt;

use crate::retry::policy::RetryPolicy;

/// The settings of a worker.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// The name under which it claims.
    pub name: String,
    /// After which statuses and delays a request is sent again. Their number has no limit.
    pub retry: RetryPolicy,
    /// Whether callables compute header and parameter values. Then a claim that is refused with 401 or 403 is sent
    /// again once, with new values.
    pub fresh_values: bool,
}

/// The random source for delays: each call returns a number between 0 and 1.
pub struct WorkerJitter(pub Box<dyn FnMut() -> f64 + Send>);

impl WorkerJitter {
    pub(super) fn next(&mut self) -> f64 {
        (self.0)()
    }
}

impl fmt::Debug for WorkerJitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WorkerJitter")
    }
}
