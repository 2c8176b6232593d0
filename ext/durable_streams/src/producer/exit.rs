//! What happens to producers when the process ends.
//!
//! The library's at_exit block sends what is pending. After it has run, an append registers another one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use durable_streams_client::producer::{self, drain_all};
use magnus::value::ReprValue;
use magnus::{Error, Module, Object, RArray, RClass, RModule, Ruby, Value, function};

use crate::client::seconds;
use crate::errors::{self, guard};
use crate::library;
use crate::log::write_log;
use crate::wait::wait;

/// Whether the at_exit block has run and was not registered again.
static HAS_RUN: AtomicBool = AtomicBool::new(false);

/// Makes sure that an at_exit block will send the next message. Call it before the message is accepted.
pub(super) fn send_at_exit(ruby: &Ruby) -> Result<(), Error> {
    if HAS_RUN.load(Ordering::Relaxed) {
        register(ruby)?;
    }
    Ok(())
}

#[cold]
fn register(ruby: &Ruby) -> Result<(), Error> {
    let class: RClass = library(ruby)?.const_get("Producer")?;
    let _nil: Value = class.funcall("send_at_exit", ())?;
    // Two threads may both register a block. One with nothing to send is harmless.
    HAS_RUN.store(false, Ordering::Relaxed);
    Ok(())
}

/// `Native.at_exit_has_run` -> nil: the at_exit block has run.
fn at_exit_has_run() {
    HAS_RUN.store(true, Ordering::Relaxed);
}

/// `Native.drain_producers(limit)` -> nil, when all producers of this process have sent everything or failed, or after
/// `limit` seconds.
fn drain_producers(ruby: &Ruby, limit: f64) -> Result<(), Error> {
    guard(ruby, || {
        let limit: Duration = seconds(ruby, "limit", limit)?;
        if let Some(draining) = drain_all(limit).map_err(|error| errors::raise(ruby, error))? {
            wait(ruby, draining)?.map_err(|error| errors::raise(ruby, error))?;
        }
        write_log(ruby)
    })
}

/// `Native.lost_messages` -> `[[url, count, reason | nil], …]`: the messages that are lost if the process ends now, and
/// that no exception or callback has reported.
fn lost_messages(ruby: &Ruby) -> Result<RArray, Error> {
    guard(ruby, || {
        let lost = ruby.ary_new();
        for messages in producer::lost_messages() {
            lost.push((messages.url, messages.count, messages.reason))?;
        }
        Ok(lost)
    })
}

/// Defines the module functions.
pub(super) fn init(native: RModule) -> Result<(), Error> {
    native.define_singleton_method("drain_producers", function!(drain_producers, 1))?;
    native.define_singleton_method("lost_messages", function!(lost_messages, 0))?;
    native.define_singleton_method("at_exit_has_run", function!(at_exit_has_run, 0))
}
