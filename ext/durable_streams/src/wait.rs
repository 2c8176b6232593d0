//! The one module in which a Ruby thread or fiber waits.
//!
//! A thread waits without the GVL ([`direct`]); a non-blocking fiber waits through its Fiber scheduler ([`scheduled`]);
//! an inline job runs on the thread that waits for it ([`inline`]). No other module calls a GVL function or waits. The
//! awaited future yields plain Rust data; Ruby objects are built after the wait.
//!
//! Read [`wait`] first.

use std::future::Future;

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
mod stack;

pub(crate) use fiber::blocks_its_thread;
pub(crate) use gvl::check_interrupts;
pub(crate) use inline::{may_run_inline, start_inline};
pub(crate) use outcome::InlineOutcome;
use outcome::PolledFuture;
pub(crate) use stack::check_stack;

/// How often a thread checks for a wake-up before it sleeps, if the event usually comes within microseconds.
const SPINS: u32 = 20;

/// Waits for `future` on the calling Ruby thread or fiber.
///
/// Meanwhile other Ruby threads run, and, for a non-blocking fiber under a Fiber scheduler, other fibers of this
/// thread. If a pending interrupt raises (Thread#kill, Thread#raise, Timeout, Ctrl-C; in a fiber, Fiber#raise), the
/// future is dropped, which cancels its work, and the exception is returned as the error. An interrupt that does not
/// raise (a `trap` handler, Thread#wakeup) changes nothing. A panic in the future is an error as well.
///
/// Call it with the GVL, outside any lock that another Ruby thread or fiber may want. The future must own all that its
/// work needs: the GC may free a parked fiber with its stack, and then only the future is dropped.
pub(crate) fn wait<F: Future<Output: Send> + Send + 'static>(ruby: &Ruby, future: F) -> Result<F::Output, Error> {
    wait_spinning(ruby, future, 0)
}

/// As [`wait`], for an event that many threads wait for and that comes within microseconds. Checking for it a few times
/// is then cheaper than to sleep and be woken.
pub(crate) fn wait_soon<F: Future<Output: Send> + Send + 'static>(ruby: &Ruby, future: F) -> Result<F::Output, Error> {
    wait_spinning(ruby, future, SPINS)
}

fn wait_spinning<F: Future<Output: Send> + Send + 'static>(
    ruby: &Ruby,
    future: F,
    spins: u32,
) -> Result<F::Output, Error> {
    let polled = PolledFuture::new(future);
    #[cfg(all(unix, ruby_gte_3_1))]
    if let Some(scheduler) = scheduled::current() {
        return scheduled::wait(ruby, scheduler, polled);
    }
    direct::wait(ruby, polled, spins)
}

/// Defines the Ruby classes of this module.
pub(crate) fn init(ruby: &Ruby, native: RModule) -> Result<(), Error> {
    gvl::init(ruby);
    #[cfg(all(unix, ruby_gte_3_1))]
    scheduled::init(ruby, native)?;
    #[cfg(not(all(unix, ruby_gte_3_1)))]
    let _unused = native;
    Ok(())
}
