//! Releasing the GVL while a thread waits, and running its pending interrupts with the GVL.

use std::ffi::{c_int, c_void};
use std::time::Duration;

use magnus::rb_sys::AsRawValue;
use magnus::value::{LazyId, ReprValue};
use magnus::{Error, Ruby};

use super::parker::Parker;

/// With an interrupt pending, return instead of raising. And call the unblock function from signal handlers too.
const FLAGS: u32 = rb_sys::RB_NOGVL_INTR_FAIL | rb_sys::RB_NOGVL_UBF_ASYNC_SAFE;

/// Calls `run` without the GVL. Ruby interrupts `parker` when it wants the thread to return. If an interrupt is
/// pending, `run` may not be called at all. `run` must not panic and not touch Ruby.
///
/// Must be called on a Ruby thread with the GVL.
pub(super) fn without_gvl<F: FnMut()>(parker: &Parker, mut run: F) {
    unsafe extern "C" fn call<F: FnMut()>(run: *mut c_void) -> *mut c_void {
        // SAFETY: `run` is what `without_gvl` passed; that frame is suspended below this one on the same thread, so
        // nothing else uses it. By contract neither a panic nor a Ruby exception comes out of it and crosses this
        // frame.
        unsafe { (*run.cast::<F>())() };
        std::ptr::null_mut()
    }
    extern "C" fn unblock(parker: *mut c_void) {
        // Ruby calls this from another thread or a signal handler. A signal handler reads function and argument while
        // the waiting thread may be changing them. So the address may be wrong and is looked up.
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

/// Interrupts that the main thread has to check for while it waits without the GVL, because Ruby does not always call
/// the unblock function for them.
///
/// Before Ruby 3.3 these are signals to the process. Ruby's signal handler sets the main thread's interrupt flag. It
/// calls the unblock function only if there is no other Ruby thread and that function is already set. Otherwise a Ruby
/// thread that polls Ruby's signal descriptor has to do it, and there may be none. The only other sign is EINTR in the
/// main thread's system call, which is not enough: there is none if the signal comes before the call begins, it may
/// come before another thread's handler has set the flag, and tokio ignores it. So the main thread checks the flag:
/// before it sleeps, when it wakes, and at intervals while there are other Ruby threads.
///
/// Since 3.3 a native thread of Ruby's calls the unblock function for signals: there is nothing to check.
pub(super) struct PolledInterrupts {
    /// The calling thread, if it is the main thread.
    #[cfg(all(unix, not(ruby_gte_3_3)))]
    main: Option<rb_sys::VALUE>,
    period: Option<Duration>,
}

#[cfg(all(unix, not(ruby_gte_3_3)))]
impl PolledInterrupts {
    /// How often the main thread checks. Ctrl-C should seem to work at once, and checking should cost next to nothing:
    /// 20 times a second.
    const PERIOD: Duration = Duration::from_millis(50);

    /// For the next wait of the calling thread. Must be called with the GVL.
    pub(super) fn new() -> Self {
        // SAFETY: on a Ruby thread with the GVL. None of the three allocates or raises.
        let (current, main, alone) = unsafe {
            (
                rb_sys::rb_thread_current(),
                rb_sys::rb_thread_main(),
                rb_sys::rb_thread_alone() != 0,
            )
        };
        let is_main = current == main;
        Self {
            main: is_main.then_some(main),
            period: (is_main && !alone).then_some(Self::PERIOD),
        }
    }

    /// Whether there is an interrupt. Does not need the GVL.
    pub(super) fn is_pending(&self) -> bool {
        // SAFETY: the calling thread is the one that waits, so it is alive, and Ruby marks and pins its object. The
        // function reads an integer, and may be called without the GVL, as Ruby's source says.
        self.main
            .is_some_and(|main| unsafe { rb_sys::rb_thread_interrupted(main) } != 0)
    }
}

#[cfg(not(all(unix, not(ruby_gte_3_3))))]
impl PolledInterrupts {
    /// For the next wait.
    pub(super) fn new() -> Self {
        Self { period: None }
    }

    /// Whether there is an interrupt: Ruby announces all of them.
    pub(super) fn is_pending(&self) -> bool {
        false
    }
}

impl PolledInterrupts {
    /// How often to check during the wait, if at all.
    pub(super) fn period(&self) -> Option<Duration> {
        self.period
    }
}

/// The method that says whether a thread has interrupts that are deferred.
static PENDING: LazyId = LazyId::new("pending_interrupt?");

/// Makes the method's name: see [`class`](crate::class).
pub(super) fn init(ruby: &Ruby) {
    LazyId::force(&PENDING, ruby);
}

/// Whether this thread has interrupts for [`check_interrupts`]: trap handlers, or exceptions, deferred ones too. The
/// mere request to switch threads, which is frequent, is none.
///
/// # Errors
/// What a TracePoint raises, for instance.
pub(super) fn has_interrupts(ruby: &Ruby) -> Result<bool, Error> {
    let thread = ruby.thread_current();
    // SAFETY: on a Ruby thread with the GVL, about itself. It neither allocates nor raises.
    let interrupted = unsafe { rb_sys::rb_thread_interrupted(thread.as_raw()) } != 0;
    if interrupted {
        return Ok(true);
    }
    // Ruby counts a deferred exception in this method only.
    thread.funcall(LazyId::get_inner_with(&PENDING, ruby), ())
}

/// Runs the pending interrupts of this thread, `trap` handlers included. An exception that they raise is the error.
///
/// Call it before each [`without_gvl`], as Ruby's own methods do before they block. A mask
/// (`Thread.handle_interrupt(... => :on_blocking)`) may have deferred an interrupt until now. Ruby has looked at it once,
/// and does not end `without_gvl` for it.
pub(crate) fn check_interrupts() -> Result<(), Error> {
    magnus::rb_sys::protect(|| {
        // SAFETY: on a Ruby thread that holds the GVL. It may raise; `protect` stops the exception, which crosses
        // this closure only, and that owns nothing.
        unsafe { rb_sys::rb_thread_check_ints() };
        rb_sys::Qnil as rb_sys::VALUE
    })
    .map(|_| ())
}
