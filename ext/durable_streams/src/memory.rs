//! Tells Ruby's GC of native memory that Ruby objects hold, so that it runs for that memory too.

use std::sync::atomic::{AtomicUsize, Ordering};

use magnus::Ruby;

/// What was told for one object. Dropped with the object, it takes that back.
#[derive(Debug, Default)]
pub(crate) struct ReportedMemory(AtomicUsize);

impl ReportedMemory {
    /// Tells that the object now holds so many bytes. May run the GC: with no lock held that freeing an object takes.
    pub(crate) fn set(&self, ruby: &Ruby, bytes: usize) {
        let before = self.0.swap(bytes, Ordering::Relaxed);
        // No allocation is larger than an isize.
        let change = (bytes as isize).wrapping_sub(before as isize);
        if change != 0 {
            ruby.gc_adjust_memory_usage(change);
        }
    }
}

impl Drop for ReportedMemory {
    fn drop(&mut self) {
        // Objects are freed by the GC, on Ruby threads; what is less than before never runs it.
        if let Ok(ruby) = Ruby::get() {
            self.set(&ruby, 0);
        }
    }
}
