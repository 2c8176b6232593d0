//! Identifies the calling thread and fiber, to detect that a call would wait for itself.

use std::sync::atomic::{AtomicU64, Ordering};

use magnus::rb_sys::FromRawValue;
use magnus::value::LazyId;
use magnus::{Error, Object, RTypedData, Ruby, Value};

use crate::wait::blocks_its_thread;

/// The hidden variable of a thread or fiber that stores its number.
static NUMBER: LazyId = LazyId::new("__durable_streams_number");

/// A thread and a fiber. Both have numbers that are never reused. Addresses would not do: the GC moves objects and
/// reuses their memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    thread: u64,
    fiber: u64,
    blocks: bool,
}

impl Caller {
    /// The caller of this function.
    ///
    /// # Errors
    /// If the thread or the fiber is frozen.
    pub(crate) fn current(ruby: &Ruby) -> Result<Self, Error> {
        Ok(Self {
            thread: number(ruby, ruby.thread_current())?,
            fiber: number(ruby, current_fiber(ruby)?)?,
            blocks: blocks_its_thread(),
        })
    }

    /// Whether `other` cannot go on while this caller waits.
    pub(crate) fn holds_up(self, other: Self) -> bool {
        self.thread == other.thread && (self.blocks || self.fiber == other.fiber)
    }
}

/// The calling fiber. magnus has a function for it from Ruby 3.1 on only.
///
/// # Errors
/// If Ruby's fibers are not the kind of object that they are in all known versions.
pub(crate) fn current_fiber(ruby: &Ruby) -> Result<RTypedData, Error> {
    // SAFETY: this thread holds the GVL, as there is a `Ruby`. The returned fiber is running, so it is not collected.
    let fiber = unsafe { Value::from_raw(rb_sys::rb_fiber_current()) };
    RTypedData::from_value(fiber).ok_or_else(|| Error::new(ruby.exception_type_error(), "unknown kind of fiber"))
}

/// Makes the variable's name: see [`class`](crate::class).
pub(crate) fn init(ruby: &Ruby) {
    LazyId::force(&NUMBER, ruby);
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
