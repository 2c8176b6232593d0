//! A wait that blocks its Ruby thread, without the GVL.

use std::ffi::{c_int, c_void};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Waker;

use magnus::{Error, Ruby};

use super::signal::{Cause, Signal};
use super::{Outcome, poll};

/// With an interrupt pending, return instead of raising; and wake the thread from signal handlers too.
const FLAGS: u32 = rb_sys::RB_NOGVL_INTR_FAIL | rb_sys::RB_NOGVL_UBF_ASYNC_SAFE;

/// Waits; see [`super::wait`].
pub(super) fn wait<F: Future>(ruby: &Ruby, future: Pin<&mut F>) -> Result<F::Output, Error> {
    let lent = Signal::lend();
    let waker = Waker::from(Arc::clone(lent.signal()));
    let mut waiting = Waiting {
        future,
        signal: lent.signal(),
        waker: &waker,
        outcome: None,
    };
    // What is there already is taken without giving up the GVL.
    waiting.poll();
    loop {
        if let Some(outcome) = waiting.outcome.take() {
            return outcome.result(ruby);
        }
        waiting.without_gvl();
        if waiting.outcome.is_none() {
            check_interrupts()?;
        }
    }
}

/// Runs what is pending for this thread, handlers of traps included; an exception they raise is the error.
fn check_interrupts() -> Result<(), Error> {
    magnus::rb_sys::protect(|| {
        // SAFETY: on a Ruby thread that holds the GVL. It may raise; `protect` stops the exception, which crosses
        // this closure only, and that owns nothing.
        unsafe { rb_sys::rb_thread_check_ints() };
        rb_sys::Qnil as rb_sys::VALUE
    })
    .map(|_| ())
}

/// A wait in progress. It lives on the waiting thread's stack.
struct Waiting<'a, F: Future> {
    future: Pin<&'a mut F>,
    signal: &'a Signal,
    waker: &'a Waker,
    outcome: Option<Outcome<F::Output>>,
}

impl<F: Future> Waiting<'_, F> {
    fn poll(&mut self) {
        self.outcome = poll(self.future.as_mut(), self.waker);
    }

    /// Sleeps and polls until there is an outcome or an interrupt. Runs without the GVL.
    fn run(&mut self) {
        while self.outcome.is_none() {
            match self.signal.sleep() {
                Cause::Woken => self.poll(),
                Cause::Interrupted => return,
            }
        }
    }

    fn without_gvl(&mut self) {
        unsafe extern "C" fn run<F: Future>(waiting: *mut c_void) -> *mut c_void {
            // SAFETY: `waiting` is the `Waiting` that `without_gvl` passed; that frame is suspended below this one on
            // the same thread, so nobody else uses it. Neither a panic (caught in `poll`) nor a Ruby exception (no
            // Ruby is touched) crosses this frame.
            unsafe { (*waiting.cast::<Waiting<'_, F>>()).run() };
            std::ptr::null_mut()
        }
        extern "C" fn unblock(signal: *mut c_void) {
            // Ruby calls this from another thread or a signal handler. The latter reads function and
            // argument while the waiting thread may be changing them: so what comes here is looked up and not believed.
            if let Some(signal) = Signal::find(signal.cast()) {
                signal.interrupt();
            }
        }
        // SAFETY: called on a Ruby thread with the GVL. This form never raises, so no exception crosses Rust frames. It may
        // return without having called `run`: then there is no outcome, and the caller checks interrupts and comes again.
        unsafe {
            rb_sys::rb_nogvl(
                Some(run::<F>),
                std::ptr::from_mut(self).cast(),
                Some(unblock),
                std::ptr::from_ref(self.signal).cast_mut().cast(),
                FLAGS as c_int,
            );
        }
    }
}
