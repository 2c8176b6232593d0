//! What kind of fiber the caller is.

#[cfg(all(unix, ruby_gte_3_1))]
use super::scheduled;

/// Whether the caller's waits keep its thread's other fibers from going on.
pub(crate) fn blocks_its_thread() -> bool {
    #[cfg(all(unix, ruby_gte_3_1))]
    return scheduled::current().is_none();
    #[cfg(not(all(unix, ruby_gte_3_1)))]
    true
}
