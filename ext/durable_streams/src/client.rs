//! `DurableStreams::Native::Client`: what a client's requests share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use durable_streams_client::connections::{Client as CoreClient, Config, Identity};
use durable_streams_protocol::retry::Policy;
use magnus::{Error, Module, Object, RModule, Ruby, function, method};

use crate::errors;

/// How requests introduce themselves.
const USER_AGENT: &str = concat!("durable_streams-ruby/", env!("CARGO_PKG_VERSION"));

/// The longest duration that is passed on: more is as good as for ever, and cannot overflow a clock.
const LONGEST: Duration = Duration::from_secs(60 * 60 * 24 * 365);

/// Connection settings and the identity under which each process keeps the connections.
#[magnus::wrap(class = "DurableStreams::Native::Client", free_immediately, size)]
pub(crate) struct Client(pub(crate) Arc<CoreClient>);

/// A retry policy as Ruby passes it: `[max_retries, initial_delay, max_delay, multiplier, statuses]`, seconds.
pub(crate) type RetryArray = (u32, f64, f64, f64, Vec<u16>);

impl Client {
    /// `Native::Client.new(timeout, live_timeout, max_message_bytes, retry_policy, ca_file, identity)`: seconds, seconds,
    /// bytes, an array (see `RetryArray`), a path or nil, the paths of a certificate and its key or nil.
    fn new(
        ruby: &Ruby,
        timeout: f64,
        live_timeout: f64,
        max_message_bytes: usize,
        retry: RetryArray,
        ca_file: Option<PathBuf>,
        identity: Option<(PathBuf, PathBuf)>,
    ) -> Result<Client, Error> {
        let retry = policy(ruby, retry)?;
        let timeout = seconds(ruby, "timeout", timeout)?;
        let live_timeout = seconds(ruby, "live_timeout", live_timeout)?;
        Ok(Client(CoreClient::new(Config {
            timeout,
            live_timeout,
            max_message_bytes,
            retry,
            ca_file,
            identity: identity.map(|(certificate, key)| Identity { certificate, key }),
            user_agent: USER_AGENT.to_owned(),
        })))
    }

    /// Drops idle connections and refuses further requests.
    fn close(&self) {
        self.0.close();
    }

    /// Whether it was closed.
    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// A retry policy that Ruby gave.
pub(crate) fn policy(ruby: &Ruby, retry: RetryArray) -> Result<Policy, Error> {
    let (max_retries, initial_delay, max_delay, multiplier, statuses) = retry;
    Ok(Policy {
        max_retries,
        initial_delay: seconds(ruby, "initial_delay", initial_delay)?,
        max_delay: seconds(ruby, "max_delay", max_delay)?,
        multiplier,
        statuses,
    })
}

/// A duration that Ruby gave in seconds.
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
    let class = native.define_class("Client", ruby.class_object())?;
    class.define_singleton_method("new", function!(Client::new, 6))?;
    class.define_method("close", method!(Client::close, 0))?;
    class.define_method("closed?", method!(Client::is_closed, 0))?;
    Ok(())
}
