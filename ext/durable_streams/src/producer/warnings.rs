//! Warnings of producers, for the library's log.

use durable_streams_client::producer::{has_warnings, next_warning};
use magnus::value::ReprValue;
use magnus::{Error, Module, Object, RModule, Ruby, Value, function};

/// Makes the library log the warnings of producers. May run Ruby code: do not call it while reading the bytes of a string.
#[inline]
pub(super) fn report_warnings(ruby: &Ruby) -> Result<(), Error> {
    if has_warnings() {
        let library: RModule = ruby.class_object().const_get("DurableStreams")?;
        let _nil: Value = library.funcall("report_warnings", ())?;
    }
    Ok(())
}

/// Defines the module function.
pub(super) fn init(native: RModule) -> Result<(), Error> {
    native.define_singleton_method("next_warning", function!(next_warning, 0))
}
