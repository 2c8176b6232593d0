//! Waiting for an inline job: the waiting Ruby thread runs the job itself, on an inline runtime, without the GVL.

use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::result::Result as StdResult;
use std::task::{Context, Poll};

use durable_streams_client::inline::job::{AnyJob, InlineJob, RunOutcome};
use durable_streams_client::runtime::panic_message;
use durable_streams_protocol::error::Result as CoreResult;
use magnus::{Error, Ruby};

use super::fiber::blocks_its_thread;
use super::gvl::{PolledInterrupts, check_interrupts, has_interrupts, without_gvl};
use super::outcome::{InlineOutcome, Outcome};
use super::parker::{Parker, PooledParker};
use super::stack::has_room_for_inline_job;

/// An inline job that the calling thread runs. It moves only inside [`InlineWait::run`]. Dropping it cancels it.
pub(crate) struct InlineWait {
    job: InlineJob,
    pooled: PooledParker,
    notifier: BorrowedFd<'static>,
}

/// Prepares `job` to run on the calling thread, which saves two thread switches. Returns the job if it cannot run
/// inline; then the runtime's threads have to run it.
///
/// # Errors
/// If the client is closed or the runtime cannot be started.
pub(crate) fn start_inline(job: AnyJob) -> CoreResult<StdResult<InlineWait, AnyJob>> {
    let Some((pooled, notifier)) = acquire_parker() else {
        return Ok(Err(job));
    };
    let inline = job.into_inline()?;
    Ok(inline.map(|job| InlineWait { job, pooled, notifier }))
}

/// Whether the calling fiber may run jobs inline: a non-blocking fiber may not, since it would block its thread.
pub(crate) fn may_run_inline() -> bool {
    blocks_its_thread()
}

/// The parker that interrupts the calling thread while it runs the job, and its descriptor; `None` if it may not run
/// one.
fn acquire_parker() -> Option<(PooledParker, BorrowedFd<'static>)> {
    if !may_run_inline() || !has_room_for_inline_job() {
        return None;
    }
    let pooled = Parker::acquire();
    let notifier = pooled.parker().notifier().ok()?;
    Some((pooled, notifier))
}

impl InlineWait {
    /// Runs the job until it ends or `other` is ready. Interrupts are handled as in [`super::wait`].
    ///
    /// Call it with the GVL, outside any lock that another Ruby thread or fiber may want.
    pub(crate) fn run<A>(
        &mut self,
        ruby: &Ruby,
        mut other: impl FnMut(&mut Context<'_>) -> Poll<A>,
    ) -> Result<InlineOutcome<A>, Error> {
        let parker = self.pooled.parker();
        loop {
            if has_interrupts(ruby)? {
                // A trap handler may append to the same stream, and wait for that. Without one, other threads must
                // not take this job for paused: with `exactly_once`, their request would overlap with it.
                self.job.pause();
                check_interrupts()?;
            }
            let mut ran = Outcome::Ready(RunOutcome::Interrupted);
            let polled = PolledInterrupts::new();
            let interrupted = || parker.take_interrupt() || polled.is_pending();
            without_gvl(parker, || {
                let run = || self.job.run(self.notifier, polled.period(), interrupted, &mut other);
                ran = match catch_unwind(AssertUnwindSafe(run)) {
                    Ok(ran) => Outcome::Ready(ran),
                    Err(payload) => Outcome::Panicked(panic_message(payload.as_ref()).to_owned()),
                };
            });
            match ran.result(ruby)? {
                RunOutcome::Done(outcome) => return Ok(InlineOutcome::Done(outcome)),
                RunOutcome::Other(other) => return Ok(InlineOutcome::Other(other)),
                RunOutcome::Interrupted => {}
            }
        }
    }
}
