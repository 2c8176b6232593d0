//! `DurableStreams::Native::StopSignal`: ends what a consumer waits for.

use std::sync::Arc;

use durable_streams_client::close_signal::CloseSignal;
use magnus::{Error, Module, Object, RModule, Ruby, function, method};

use crate::class::define;
use crate::client::seconds;
use crate::errors::{self, guard};
use crate::wait::wait;

/// Whether a consumer is stopped. A trap handler may stop it.
#[magnus::wrap(class = "DurableStreams::Native::StopSignal", free_immediately, size)]
pub(crate) struct StopSignal(pub(crate) Arc<CloseSignal>);

impl StopSignal {
    fn new() -> Self {
        Self(Arc::default())
    }

    /// Ends all waits, now and later.
    fn stop(&self) {
        self.0.close();
    }

    /// Whether `stop` was called.
    fn is_stopped(&self) -> bool {
        self.0.is_closed()
    }

    /// `wait(seconds)`: waits so long, or until `stop` is called.
    fn wait(ruby: &Ruby, this: &Self, limit: f64) -> Result<(), Error> {
        guard(ruby, || {
            let (signal, limit) = (Arc::clone(&this.0), seconds(ruby, "seconds", limit)?);
            let waited = wait(ruby, async move { signal.closed_within(limit).await })?;
            waited.map_err(|error| errors::raise(ruby, error))
        })
    }
}

/// Defines the class.
pub(crate) fn init(ruby: &Ruby, native: RModule) -> Result<(), Error> {
    let class = define::<StopSignal>(ruby, native, "StopSignal")?;
    class.define_singleton_method("new", function!(StopSignal::new, 0))?;
    class.define_method("stop", method!(StopSignal::stop, 0))?;
    class.define_method("stopped?", method!(StopSignal::is_stopped, 0))?;
    class.define_method("wait", method!(StopSignal::wait, 1))?;
    Ok(())
}
