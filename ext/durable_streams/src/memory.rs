//! Reports native memory that Ruby objects own to Ruby's GC, so that the GC runs for that memory too.

use std::sync::atomic::{AtomicUsize, Ordering};

use magnus::Ruby;

/// How many bytes were reported for one object. Dropping it, with the object, takes the report back.
#[derive(Debug, Default)]
pub(crate) struct ReportedMemory(AtomicUsize);

impl ReportedMemory {
    /// Reports that the object now owns so many bytes. This may run the GC: call it without any lock that freeing an
    /// object takes.
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
        // The GC frees objects on Ruby threads. Reporting less than before never runs the GC again.
        if let Ok(ruby) = Ruby::get() {
            self.set(&ruby, 0);
        }
    }
}
