//! When the library's at_exit block has run, what is appended after that needs another one.

use std::sync::atomic::{AtomicBool, Ordering};

use magnus::value::ReprValue;
use magnus::{Error, Module, Object, RClass, RModule, Ruby, Value, function};

/// Whether the at_exit block has run and was not registered again.
static HAS_RUN: AtomicBool = AtomicBool::new(false);

/// Has what is accepted now sent at the end of the process. To be called before it is accepted.
pub(super) fn send_at_exit(ruby: &Ruby) -> Result<(), Error> {
    if HAS_RUN.load(Ordering::Relaxed) {
        register(ruby)?;
    }
    Ok(())
}

#[cold]
fn register(ruby: &Ruby) -> Result<(), Error> {
    let library: RModule = ruby.class_object().const_get("DurableStreams")?;
    let class: RClass = library.const_get("Producer")?;
    let _nil: Value = class.funcall("send_at_exit", ())?;
    // Two threads may both have come here. A block that has nothing to do harms nothing.
    HAS_RUN.store(false, Ordering::Relaxed);
    Ok(())
}

/// `Native.at_exit_has_run` -> nil.
fn at_exit_has_run() {
    HAS_RUN.store(true, Ordering::Relaxed);
}

/// Defines the module function.
pub(super) fn init(native: RModule) -> Result<(), Error> {
    native.define_singleton_method("at_exit_has_run", function!(at_exit_has_run, 0))
}
