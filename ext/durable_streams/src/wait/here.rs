//! A wait that carries out its work itself, on its Ruby thread, without the GVL.

use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::result::Result as StdResult;
use std::task::{Context, Poll};

use durable_streams_client::inline::job::{Driven, Ran, Work};
use durable_streams_protocol::error::Result as CoreResult;
use magnus::{Error, Ruby};

use super::fiber::blocks_its_thread;
use super::gvl::{Unannounced, check_interrupts, without_gvl};
use super::outcome::Outcome;
use super::signal::{Lent, Signal};
use crate::errors;

/// Work that whoever waits for it carries out. It goes on only in [`Here::go_on`]; dropped before its end, it is cancelled.
pub(crate) struct Here<T> {
    work: Driven<T>,
    lent: Lent,
    bell: BorrowedFd<'static>,
}

/// What became of it.
pub(crate) enum Went<T, A> {
    /// It is done, and must not go on.
    Done(CoreResult<T>),
    /// There is something else to do first.
    Aside(A),
}

/// Lets the calling thread carry out `work`, or gives it back if that cannot be: then it is for the runtime's threads. Here
/// it saves two switches between threads.
///
/// # Errors
/// If the client is closed or the runtime cannot be started.
pub(crate) fn here<T: Send + 'static>(work: Work<T>) -> CoreResult<StdResult<Here<T>, Work<T>>> {
    let Some((lent, bell)) = place() else {
        return Ok(Err(work));
    };
    let driven = work.drive()?;
    Ok(driven.map(|work| Here { work, lent, bell }))
}

/// Whether [`here`] may let the calling thread carry out work: a non-blocking fiber may not.
pub(crate) fn may_be_here() -> bool {
    blocks_its_thread()
}

/// What the calling thread is interrupted by while it works, if it may.
fn place() -> Option<(Lent, BorrowedFd<'static>)> {
    if !may_be_here() {
        return None;
    }
    let lent = Signal::lend();
    let bell = lent.signal().bell().ok()?;
    Some((lent, bell))
}

impl<T: Send + 'static> Here<T> {
    /// Carries out the work, to its end or until `aside` is ready, and waits for it as [`super::wait`] does.
    ///
    /// Must be called with the GVL, outside any lock that another Ruby thread or fiber may want.
    pub(crate) fn go_on<A>(
        &mut self,
        ruby: &Ruby,
        mut aside: impl FnMut(&mut Context<'_>) -> Poll<A>,
    ) -> Result<Went<T, A>, Error> {
        let signal = self.lent.signal();
        loop {
            let mut ran = Outcome::Ready(Ran::Interrupted);
            let unannounced = Unannounced::new();
            let interrupted = || signal.take_interrupt() || unannounced.is_pending();
            without_gvl(signal, || {
                let run = || self.work.run(self.bell, unannounced.period(), interrupted, &mut aside);
                ran = match catch_unwind(AssertUnwindSafe(run)) {
                    Ok(ran) => Outcome::Ready(ran),
                    Err(payload) => Outcome::Panicked(errors::panic_message(payload.as_ref())),
                };
            });
            match ran.result(ruby)? {
                Ran::Done(outcome) => return Ok(Went::Done(outcome)),
                Ran::Aside(other) => return Ok(Went::Aside(other)),
                Ran::Interrupted => check_interrupts()?,
            }
        }
    }
}
