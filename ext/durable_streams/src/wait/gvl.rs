//! The GVL: given up while a thread waits, taken again for what its interrupts do.

use std::ffi::{c_int, c_void};
use std::time::Duration;

use magnus::Error;

use super::parker::Parker;

/// With an interrupt pending, return instead of raising; and wake the thread from signal handlers too.
const FLAGS: u32 = rb_sys::RB_NOGVL_INTR_FAIL | rb_sys::RB_NOGVL_UBF_ASYNC_SAFE;

/// Calls `run` without the GVL; `parker` is interrupted when Ruby wants the thread back. With an interrupt pending it may
/// return without having called it. `run` must not panic, and not touch Ruby.
///
/// Must be called on a Ruby thread with the GVL.
pub(super) fn without_gvl<F: FnMut()>(parker: &Parker, mut run: F) {
    unsafe extern "C" fn call<F: FnMut()>(run: *mut c_void) -> *mut c_void {
        // SAFETY: `run` is what `without_gvl` passed; that frame is suspended below this one on the same thread, so nobody
        // else uses it. By contract neither a panic nor a Ruby exception comes out of it and crosses this frame.
        unsafe { (*run.cast::<F>())() };
        std::ptr::null_mut()
    }
    extern "C" fn unblock(parker: *mut c_void) {
        // Ruby calls this from another thread or a signal handler. The latter reads function and
        // argument while the waiting thread may be changing them: so what comes here is looked up and not believed.
        if let Some(parker) = Parker::find(parker.cast()) {
            parker.interrupt();
        }
    }
    // SAFETY: called on a Ruby thread with the GVL. This form never raises, so no exception crosses Rust frames.
    unsafe {
        rb_sys::rb_nogvl(
            Some(call::<F>),
            std::ptr::from_mut(&mut run).cast(),
            Some(unblock),
            std::ptr::from_ref(parker).cast_mut().cast(),
            FLAGS as c_int,
        );
    }
}

/// Interrupts that the main thread looks for itself while it waits without the GVL, since Ruby does not always call its
/// unblock function for them.
///
/// Before Ruby 3.3 these are signals to the process. Ruby's signal handler sets the main thread's interrupt flag. It calls
/// the unblock function only if there is no other Ruby thread, and if that function is already set. Otherwise it is up to a
/// Ruby thread that polls Ruby's signal descriptor, and there need not be one. What is left is EINTR in the system call that
/// the main thread is in. It is lost if the signal comes before the system call begins, it comes before the flag is set if
/// another thread runs the handler, and tokio ignores it. So the main thread looks at the flag: before it sleeps, when it
/// wakes, and at intervals while there are other Ruby threads.
#[cfg(all(unix, not(ruby_gte_3_3)))]
pub(super) struct PolledInterrupts {
    /// The calling thread, if it is the main thread.
    main: Option<rb_sys::VALUE>,
    period: Option<Duration>,
}

#[cfg(all(unix, not(ruby_gte_3_3)))]
impl PolledInterrupts {
    /// How often the main thread looks. Ctrl-C should seem to work at once, and looking should cost next to nothing: it is
    /// 20 times a second.
    const PERIOD: Duration = Duration::from_millis(50);

    /// For the next wait of the calling thread. Must be called with the GVL.
    pub(super) fn new() -> PolledInterrupts {
        // SAFETY: on a Ruby thread with the GVL. None of the three allocates or raises.
        let (current, main, alone) = unsafe {
            (
                rb_sys::rb_thread_current(),
                rb_sys::rb_thread_main(),
                rb_sys::rb_thread_alone() != 0,
            )
        };
        let is_main = current == main;
        PolledInterrupts {
            main: is_main.then_some(main),
            period: (is_main && !alone).then_some(Self::PERIOD),
        }
    }

    /// How often to look while waiting, if at all.
    pub(super) fn period(&self) -> Option<Duration> {
        self.period
    }

    /// Whether there is an interrupt. Needs no GVL.
    pub(super) fn is_pending(&self) -> bool {
        // SAFETY: the calling thread is the one that waits, so it is alive, and Ruby marks and pins its object. The function
        // reads an integer, and may be called without the GVL, as Ruby's source says.
        self.main
            .is_some_and(|main| unsafe { rb_sys::rb_thread_interrupted(main) } != 0)
    }
}

/// Interrupts that Ruby does not call the unblock function for: there are none. Since 3.3 a native thread of Ruby's calls it
/// for signals.
#[cfg(not(all(unix, not(ruby_gte_3_3))))]
pub(super) struct PolledInterrupts;

#[cfg(not(all(unix, not(ruby_gte_3_3))))]
impl PolledInterrupts {
    /// For the next wait.
    pub(super) fn new() -> PolledInterrupts {
        PolledInterrupts
    }

    /// How often to look while waiting: there is no need to.
    pub(super) fn period(&self) -> Option<Duration> {
        None
    }

    /// Whether there is an interrupt of this kind.
    pub(super) fn is_pending(&self) -> bool {
        false
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
