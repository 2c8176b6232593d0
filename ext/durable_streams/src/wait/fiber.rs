//! Whether the caller is a blocking fiber.

#[cfg(all(unix, ruby_gte_3_1))]
use super::scheduled;

/// Whether the thread's other fibers cannot run while the caller waits.
pub(crate) fn blocks_its_thread() -> bool {
    #[cfg(all(unix, ruby_gte_3_1))]
    return scheduled::current().is_none();
    #[cfg(not(all(unix, ruby_gte_3_1)))]
    true
}
