//! A wait that blocks its Ruby thread, without the GVL.

use std::ffi::c_void;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
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

/// Lets an awaited event and an interrupt wake the waiting thread.
///
/// A word to sleep on (a futex), and nothing else: no lock, so that `interrupt` may run in a signal handler and a forked
/// child inherits nothing that is held; no thread's name, since a Ruby thread may move between native ones.
#[derive(Default)]
struct Signal(AtomicU32);

/// The awaited event may have happened.
const WOKEN: u32 = 1;
/// Ruby wants the thread back.
const INTERRUPTED: u32 = 2;

impl Signal {
    /// Sleeps until there is a reason not to; gives what has come together since the last time.
    fn sleep(&self) -> u32 {
        loop {
            let reasons = self.0.swap(0, Ordering::Acquire);
            if reasons != 0 {
                return reasons;
            }
            atomic_wait::wait(&self.0, 0);
        }
    }

    fn raise(&self, reason: u32) {
        self.0.fetch_or(reason, Ordering::Release);
        atomic_wait::wake_one(&self.0);
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.raise(WOKEN);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.raise(WOKEN);
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
            let reasons = self.signal.sleep();
            if reasons & WOKEN != 0 {
                self.poll();
            }
            if reasons & INTERRUPTED != 0 {
                return;
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
            // SAFETY: Ruby calls this from another thread or from a signal handler, only while the waiting thread is
            // inside the call below, whose frame keeps the signal alive. An atomic and a system call: safe in a signal
            // handler, and nothing that panics.
            unsafe { (*signal.cast::<Signal>()).raise(INTERRUPTED) };
        }
        const FLAGS: u32 = rb_sys::RB_NOGVL_INTR_FAIL | rb_sys::RB_NOGVL_UBF_ASYNC_SAFE;
        // SAFETY: called on a Ruby thread with the GVL. With these flags the call does not raise, so no exception crosses
        // Rust frames: INTR_FAIL leaves interrupts to the caller (and may return without having called `run`: then there
        // is no outcome, and the caller checks interrupts and comes again). Without UBF_ASYNC_SAFE, Ruby before 3.3 starts
        // a thread for every such call of a process with one thread, and joins it, which is slow and does raise.
        unsafe {
            rb_sys::rb_nogvl(
                Some(run::<F>),
                std::ptr::from_mut(self).cast(),
                Some(unblock),
                std::ptr::from_ref(self.signal).cast_mut().cast(),
                FLAGS as _,
            );
        }
    }
}
