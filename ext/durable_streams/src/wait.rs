//! The one door through which a Ruby thread or fiber waits.
//!
//! A thread waits without the GVL ([`direct`]); a non-blocking fiber waits through its Fiber scheduler ([`scheduled`]).
//! No other place in this crate calls a GVL function or waits. What is waited for is a future over plain Rust data; Ruby
//! objects are built after the wait.

use std::future::Future;
use std::pin::pin;

use magnus::{Error, RModule, Ruby};

mod direct;
mod fiber;
mod gvl;
#[cfg_attr(not(unix), path = "wait/unsupported.rs")]
mod inline;
#[cfg(unix)]
mod notifier;
mod outcome;
mod parker;
#[cfg(all(unix, ruby_gte_3_1))]
mod scheduled;

pub(crate) use fiber::blocks_its_thread;
pub(crate) use inline::{InlineOutcome, may_run_inline, start_inline};

/// How often a thread spins for what comes soon before it sleeps.
const SPINS: u32 = 20;

/// Waits for `future` on the calling Ruby thread or fiber.
///
/// Meanwhile other Ruby threads run; in a non-blocking fiber under a Fiber scheduler, other fibers of this thread as
/// well. If a pending interrupt (Thread#kill, Thread#raise, Timeout, Ctrl-C; in a fiber, what is raised into it) raises,
/// the future is dropped, which cancels the work behind it, and the exception is the error; an interrupt that does not
/// raise (a `trap` handler, Thread#wakeup) changes nothing. A panic in the future is an error as well.
///
/// Must be called with the GVL, outside any lock that another Ruby thread or fiber may want. All that the work needs is
/// in the future: a parked fiber may be collected with its stack, and then the future alone is dropped.
pub(crate) fn wait<F: Future + Send + 'static>(ruby: &Ruby, future: F) -> Result<F::Output, Error> {
    wait_spinning(ruby, future, 0)
}

/// As [`wait`], for what many threads wait for and what comes within microseconds: there it costs less to look for it now
/// and then than to go to sleep and be woken.
pub(crate) fn wait_soon<F: Future + Send + 'static>(ruby: &Ruby, future: F) -> Result<F::Output, Error> {
    wait_spinning(ruby, future, SPINS)
}

fn wait_spinning<F: Future + Send + 'static>(ruby: &Ruby, future: F, spins: u32) -> Result<F::Output, Error> {
    #[cfg(all(unix, ruby_gte_3_1))]
    if let Some(scheduler) = scheduled::current() {
        return scheduled::wait(ruby, scheduler, future);
    }
    direct::wait(ruby, pin!(future), spins)
}

/// Defines what waiting needs.
pub(crate) fn init(ruby: &Ruby, native: RModule) -> Result<(), Error> {
    #[cfg(all(unix, ruby_gte_3_1))]
    scheduled::init(ruby, native)?;
    #[cfg(not(all(unix, ruby_gte_3_1)))]
    let _unused = (ruby, native);
    Ok(())
}
