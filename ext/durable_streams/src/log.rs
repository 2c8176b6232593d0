//! Writes the lines of the runtime's threads ([`durable_streams_client::log`]) to the library's log.

use std::future::Future;

use durable_streams_client::log::{self, Severity};
use magnus::value::ReprValue;
use magnus::{Error, Object, RArray, RModule, Ruby, Value, function};

use crate::library;
use crate::wait::wait;

/// Writes the lines that wait for it. May run Ruby code: do not call it while reading the bytes of a string.
///
/// # Errors
/// An interrupt. What the application's logger raises is rescued in Ruby.
#[inline]
pub(crate) fn write_log(ruby: &Ruby) -> Result<(), Error> {
    if log::has_lines() {
        let _nil: Value = library(ruby)?.funcall("write_log", ())?;
    }
    Ok(())
}

/// Like [`wait`], for a wait that may last as long as an outage. Writes lines that are added meanwhile.
pub(crate) fn wait_and_log<F: Future<Output: Send> + Send + 'static>(
    ruby: &Ruby,
    future: F,
) -> Result<F::Output, Error> {
    let mut future = Box::pin(future);
    loop {
        write_log(ruby)?;
        // In a trap handler, where loggers cannot lock, the lines wait for another call.
        if log::has_lines() {
            return wait(ruby, future);
        }
        match wait(ruby, log::unless_line_added(future))? {
            Ok(outcome) => return Ok(outcome),
            Err(unfinished) => future = unfinished,
        }
    }
}

/// `Native.next_log_line` -> `[severity, text]`, such as `[:warn, "…"]`, or nil.
fn next_log_line(ruby: &Ruby) -> Result<Option<RArray>, Error> {
    let Some(line) = log::next_line() else { return Ok(None) };
    let severity = match line.severity {
        Severity::Info => "info",
        Severity::Warn => "warn",
    };
    let array = ruby.ary_new_capa(2);
    array.push(ruby.to_symbol(severity))?;
    array.push(ruby.str_new(&line.text))?;
    Ok(Some(array))
}

/// Defines the module function.
pub(crate) fn init(native: RModule) -> Result<(), Error> {
    native.define_singleton_method("next_log_line", function!(next_log_line, 0))
}
