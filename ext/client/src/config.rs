//! [`Config`]: a client's settings.

use std::path::PathBuf;
use std::time::Duration;

use durable_streams_protocol::retry::policy::RetryPolicy;

use crate::proxy::ProxySetting;
use crate::tls::Identity;

/// A client's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Limits connecting, waiting for a response, and each gap between bytes of it.
    pub timeout: Duration,
    /// Limits silence in a live read. After it the read reconnects.
    pub live_timeout: Duration,
    /// The largest message (a JSON item, the data of an SSE event) that a read accepts, in bytes.
    pub max_message_bytes: usize,
    /// When failed requests are retried.
    pub retry: RetryPolicy,
    /// Whether live reads, producers and appends with `exactly_once` retry without limit of number after their first
    /// success, because nobody has chosen a retry policy.
    pub patient: bool,
    /// A file of PEM certificates to trust in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// Origins, such as `https://node2:4437`, that redirects may take the user's headers to.
    pub trusted_origins: Vec<String>,
    /// The certificate for servers that want one. A redirect to an origin that is not trusted does not send it.
    pub identity: Option<Identity>,
    /// The proxy.
    pub proxy: ProxySetting,
    /// The value of `User-Agent`.
    pub user_agent: String,
}

#[cfg(any(test, debug_assertions))]
impl Config {
    /// Settings for tests. (The defaults for users are in Ruby.) Only in development builds.
    pub fn for_tests() -> Self {
        Self {
            timeout: Duration::from_secs(1),
            live_timeout: Duration::from_secs(1),
            max_message_bytes: usize::MAX,
            retry: RetryPolicy {
                max_retries: 5,
                initial_delay: Duration::from_millis(100),
                max_delay: Duration::from_secs(30),
                multiplier: 2.0,
                statuses: vec![429, 500, 502, 503, 504],
            },
            patient: false,
            ca_file: None,
            trusted_origins: Vec::new(),
            identity: None,
            proxy: ProxySetting::default(),
            user_agent: String::new(),
        }
    }
}
