//! Fiber guards: they own the native state of a call while its fiber is parked, or while it runs the application's
//! code.
//!
//! The GC frees a fiber that nothing refers to together with its stack, without running destructors. A request on that
//! stack would then go on for ever, and a node in a list of waiters would dangle. So a call puts such state into a Ruby
//! object that only the fiber's stack refers to. The GC frees both, and the object drops the state.

use std::any::Any;
use std::marker::PhantomData;

use durable_streams_client::fork::{ProcessBound, forked};
use durable_streams_client::lock::Mutex;
use magnus::typed_data::Obj;
use magnus::{Error, RModule, Ruby};

use crate::class::define;
use crate::errors;

/// A value that a Ruby object owns. It is bound to its process: a forked child neither reads nor drops it.
pub(crate) struct FiberGuard<T> {
    object: Obj<GuardedState>,
    value: PhantomData<T>,
}

/// The Ruby object. When the GC frees it, it drops the value, which is plain Rust data and does not touch Ruby.
#[magnus::wrap(class = "DurableStreams::Native::FiberGuard", free_immediately, size)]
struct GuardedState(ProcessBound<Mutex<Option<Box<dyn Any + Send>>>>);

impl<T: Send + 'static> FiberGuard<T> {
    /// Moves `value` into a Ruby object. The guard must remain on the stack of the call that owns the value.
    pub(crate) fn new(ruby: &Ruby, value: T) -> Self {
        let boxed: Box<dyn Any + Send> = Box::new(value);
        Self {
            object: ruby.obj_wrap(GuardedState(ProcessBound::new(Mutex::new(Some(boxed))))),
            value: PhantomData,
        }
    }

    /// Runs `body` with the value. `body` must not run Ruby code.
    ///
    /// # Errors
    /// In a forked child.
    #[cfg(all(unix, ruby_gte_3_1))]
    pub(crate) fn with<R>(&self, ruby: &Ruby, body: impl FnOnce(&mut T) -> R) -> Result<R, Error> {
        let found = self.object.0.get().and_then(|value| {
            let mut value = value.lock();
            value.as_mut()?.downcast_mut::<T>().map(body)
        });
        found.ok_or_else(|| errors::raise(ruby, forked()))
    }

    /// Takes the value back.
    ///
    /// # Errors
    /// In a forked child.
    pub(crate) fn take(self, ruby: &Ruby) -> Result<T, Error> {
        let found = self.object.0.get().and_then(|value| value.lock().take());
        let found = found.and_then(|value| value.downcast::<T>().ok());
        found.map(|value| *value).ok_or_else(|| errors::raise(ruby, forked()))
    }
}

/// Defines the class.
pub(crate) fn init(ruby: &Ruby, native: RModule) -> Result<(), Error> {
    define::<GuardedState>(ruby, native, "FiberGuard")?;
    Ok(())
}
