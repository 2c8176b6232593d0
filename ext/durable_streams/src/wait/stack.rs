//! Whether the calling thread or fiber has enough stack left.
//!
//! When a stack overflows, Ruby raises SystemStackError from a signal handler. The jump skips whatever native code has
//! to put in order: locks stay locked, and a thread that had released the GVL runs Ruby code without it. So what needs
//! much stack is refused, or done elsewhere, before the stack is used up.

use std::hint::black_box;
use std::mem::MaybeUninit;

use magnus::{Error, Ruby};

use super::fiber::blocks_its_thread;

/// Bytes that a request needs whose connections are on the process's runtime. Without optimization frames are larger.
const REQUEST: usize = if cfg!(debug_assertions) { 192 } else { 96 } * 1024;
/// Bytes that an inline job needs: 230 KB if it opens a connection with TLS.
#[cfg(unix)]
const INLINE_JOB: usize = if cfg!(debug_assertions) { 640 } else { 256 } * 1024;

/// With less of its stack in use (bytes), a caller has room: Ruby's stacks have 512 KB or more, unless their size was
/// set. To look ahead every time takes 3 % of a small read's processor time, and 1 % of an append's.
const SHALLOW: usize = if cfg!(debug_assertions) { 0 } else { 64 * 1024 };

/// Call it before a request is started on the process's runtime, and before anything is locked for that.
///
/// # Errors
/// SystemStackError.
pub(crate) fn check_stack(ruby: &Ruby) -> Result<(), Error> {
    // Not in non-blocking fibers: there may be thousands, and checking takes the memory for their stacks.
    if is_shallow() || !blocks_its_thread() || has_room(REQUEST) {
        return Ok(());
    }
    Err(Error::new(ruby.exception_sys_stack_error(), "stack level too deep"))
}

/// Whether an inline job can run here.
#[cfg(unix)]
pub(super) fn has_room_for_inline_job() -> bool {
    is_shallow() || has_room(INLINE_JOB)
}

fn is_shallow() -> bool {
    // SAFETY: as in `has_room`.
    let words = unsafe { rb_sys::ruby_stack_length(std::ptr::null_mut()) };
    (words as usize) < SHALLOW / size_of::<rb_sys::VALUE>()
}

/// Whether there are so many bytes, and the 16 KB that Ruby reserves. Looks ahead in steps that are smaller than those.
#[inline(never)]
fn has_room(bytes: usize) -> bool {
    const STEP: usize = 8 * 1024;
    let step = [MaybeUninit::<u8>::uninit(); STEP];
    // SAFETY: on a Ruby thread with the GVL. It compares this frame's address with the end of the stack; it neither
    // allocates nor raises.
    let is_here = unsafe { rb_sys::ruby_stack_check() } == 0;
    let has_room = is_here && (bytes <= STEP || has_room(bytes - STEP));
    // Prevents a tail call, which would leave this frame before the next one is entered.
    black_box(&step);
    has_room
}
