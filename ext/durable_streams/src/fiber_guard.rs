//! What a call in progress owns while its fiber is parked, or runs code of the application's.
//!
//! A fiber that nobody refers to any more is freed with its stack, and nothing on that stack is dropped: neither a request,
//! which would go on for ever, nor a node in a list of waiters, which would be left dangling. What must not be lost so is
//! put into a Ruby object that only the fiber's stack refers to. The GC collects both, and the object drops what it has.

use std::any::Any;
use std::marker::PhantomData;

use durable_streams_client::fork::{ProcessBound, forked};
use durable_streams_client::lock::Mutex;
use magnus::typed_data::Obj;
use magnus::{Class, Error, Module, RModule, Ruby};

use crate::errors;

/// A value in the GC's hands. It is bound to its process: a forked child neither sees it nor drops it.
pub(crate) struct FiberGuard<T> {
    object: Obj<GuardedState>,
    value: PhantomData<T>,
}

/// The object. Freed by the GC it drops its value, which is plain Rust data and touches nothing of Ruby.
#[magnus::wrap(class = "DurableStreams::Native::FiberGuard", free_immediately, size)]
struct GuardedState(ProcessBound<Mutex<Option<Box<dyn Any + Send>>>>);

impl<T: Send + 'static> FiberGuard<T> {
    /// Hands `value` to the GC. What this returns must stay on the stack of the call that owns the value.
    pub(crate) fn new(ruby: &Ruby, value: T) -> FiberGuard<T> {
        let boxed: Box<dyn Any + Send> = Box::new(value);
        FiberGuard {
            object: ruby.obj_wrap(GuardedState(ProcessBound::new(Mutex::new(Some(boxed))))),
            value: PhantomData,
        }
    }

    /// Runs `body` with the value. It must not run Ruby code.
    ///
    /// # Errors
    /// In a forked child.
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
    let class = native.define_class("FiberGuard", ruby.class_object())?;
    class.undef_default_alloc_func();
    Ok(())
}
