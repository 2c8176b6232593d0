//! `fork`: what tells a forked child that it is one, and values that belong to one process.
//!
//! The child finds none of its parent's runtime, connections or producers, and makes its own on first use. The parent's are
//! leaked there on purpose: dropping them would join threads that do not exist, and touch sockets that are the parent's.
//! `pthread_atfork` tells the child, so that this holds for every way to fork, Ruby's or C's.

use std::convert::Infallible;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::{Arc, Once};

use durable_streams_protocol::error::{Error, Kind};

static GENERATION: AtomicU64 = AtomicU64::new(0);
static AT_FORK: Once = Once::new();

/// A number that differs between a process and its forked children.
pub fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

/// Has the system tell every forked child that it is one. Best called before the process has threads; starts nothing.
pub fn watch_forks() {
    AT_FORK.call_once(|| {
        #[cfg(unix)]
        // SAFETY: registers a handler that does nothing but add to an atomic, which is safe in a forked child of a
        // process with threads. The library is never unloaded, so the handler stays callable.
        unsafe {
            libc::pthread_atfork(None, None, Some(in_child));
        }
    });
}

#[cfg(unix)]
extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// What becomes, in a forked child, of work that its parent started.
pub fn forked() -> Error {
    let reason = "the process forked while this was under way".to_owned();
    Error::plain(Kind::Connection, reason)
}

/// A value that is of use only in the process that made it. In a forked child it is neither seen nor dropped.
pub struct ProcessBound<T> {
    generation: u64,
    value: ManuallyDrop<T>,
}

impl<T> ProcessBound<T> {
    /// Binds `value` to this process.
    pub fn new(value: T) -> Self {
        ProcessBound {
            generation: generation(),
            value: ManuallyDrop::new(value),
        }
    }

    /// The value, in the process that made it.
    pub fn get(&self) -> Option<&T> {
        (self.generation == generation()).then_some(&*self.value)
    }

    /// The value, in the process that made it.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        (self.generation == generation()).then_some(&mut *self.value)
    }
}

impl<T> Drop for ProcessBound<T> {
    fn drop(&mut self) {
        if self.generation == generation() {
            // SAFETY: dropped once, here, and not used after.
            unsafe { ManuallyDrop::drop(&mut self.value) }
        }
    }
}

/// A shared value that each process makes for itself when it first needs it. A forked child leaks its parent's.
pub struct ProcessLocal<T> {
    current: AtomicPtr<(u64, Arc<T>)>,
}

impl<T> Default for ProcessLocal<T> {
    fn default() -> Self {
        ProcessLocal::new()
    }
}

impl<T> ProcessLocal<T> {
    /// Nothing yet.
    pub const fn new() -> Self {
        ProcessLocal {
            current: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    /// This process's value, if there is one. Makes nothing.
    pub fn get(&self) -> Option<Arc<T>> {
        let found = self.current.load(Ordering::Acquire);
        // SAFETY: a pointer in `current` is null or a leaked box that is freed in `drop` alone, which has `&mut self`.
        match unsafe { found.as_ref() } {
            Some((generation, value)) if *generation == self::generation() => Some(Arc::clone(value)),
            _ => None,
        }
    }

    /// This process's value, made by `make` if there is none yet.
    pub fn get_or_make(&self, make: impl FnOnce() -> T) -> Arc<T> {
        match self.get_or_try_make(|| Ok::<T, Infallible>(make())) {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }

    /// This process's value, made by `make` if there is none yet.
    ///
    /// # Errors
    /// What `make` says. The next call tries again.
    pub fn get_or_try_make<E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<Arc<T>, E> {
        let found = self.current.load(Ordering::Acquire);
        if let Some(value) = self.get() {
            return Ok(value);
        }
        let made = Box::into_raw(Box::new((generation(), Arc::new(make()?))));
        let current = match self
            .current
            .compare_exchange(found, made, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) => made,
            Err(winner) => {
                // SAFETY: `made` lost the race and was never shared.
                drop(unsafe { Box::from_raw(made) });
                winner
            }
        };
        // SAFETY: as in `get`; whatever was swapped in or won the race is not null.
        Ok(Arc::clone(unsafe { &(*current).1 }))
    }
}

impl<T> Drop for ProcessLocal<T> {
    fn drop(&mut self) {
        let current = *self.current.get_mut();
        // SAFETY: nobody else can reach the pointer any more; a foreign process's value is left alone.
        unsafe {
            if current
                .as_ref()
                .is_some_and(|(generation, _)| *generation == self::generation())
            {
                drop(Box::from_raw(current));
            }
        }
    }
}

#[cfg(all(test, unix))]
mod tests;
