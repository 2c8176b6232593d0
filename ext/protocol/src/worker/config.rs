//! The settings of a worker.

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
