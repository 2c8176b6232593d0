//! The one door through which a Ruby thread waits.
//!
//! It releases the GVL, can be interrupted, and blocks in no other way: no other place in this crate calls a GVL
//! function or waits. What is waited for is a future over plain Rust data; Ruby objects are built after the wait.

use std::ffi::c_void;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use magnus::{Error, Ruby};
use parking_lot::{Condvar, Mutex};

use crate::errors;

/// Waits for `future` on the calling Ruby thread.
///
/// Meanwhile other Ruby threads run. If a pending interrupt (Thread#kill, Thread#raise, Timeout, Ctrl-C) raises, the
/// future is dropped, which cancels the work behind it, and the exception is the error; an interrupt that does not
/// raise (a `trap` handler, Thread#wakeup) changes nothing. A panic in the future is an error as well.
///
/// Must be called with the GVL, outside any lock that another Ruby thread may want.
pub(crate) fn wait<F: Future>(ruby: &Ruby, future: F) -> Result<F::Output, Error> {
    let mut future = pin!(future);
    let signal = Arc::new(Signal::default());
    let waker = Waker::from(Arc::clone(&signal));
    let mut waiting = Waiting {
        future: future.as_mut(),
        signal: &signal,
        waker: &waker,
        outcome: None,
    };
    // What is there already is taken without giving up the GVL.
    waiting.poll();
    loop {
        match waiting.outcome.take() {
            Some(Outcome::Ready(output)) => return Ok(output),
            Some(Outcome::Panicked(message)) => return Err(errors::internal(ruby, &message)),
            None => {}
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
    fn sleep(&self) -> Cause {
        let mut state = self.state.lock();
        loop {
            if std::mem::take(&mut state.woken) {
                return Cause::Woken;
            }
            if std::mem::take(&mut state.interrupted) {
                return Cause::Interrupted;
            }
            self.changed.wait(&mut state);
        }
    }

    fn interrupt(&self) {
        self.state.lock().interrupted = true;
        self.changed.notify_one();
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.state.lock().woken = true;
        self.changed.notify_one();
    }
}

enum Outcome<T> {
    Ready(T),
    Panicked(String),
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
        let mut context = Context::from_waker(self.waker);
        let polled = catch_unwind(AssertUnwindSafe(|| self.future.as_mut().poll(&mut context)));
        self.outcome = match polled {
            Ok(Poll::Ready(output)) => Some(Outcome::Ready(output)),
            Ok(Poll::Pending) => None,
            Err(payload) => Some(Outcome::Panicked(errors::panic_message(payload.as_ref()))),
        };
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
