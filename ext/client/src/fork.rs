//! Detects forks, and has values that belong to one process: [`ProcessLocal`] and [`ProcessBound`].
//!
//! A forked child never uses its parent's runtime, connections or producers; it makes its own on first use. The
//! parent's are leaked in the child on purpose: dropping them would join threads that do not exist there, and use the
//! parent's sockets. `pthread_atfork` detects every fork, whether Ruby or C calls it.

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

/// Starts to detect forks. Call it before the process has threads. Starts no thread.
pub fn watch_forks() {
    AT_FORK.call_once(|| {
        #[cfg(unix)]
        // SAFETY: the handler only adds to an atomic, which is safe in a forked child of a process with threads. The
        // library is never unloaded, so the handler remains callable.
        unsafe {
            libc::pthread_atfork(None, None, Some(in_child));
        }
    });
}

#[cfg(unix)]
extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// The error, in a forked child, of an operation that its parent started.
pub fn forked() -> Error {
    let reason = "the process forked during this operation, which belongs to the parent process".to_owned();
    Error::plain(Kind::Connection, reason)
}

/// A value for the process that made it alone. A forked child can neither read nor drop it.
pub struct ProcessBound<T> {
    generation: u64,
    value: ManuallyDrop<T>,
}

impl<T> ProcessBound<T> {
    /// Binds `value` to this process.
    pub fn new(value: T) -> Self {
        Self {
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
#[derive(Debug)]
pub struct ProcessLocal<T> {
    current: AtomicPtr<(u64, Arc<T>)>,
}

impl<T> Default for ProcessLocal<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> ProcessLocal<T> {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self {
            current: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    /// This process's value, if there is one. Makes nothing.
    pub fn get(&self) -> Option<Arc<T>> {
        let found = self.current.load(Ordering::Acquire);
        // SAFETY: a pointer in `current` is null, or a leaked box that only `drop` frees, which has `&mut self`.
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
    /// The error of `make`. The next call tries again.
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
                // SAFETY: `made` was not stored, so no other thread has the pointer.
                drop(unsafe { Box::from_raw(made) });
                winner
            }
        };
        // SAFETY: as in `get`. `current` is `made` or a pointer that another thread has stored, so it is not null.
        Ok(Arc::clone(unsafe { &(*current).1 }))
    }
}

impl<T> Drop for ProcessLocal<T> {
    fn drop(&mut self) {
        let current = *self.current.get_mut();
        // SAFETY: `&mut self`, so no other thread has the pointer. The box is valid as in `get`; one that another
        // process made is not freed.
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
