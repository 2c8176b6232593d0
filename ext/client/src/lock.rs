//! The mutex of this library: a panic does not poison it, and a fork does not break it.
//!
//! It is not parking_lot's, which has one table of sleeping threads for the process. A forked child inherits that table
//! with the entries of threads that do not exist in it, and follows them. The standard library's locks share nothing.

use std::sync::PoisonError;

pub use std::sync::MutexGuard;

/// A mutex. Code that has the lock must leave the value consistent at every point that may panic.
#[derive(Debug, Default)]
pub struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    /// Makes a mutex around `value`.
    pub const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    /// Waits for the lock and takes it.
    #[inline(always)]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_after_a_panic_with_the_lock() {
        let lock = Mutex::new(1);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _guard = lock.lock();
            panic!("on purpose");
        }));
        assert!(panicked.is_err());
        assert_eq!(*lock.lock(), 1);
    }
}
