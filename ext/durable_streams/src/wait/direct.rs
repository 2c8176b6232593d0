//! A wait that blocks its Ruby thread, without the GVL.

use std::ffi::c_void;
use std::future::Future;
use std::pin::Pin;
// Not parking_lot: its sleepers are entries of one table for the whole process, which a forked child inherits with the
// sleepers of threads that it does not have. These locks are each for themselves.
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

use magnus::{Error, Ruby};

use super::{Outcome, poll};

/// Waits; see [`super::wait`].
pub(super) fn wait<F: Future>(ruby: &Ruby, future: Pin<&mut F>) -> Result<F::Output, Error> {
    let signal = Arc::new(Signal::default());
    let waker = Waker::from(Arc::clone(&signal));
    let mut waiting = Waiting {
        future,
        signal: &signal,
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

/// Lets an awaited event and an interrupt wake the waiting thread. It is bound to no thread, since a Ruby thread may
/// move between native ones.
#[derive(Default)]
struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    woken: bool,
    interrupted: bool,
}

enum Cause {
    Woken,
    Interrupted,
}

impl Signal {
    /// Nothing panics under this lock; and if it did, two flags cannot be left half changed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sleep(&self) -> Cause {
        let mut state = self.state();
        loop {
            if std::mem::take(&mut state.woken) {
                return Cause::Woken;
            }
            if std::mem::take(&mut state.interrupted) {
                return Cause::Interrupted;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn interrupt(&self) {
        self.state().interrupted = true;
        self.changed.notify_one();
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.state().woken = true;
        self.changed.notify_one();
    }
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
        unsafe extern "C" fn unblock(signal: *mut c_void) {
            // SAFETY: Ruby calls this from another thread, only while the waiting thread is inside the call below,
            // whose frame keeps the signal alive. It takes a lock that is never held for long and cannot panic.
            unsafe { (*signal.cast::<Signal>()).interrupt() };
        }
        // SAFETY: called on a Ruby thread with the GVL. This form never raises, so no exception crosses Rust frames. It may
        // return without having called `run`: then there is no outcome, and the caller checks interrupts and comes again.
        unsafe {
            rb_sys::rb_thread_call_without_gvl2(
                Some(run::<F>),
                std::ptr::from_mut(self).cast(),
                Some(unblock),
                std::ptr::from_ref(self.signal).cast_mut().cast(),
            );
        }
    }
}
