//! Jobs: requests that have not started. A job runs on the runtime's threads ([`AnyJob::spawn`]), or inline, on the
//! thread that waits for it (`AnyJob::into_inline`).

use std::any::Any;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use durable_streams_protocol::error::{Error, Kind, Operation, Result};
use futures_util::{FutureExt, TryFutureExt};

use crate::connections::Pool;
use crate::endpoint::Endpoint;
use crate::runtime::{Task, TaskFuture};

/// Whether the thread that runs an inline job pauses or resumes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PauseEvent {
    /// The thread does something else. The job makes no progress meanwhile.
    Paused,
    /// The thread runs the job again.
    Resumed,
}

type PauseHook = Box<dyn Fn(PauseEvent) + Send>;

/// What a job results in, of any type.
pub type AnyResult = Box<dyn Any + Send>;

/// A job with a result of any type, so that what runs jobs is compiled once instead of for every type.
pub struct AnyJob {
    endpoint: Arc<Endpoint>,
    operation: Operation,
    begin: Box<dyn FnOnce(Pool) -> TaskFuture<Result<AnyResult>> + Send>,
    pause_hook: Option<PauseHook>,
}

impl AnyJob {
    pub(crate) fn new<F: Future<Output = Result<AnyResult>> + Send + 'static>(
        endpoint: &Arc<Endpoint>,
        operation: Operation,
        begin: impl FnOnce(Pool) -> F + Send + 'static,
    ) -> Self {
        Self {
            endpoint: Arc::clone(endpoint),
            operation,
            begin: Box::new(move |pool| Box::pin(begin(pool))),
            pause_hook: None,
        }
    }

    /// The same job, whose results are of this type.
    pub(crate) fn of<T>(self) -> Job<T> {
        Job {
            job: self,
            result: PhantomData,
        }
    }

    /// Starts the job on the runtime's threads.
    ///
    /// # Errors
    /// If the client is closed or the runtime cannot be started.
    pub fn spawn(self) -> Result<Task<AnyResult>> {
        let pool = self.endpoint.pool(self.operation)?;
        let counted = self.endpoint.client().job();
        let job = (self.begin)(pool);
        Task::spawn(async move {
            let _counted = counted;
            job.await
        })
    }
}

/// A request that has not started, and what its response means. If it is dropped, the request is never sent.
pub struct Job<T> {
    job: AnyJob,
    result: PhantomData<fn() -> T>,
}

impl<T: Send + 'static> Job<T> {
    pub(crate) fn new<F: Future<Output = Result<T>> + Send + 'static>(
        endpoint: &Arc<Endpoint>,
        operation: Operation,
        begin: impl FnOnce(Pool) -> F + Send + 'static,
    ) -> Self {
        let begin = move |pool| begin(pool).map_ok(|result| Box::new(result) as AnyResult);
        AnyJob::new(endpoint, operation, begin).of()
    }

    /// Has `pause_hook` called when the thread that runs the job inline pauses or resumes it.
    pub(crate) fn on_pause(mut self, pause_hook: impl Fn(PauseEvent) + Send + 'static) -> Self {
        self.job.pause_hook = Some(Box::new(pause_hook));
        self
    }

    /// The same job, with [`Job::result`] for its outcome.
    pub fn into_any(self) -> AnyJob {
        self.job
    }

    /// The outcome of such a job.
    ///
    /// # Errors
    /// Those of the job.
    pub fn result(outcome: Result<AnyResult>) -> Result<T> {
        let other = |_| Error::plain(Kind::Internal, "internal error: another job's result".to_owned());
        outcome.and_then(|result| result.downcast().map(|result| *result).map_err(other))
    }

    /// As [`AnyJob::spawn`].
    ///
    /// # Errors
    /// As [`AnyJob::spawn`].
    pub fn spawn(self) -> Result<impl Future<Output = Result<T>> + Send + use<T>> {
        Ok(self.job.spawn()?.map(Self::result))
    }
}

#[cfg(debug_assertions)]
impl<T: Send + 'static> Job<T> {
    /// A job that panics, for tests of what happens then. Only in development builds.
    pub fn panicking(endpoint: &Arc<Endpoint>, message: &'static str) -> Self {
        Self::new(endpoint, Operation::Head, move |_| async move { panic!("{message}") })
    }
}

#[cfg(unix)]
pub use inline_job::{InlineJob, RunOutcome};

#[cfg(unix)]
mod inline_job {
    use std::future::{Future, poll_fn};
    use std::os::fd::{AsRawFd, BorrowedFd};
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;
    use tokio::time::{Instant, Sleep, sleep};

    use std::time::Duration;

