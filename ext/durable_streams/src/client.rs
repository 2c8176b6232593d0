//! `DurableStreams::Native::Client`: the settings and connection pools that a client's requests share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use durable_streams_client::connections::{Client as CoreClient, Config, Identity};
use durable_streams_client::proxy::ProxySetting;
use durable_streams_protocol::retry::policy::RetryPolicy;
use magnus::{Error, Module, Object, RModule, Ruby, Symbol, TryConvert, Value, function, method};

use crate::class::define;
use crate::errors;
use crate::options::options;

/// The `User-Agent` header of all requests.
const USER_AGENT: &str = concat!("durable_streams-ruby/", env!("CARGO_PKG_VERSION"));

/// The longest duration that is passed on. It is as good as unlimited, and cannot overflow a clock.
const LONGEST: Duration = Duration::from_secs(60 * 60 * 24 * 365);

/// The options of a client, and the identity under which each process stores its connection pools.
#[magnus::wrap(class = "DurableStreams::Native::Client", free_immediately, size)]
pub(crate) struct Client(pub(crate) Arc<CoreClient>);

options! {
    /// A retry policy. Delays are in seconds.
    pub(crate) struct RetryPolicyOptions {
        max_retries: u32,
        initial_delay: f64,
        max_delay: f64,
        multiplier: f64,
        retryable_statuses: Vec<u16>,
    }
}

options! {
    /// A client's options. Timeouts are in seconds.
    pub(crate) struct ClientOptions {
        timeout: f64,
        live_timeout: f64,
        max_message_bytes: usize,
        retry_policy: RetryPolicyOptions,
        /// Whether nobody has chosen the retry policy.
        patient: bool,
        ca_file: Option<PathBuf>,
        /// Origins as `Native.origin` writes them.
        trusted_origins: Vec<String>,
        /// The proxy's URL, or `:environment`. nil: none.
        proxy: Option<Value>,
        /// The paths of a certificate and its key.
        identity: Option<(PathBuf, PathBuf)>,
    }
}

impl Client {
    /// `Native::Client.new(**options)`: see [`ClientOptions`].
    fn new(ruby: &Ruby, options: ClientOptions) -> Result<Self, Error> {
        Ok(Self(CoreClient::new(Config {
            timeout: seconds(ruby, "timeout", options.timeout)?,
            live_timeout: seconds(ruby, "live_timeout", options.live_timeout)?,
            max_message_bytes: options.max_message_bytes,
            retry: policy(ruby, options.retry_policy)?,
            patient: options.patient,
            ca_file: options.ca_file,
            trusted_origins: options.trusted_origins,
            identity: options.identity.map(|(certificate, key)| Identity { certificate, key }),
            proxy: proxy(ruby, options.proxy)?,
            user_agent: USER_AGENT.to_owned(),
        })))
    }

    /// Drops idle connections and refuses further requests.
    fn close(&self) {
        self.0.close();
    }

    /// Whether `close` was called.
    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// Converts the setting of a proxy. Raises `ArgumentError` if it cannot be used.
fn proxy(ruby: &Ruby, setting: Option<Value>) -> Result<ProxySetting, Error> {
    let Some(setting) = setting else {
        return Ok(ProxySetting::Direct);
    };
    if Symbol::from_value(setting).is_some() {
        return Ok(ProxySetting::Environment);
    }
    ProxySetting::through(&String::try_convert(setting)?)
        .map_err(|reason| errors::argument(ruby, format!("proxy cannot be used: {reason}")))
}

/// Converts a retry policy.
pub(crate) fn policy(ruby: &Ruby, given: RetryPolicyOptions) -> Result<RetryPolicy, Error> {
    Ok(RetryPolicy {
        max_retries: given.max_retries,
        initial_delay: seconds(ruby, "initial_delay", given.initial_delay)?,
        max_delay: seconds(ruby, "max_delay", given.max_delay)?,
        multiplier: given.multiplier,
        statuses: given.retryable_statuses,
    })
}

/// Converts a number of seconds. Raises `ArgumentError`, which names the option, if it is negative or not a number.
pub(crate) fn seconds(ruby: &Ruby, name: &str, value: f64) -> Result<Duration, Error> {
    if value.is_nan() || value < 0.0 {
        return Err(errors::argument(
            ruby,
            format!("{name} must be a number of seconds, 0 or more, got {value}"),
        ));
    }
    Ok(Duration::try_from_secs_f64(value).unwrap_or(LONGEST).min(LONGEST))
}

/// Defines the class.
pub(crate) fn init(ruby: &Ruby, native: RModule) -> Result<(), Error> {
    let class = define::<Client>(ruby, native, "Client")?;
    class.define_singleton_method("new", function!(Client::new, 1))?;
    class.define_method("close", method!(Client::close, 0))?;
    class.define_method("closed?", method!(Client::is_closed, 0))?;
    Ok(())
}
