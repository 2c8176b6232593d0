//! Who calls: a fiber of a thread.

use std::sync::atomic::{AtomicU64, Ordering};

use magnus::value::LazyId;
use magnus::{Error, Object, Ruby};

use crate::wait::blocks_its_thread;

/// The hidden variable of a thread or a fiber that holds its number.
static NUMBER: LazyId = LazyId::new("__durable_streams_number");

/// A caller. Threads and fibers are known by numbers that none had before, since the GC may move objects, and make a new
/// one where one was.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    thread: u64,
    fiber: u64,
    blocks: bool,
}

impl Caller {
    /// Whoever calls this.
    ///
    /// # Errors
    /// If the thread or the fiber is frozen.
    pub(crate) fn current(ruby: &Ruby) -> Result<Caller, Error> {
        Ok(Caller {
            thread: number(ruby, ruby.thread_current())?,
            fiber: number(ruby, ruby.fiber_current())?,
            blocks: blocks_its_thread(),
        })
    }

    /// Whether `other` cannot go on as long as this one waits.
    pub(crate) fn holds_up(self, other: Caller) -> bool {
        self.thread == other.thread && (self.blocks || self.fiber == other.fiber)
    }
}

fn number(ruby: &Ruby, of: impl Object) -> Result<u64, Error> {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let variable = LazyId::get_inner_with(&NUMBER, ruby);
    if let Some(known) = of.ivar_get(variable)? {
        return Ok(known);
    }
    let made = LAST.fetch_add(1, Ordering::Relaxed);
    of.ivar_set(variable, made)?;
    Ok(made)
}