    use super::{AnyJob, AnyResult, Error, Kind, PauseEvent, PauseHook, Result, TaskFuture};
    use crate::fork::{ProcessBound, forked};
    use crate::inline::runtime::{InlineRuntime, Notifier, existing_inline_runtimes, inline_runtimes};

    /// A job that the thread that waits for it carries out. It makes progress only in [`InlineJob::run`]. If it is
    /// dropped before its end, its request is cancelled and its connection is closed.
    pub struct InlineJob(ProcessBound<Box<StartedJob>>);

    struct StartedJob {
        /// `None` only while it is being dropped.
        inline_runtime: Option<InlineRuntime>,
        future: TaskFuture<Result<AnyResult>>,
        pause_hook: Option<PauseHook>,
        paused: bool,
        done: bool,
    }

    /// Why [`InlineJob::run`] has returned.
    pub enum RunOutcome<A> {
        /// The job is done. `run` must not be called again.
        Done(Result<AnyResult>),
        /// `poll_other` was ready first. Call `run` again to go on.
        Other(A),
        /// The thread was interrupted. Call `run` again to go on.
        Interrupted,
    }

    impl AnyJob {
        /// Makes this an inline job, or gives it back if all inline runtimes are in use, or if it should share a
        /// connection with other requests. Then use [`AnyJob::spawn`].
        ///
        /// # Errors
        /// If the client is closed or the runtime cannot be started.
        pub fn into_inline(self) -> Result<std::result::Result<InlineJob, Self>> {
            let runtimes = inline_runtimes();
            let client = self.endpoint.client();
            let can_share = client.multiplexes();
            if can_share && client.has_jobs() {
                return Ok(Err(self));
            }
            let Some(mut inline_runtime) = runtimes.take(can_share) else {
                return Ok(Err(self));
            };
            match self.endpoint.pool_in(&mut inline_runtime.pools, self.operation) {
                Ok(pool) => Ok(Ok(InlineJob(ProcessBound::new(Box::new(StartedJob {
                    inline_runtime: Some(inline_runtime),
                    future: (self.begin)(pool),
                    pause_hook: self.pause_hook,
                    paused: false,
                    done: false,
                }))))),
                Err(error) => {
                    runtimes.give_back(inline_runtime, true);
                    Err(error)
                }
            }
        }
    }

    impl InlineJob {
        /// Call it before the thread runs the application's code, if [`InlineJob::run`] has not run yet. That code may
        /// wait for something that waits for this job.
        pub fn pause(&mut self) {
            if let Some(started) = self.0.get_mut() {
                started.set_paused(true);
            }
        }

        /// Runs the job on the calling thread until it is done, `poll_other` is ready or `interrupted` returns true.
        /// Calls `interrupted` at the beginning, when `notifier` becomes readable, and once in every `period` if there
        /// is one.
        pub fn run<A>(
            &mut self,
            notifier: BorrowedFd<'static>,
            period: Option<Duration>,
            interrupted: impl Fn() -> bool,
            poll_other: impl FnMut(&mut Context<'_>) -> Poll<A>,
        ) -> RunOutcome<A> {
            match self.0.get_mut() {
                None => RunOutcome::Done(Err(forked())),
                Some(started) => started.run(notifier, period, &interrupted, poll_other),
            }
        }
    }

    impl StartedJob {
        fn run<A>(
            &mut self,
            notifier: BorrowedFd<'static>,
            period: Option<Duration>,
            interrupted: &impl Fn() -> bool,
            mut poll_other: impl FnMut(&mut Context<'_>) -> Poll<A>,
        ) -> RunOutcome<A> {
            self.set_paused(false);
            let Some(InlineRuntime {
                runtime,
                notifier: known,
                next_check,
                ..
            }) = &mut self.inline_runtime
            else {
                return RunOutcome::Done(Err(forked()));
            };
            let future = &mut self.future;
            let outcome = runtime.block_on(async {
                let notifier = match registered(known, notifier) {
                    Ok(notifier) => notifier,
                    Err(error) => return RunOutcome::Done(Err(error)),
                };
                settle().await;
                if interrupted() {
                    return RunOutcome::Interrupted;
                }
                poll_fn(|context| {
                    if notified(notifier, context, interrupted)
                        || due_check_found(next_check, context, period, interrupted)
                    {
                        return Poll::Ready(RunOutcome::Interrupted);
                    }
                    match future.as_mut().poll(context) {
                        Poll::Ready(outcome) => Poll::Ready(RunOutcome::Done(outcome)),
                        Poll::Pending => poll_other(context).map(RunOutcome::Other),
                    }
                })
                .await
            });
            self.done = matches!(outcome, RunOutcome::Done(_));
            self.set_paused(!self.done);
            outcome
        }

        fn set_paused(&mut self, paused: bool) {
            if std::mem::replace(&mut self.paused, paused) != paused
                && let Some(pause_hook) = &self.pause_hook
            {
                pause_hook(if paused {
                    PauseEvent::Paused
                } else {
                    PauseEvent::Resumed
                });
            }
        }
    }

