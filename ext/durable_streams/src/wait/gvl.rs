//! The GVL: given up while a thread waits, taken again for what its interrupts do.

use std::ffi::{c_int, c_void};

use magnus::Error;

use super::signal::Signal;

/// With an interrupt pending, return instead of raising; and wake the thread from signal handlers too.
const FLAGS: u32 = rb_sys::RB_NOGVL_INTR_FAIL | rb_sys::RB_NOGVL_UBF_ASYNC_SAFE;

/// Calls `run` without the GVL; `signal` is interrupted when Ruby wants the thread back. With an interrupt pending it may
/// return without having called it. `run` must not panic, and not touch Ruby.
///
/// Must be called on a Ruby thread with the GVL.
pub(super) fn without_gvl<F: FnMut()>(signal: &Signal, mut run: F) {
    unsafe extern "C" fn call<F: FnMut()>(run: *mut c_void) -> *mut c_void {
        // SAFETY: `run` is what `without_gvl` passed; that frame is suspended below this one on the same thread, so nobody
        // else uses it. By contract neither a panic nor a Ruby exception comes out of it and crosses this frame.
        unsafe { (*run.cast::<F>())() };
        std::ptr::null_mut()
    }
    extern "C" fn unblock(signal: *mut c_void) {
        // Ruby calls this from another thread or a signal handler. The latter reads function and
        // argument while the waiting thread may be changing them: so what comes here is looked up and not believed.
        if let Some(signal) = Signal::find(signal.cast()) {
            signal.interrupt();
        }
    }
    // SAFETY: called on a Ruby thread with the GVL. This form never raises, so no exception crosses Rust frames.
    unsafe {
        rb_sys::rb_nogvl(
            Some(call::<F>),
            std::ptr::from_mut(&mut run).cast(),
            Some(unblock),
            std::ptr::from_ref(signal).cast_mut().cast(),
            FLAGS as c_int,
        );
    }
}

/// Runs what is pending for this thread, handlers of traps included; an exception they raise is the error.
pub(super) fn check_interrupts() -> Result<(), Error> {
    magnus::rb_sys::protect(|| {
        // SAFETY: on a Ruby thread that holds the GVL. It may raise; `protect` stops the exception, which crosses
        // this closure only, and that owns nothing.
        unsafe { rb_sys::rb_thread_check_ints() };
        rb_sys::Qnil as rb_sys::VALUE
    })
    .map(|_| ())
}
