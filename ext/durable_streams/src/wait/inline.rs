//! A wait that carries out its work itself, on its Ruby thread, without the GVL.

use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::result::Result as StdResult;
use std::task::{Context, Poll};

use durable_streams_client::inline::job::{InlineJob, Job, RunOutcome};
use durable_streams_protocol::error::Result as CoreResult;
use magnus::{Error, Ruby};

use super::fiber::blocks_its_thread;
use super::gvl::{PolledInterrupts, check_interrupts, without_gvl};
use super::outcome::Outcome;
use super::parker::{Parker, PooledParker};
use crate::errors;

/// Work that whoever waits for it carries out. It goes on only in [`InlineWait::run`]; dropped before its end, it is cancelled.
pub(crate) struct InlineWait<T> {
    work: InlineJob<T>,
    pooled: PooledParker,
    notifier: BorrowedFd<'static>,
}

/// What became of it.
pub(crate) enum InlineOutcome<T, A> {
    /// It is done, and must not go on.
    Done(CoreResult<T>),
    /// There is something else to do first.
    Other(A),
}

/// Lets the calling thread carry out `work`, or gives it back if that cannot be: then it is for the runtime's threads. Inline
/// it saves two switches between threads.
///
/// # Errors
/// If the client is closed or the runtime cannot be started.
pub(crate) fn start_inline<T: Send + 'static>(work: Job<T>) -> CoreResult<StdResult<InlineWait<T>, Job<T>>> {
    let Some((pooled, notifier)) = acquire_parker() else {
        return Ok(Err(work));
    };
    let driven = work.into_inline()?;
    Ok(driven.map(|work| InlineWait { work, pooled, notifier }))
}

/// Whether [`start_inline`] may let the calling thread carry out work: a non-blocking fiber may not.
pub(crate) fn may_run_inline() -> bool {
    blocks_its_thread()
}

/// What the calling thread is interrupted by while it works, if it may.
fn acquire_parker() -> Option<(PooledParker, BorrowedFd<'static>)> {
    if !may_run_inline() {
        return None;
    }
    let pooled = Parker::acquire();
    let notifier = pooled.parker().notifier().ok()?;
    Some((pooled, notifier))
}

impl<T: Send + 'static> InlineWait<T> {
    /// Carries out the work, to its end or until `other` is ready, and waits for it as [`super::wait`] does.
    ///
    /// Must be called with the GVL, outside any lock that another Ruby thread or fiber may want.
    pub(crate) fn run<A>(
        &mut self,
        ruby: &Ruby,
        mut other: impl FnMut(&mut Context<'_>) -> Poll<A>,
    ) -> Result<InlineOutcome<T, A>, Error> {
        let parker = self.pooled.parker();
        loop {
            let mut ran = Outcome::Ready(RunOutcome::Interrupted);
            let polled = PolledInterrupts::new();
            let interrupted = || parker.take_interrupt() || polled.is_pending();
            without_gvl(parker, || {
                let run = || self.work.run(self.notifier, polled.period(), interrupted, &mut other);
                ran = match catch_unwind(AssertUnwindSafe(run)) {
                    Ok(ran) => Outcome::Ready(ran),
                    Err(payload) => Outcome::Panicked(errors::panic_message(payload.as_ref())),
                };
            });
            match ran.result(ruby)? {
                RunOutcome::Done(outcome) => return Ok(InlineOutcome::Done(outcome)),
                RunOutcome::Other(other) => return Ok(InlineOutcome::Other(other)),
                RunOutcome::Interrupted => check_interrupts()?,
            }
        }
    }
}