    impl Drop for StartedJob {
        fn drop(&mut self) {
            if let Some(inline_runtime) = self.inline_runtime.take()
                && let Some(runtimes) = existing_inline_runtimes()
            {
                runtimes.give_back(inline_runtime, self.done);
            }
        }
    }

    /// Lets connections notice what happened to them while the inline runtime was not running, above all that the
    /// server has closed them. The first yield polls the system, the second lets the connections' tasks run.
    async fn settle() {
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
    }

    /// Returns the notifier, registered with the inline runtime. Registers it again only if the descriptor has changed,
    /// which is rare.
    fn registered<'a>(known: &'a mut Option<Notifier>, notifier: BorrowedFd<'static>) -> Result<&'a Notifier> {
        if known
            .as_ref()
            .is_none_or(|known| known.as_raw_fd() != notifier.as_raw_fd())
        {
            *known = None;
            // SAFETY: `BorrowedFd<'static>` guarantees that the descriptor remains open, with the same number, until
            // the process ends. May run on any thread; touches nothing of Ruby.
            let registration = unsafe { AsyncFd::register_with_interest(notifier, Interest::READABLE) };
            *known = Some(registration.map_err(|e| {
                Error::plain(
                    Kind::Connection,
                    format!("cannot watch the notifier of this thread: {e}"),
                )
            })?);
        }
        known.as_ref().ok_or_else(|| {
            Error::plain(
                Kind::Internal,
                "internal error: an inline runtime without a notifier".to_owned(),
            )
        })
    }

    /// Calls `interrupted` once in every `period`. Whether it returned true.
    fn due_check_found(
        next_check: &mut Option<Pin<Box<Sleep>>>,
        context: &mut Context<'_>,
        period: Option<Duration>,
        interrupted: &impl Fn() -> bool,
    ) -> bool {
        let Some(period) = period else { return false };
        // The timer is used again by the next run: setting one takes a system call, which cost an append 5 % of its
        // time.
        let next_check = next_check.get_or_insert_with(|| Box::pin(sleep(period)));
        while next_check.as_mut().poll(context).is_ready() {
            next_check.as_mut().reset(Instant::now() + period);
            if interrupted() {
                return true;
            }
        }
        false
    }

    /// Whether the notifier became readable and `interrupted` returned true.
    fn notified(notifier: &Notifier, context: &mut Context<'_>, interrupted: &impl Fn() -> bool) -> bool {
        while let Poll::Ready(readable) = notifier.poll_read_ready(context) {
            // An error means that the runtime has ended, which does not happen during a run.
            let Ok(mut readable) = readable else { return true };
            readable.clear_ready();
            if interrupted() {
                return true;
            }
        }
        false
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::cell::Cell;
    use std::future::pending;
    use std::os::fd::{AsRawFd, BorrowedFd};
    use std::task::Poll;
    use std::time::Duration;

    use durable_streams_protocol::target::Values;

    use super::*;
    use crate::connections::{Client, Config};

    /// A descriptor that never becomes readable: a pipe whose writer is never closed.
    fn silent() -> BorrowedFd<'static> {
        let (reader, writer) = std::io::pipe().unwrap();
        std::mem::forget(writer);
        let reader = Box::leak(Box::new(reader));
        // SAFETY: the reader is leaked, so the descriptor is open until the process ends.
        unsafe { BorrowedFd::borrow_raw(reader.as_raw_fd()) }
    }

    #[test]
    fn finds_an_interrupt_without_a_notification_within_a_period() {
        let endpoint = Endpoint::new(Client::new(Config::for_tests()), "http://h/s", Values::default(), None);
        let endpoint = Arc::new(endpoint.unwrap());
        let job: Job<()> = Job::new(&endpoint, Operation::Head, |_| pending());
        let mut inline_job = job.into_any().into_inline().unwrap().ok().unwrap();
        let checks = Cell::new(0);
        let third_time = || checks.replace(checks.get() + 1) == 2;
        let period = Some(Duration::from_millis(1));
        let outcome = inline_job.run::<()>(silent(), period, third_time, |_| Poll::Pending);
        assert!(matches!(outcome, RunOutcome::Interrupted));
    }
}
