//! The one kind of lock that this library blocks on: a panic does not poison it, and a fork cannot break it.
//!
//! parking_lot would keep all sleepers in one table for the whole process. A forked child inherits that table with the
//! entries of threads that it does not have, and walks over them. The standard library's locks are each for themselves.

use std::sync::PoisonError;

pub use std::sync::MutexGuard;

/// A mutual exclusion. What it protects is left consistent at every point where a panic could happen.
#[derive(Debug, Default)]
pub struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    /// A lock around `value`.
    pub const fn new(value: T) -> Mutex<T> {
        Mutex(std::sync::Mutex::new(value))
    }

    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_works_after_a_panic_under_it() {
        let lock = Mutex::new(1);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _guard = lock.lock();
            panic!("on purpose");
        }));
        assert!(panicked.is_err());
        assert_eq!(*lock.lock(), 1);
    }
}
