//! Work that has not begun: one request, to be carried out by the runtime's threads or by whoever waits for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use durable_streams_protocol::error::{Operation, Result};

use crate::connections::Pool;
use crate::endpoint::Endpoint;
use crate::exchange::absence::Turn;
use crate::inline::runtime::Stay;
use crate::runtime::Task;

type Turning = Box<dyn Fn(Turn) + Send>;
type Making<T> = Box<dyn Future<Output = Result<T>> + Send>;

/// A request that has not begun, and what becomes of its answer. Dropped, it never begins.
pub struct Work<T> {
    endpoint: Arc<Endpoint>,
    operation: Operation,
    begin: Box<dyn FnOnce(Pool) -> Pin<Making<T>> + Send>,
    turning: Option<Turning>,
    stay: Stay,
}

impl<T: Send + 'static> Work<T> {
    pub(crate) fn new<F: Future<Output = Result<T>> + Send + 'static>(
        endpoint: &Arc<Endpoint>,
        operation: Operation,
        begin: impl FnOnce(Pool) -> F + Send + 'static,
    ) -> Work<T> {
        Work {
            endpoint: Arc::clone(endpoint),
            operation,
            begin: Box::new(move |pool| Box::pin(begin(pool))),
            turning: None,
            stay: Stay::Whole,
        }
    }

    /// Lets whoever carries it out leave it in the midst (see [`Driven::pause`]).
    pub(crate) fn that_may_be_left(mut self) -> Work<T> {
        self.stay = Stay::Beginning;
        self
    }

    /// Has `turning` called when whoever carries it out turns to something else for a while, and when he is back.
    pub(crate) fn interrupted_with(mut self, turning: impl Fn(Turn) + Send + 'static) -> Work<T> {
        self.turning = Some(Box::new(turning));
        self
    }

    /// Begins it on the runtime's threads.
    ///
    /// # Errors
    /// If the client is closed or the runtime cannot be started.
    pub fn spawn(self) -> Result<Task<T>> {
        let pool = self.endpoint.pool(self.operation)?;
        Task::spawn((self.begin)(pool))
    }
}

#[cfg(debug_assertions)]
impl<T: Send + 'static> Work<T> {
    /// Work that panics when it is carried out, to see what becomes of that. Only in builds for development.
    pub fn that_panics(endpoint: &Arc<Endpoint>, message: &'static str) -> Work<T> {
        Work::new(endpoint, Operation::Head, move |_| async move { panic!("{message}") })
    }
}

#[cfg(unix)]
pub use driven::{Driven, Ran};

#[cfg(unix)]
mod driven {
    use std::future::{Future, poll_fn};
    use std::os::fd::{AsRawFd, BorrowedFd};
    use std::sync::mpsc::{self, SendError};
    use std::task::{Context, Poll};

    use durable_streams_protocol::error::{Error, Kind};
    use futures_util::future::{AbortHandle, AbortRegistration, Abortable};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;
    use tokio::sync::oneshot;
    use tokio::time::{Instant, Sleep, sleep};

    use std::time::Duration;

    use super::{Making, Pin, Result, Turn, Turning, Work};
    use crate::fork::{ProcessBound, forked};
    use crate::inline::runtime::{Bell, Lane, known_lanes, lanes};
    use crate::runtime::Task;

    /// Work that its waiter carries out. It goes on only in [`Driven::run`]; dropped before its end, it is cancelled (and
    /// its connection with it).
    pub struct Driven<T>(ProcessBound<Box<Driving<T>>>);

    struct Driving<T> {
        /// There until it is dropped.
        lane: Option<Lane>,
        work: Pin<Making<T>>,
        turning: Option<Turning>,
        away: bool,
        done: bool,
    }

    /// Why a run has ended.
    pub enum Ran<T, A> {
        /// The work is done; there must be no other run.
        Done(Result<T>),
        /// There is something else to do first.
        Aside(A),
        /// Whoever carries it out is wanted elsewhere.
        Interrupted,
    }

    impl<T: Send + 'static> Work<T> {
        /// Lets the caller carry it out, or gives it back if that cannot be: then it is for [`Work::spawn`].
        ///
        /// # Errors
        /// If the client is closed or the runtime cannot be started.
        pub fn drive(self) -> Result<std::result::Result<Driven<T>, Work<T>>> {
            let lanes = lanes();
            let Some(mut lane) = lanes.take(self.stay) else {
                return Ok(Err(self));
            };
            match self.endpoint.pool_in(&mut lane.pools, self.operation) {
                Ok(pool) => Ok(Ok(Driven(ProcessBound::new(Box::new(Driving {
                    lane: Some(lane),
                    work: (self.begin)(pool),
                    turning: self.turning,
                    away: false,
                    done: false,
                }))))),
                Err(error) => {
                    lanes.give_back(lane, true);
                    Err(error)
                }
            }
        }
    }

    impl<T> Driven<T> {
        /// Carries the work out on the calling thread, to its end, until `aside` is ready, or until `interrupted` says so:
        /// it is asked at the beginning, when `bell` has become readable, and as often as `period` says, if there is one.
        /// Another run goes on with the work.
        pub fn run<A>(
            &mut self,
            bell: BorrowedFd<'static>,
            period: Option<Duration>,
            interrupted: impl Fn() -> bool,
            aside: impl FnMut(&mut Context<'_>) -> Poll<A>,
        ) -> Ran<T, A> {
            match self.0.get_mut() {
                None => Ran::Done(Err(forked())),
                Some(driving) => driving.run(bell, period, &interrupted, aside),
            }
        }
    }

    impl<T: Send + 'static> Driven<T> {
        /// Whether it was left in its midst before.
        pub fn was_left(&self) -> bool {
            let lane = self.0.get().and_then(|driving| driving.lane.as_ref());
            lane.is_some_and(|lane| lane.is_left)
        }

        /// Notes that nobody carries it out for a while.
        pub fn pause(&mut self) {
            if let Some(lane) = self.0.get_mut().and_then(|driving| driving.lane.as_mut())
                && let Some(lanes) = known_lanes()
            {
                lanes.leave(lane);
            }
        }

        /// Leaves the work, of which there is more than was thought, to a thread of its own: it cannot move to the
        /// runtime's, since a connection belongs to its lane.
        ///
        /// # Errors
        /// If the system refuses a thread: what it says, and the work, paused.
        pub fn leave(mut self) -> std::result::Result<Task<T>, (Driven<T>, Error)> {
            self.pause();
            // Handed over to a thread that is there: one that is refused takes along what it was to begin with.
            let (hand_over, handed) = mpsc::channel();
            match Driven::finish_elsewhere(handed) {
                Err(refused) => Err((self, refused)),
                Ok(task) => match hand_over.send(self) {
                    Ok(()) => Ok(task),
                    Err(SendError(work)) => Err((work, lost())),
                },
            }
        }

        /// Starts a thread that carries out the work it is handed to its end, or to that of the task.
        fn finish_elsewhere(handed: mpsc::Receiver<Driven<T>>) -> Result<Task<T>> {
            let (abort, aborted) = AbortHandle::new_pair();
            let (abort, (ended, outcome)) = (AbortOnDrop(abort), oneshot::channel());
            let task = Task::spawn(async move {
                let _with_the_task = abort;
                outcome.await.unwrap_or_else(|_| Err(lost()))
            })?;
            std::thread::Builder::new()
                .name("durable_streams".to_owned())
                .spawn(move || {
                    let done = handed
                        .recv()
                        .ok()
                        .and_then(|mut work| work.0.get_mut()?.finish(aborted));
                    // Nobody may want to know.
                    let _unheard = done.map(|outcome| ended.send(outcome));
                })
                .map_err(|e| Error::plain(Kind::Connection, format!("cannot start a thread: {e}")))?;
            Ok(task)
        }
    }

    fn lost() -> Error {
        Error::plain(Kind::Connection, "the request was cancelled".to_owned())
    }

    struct AbortOnDrop(AbortHandle);

    impl Drop for AbortOnDrop {
        fn drop(&mut self) {
            self.0.abort();
        }
    }

    impl<T> Driving<T> {
        fn run<A>(
            &mut self,
            bell: BorrowedFd<'static>,
            period: Option<Duration>,
            interrupted: &impl Fn() -> bool,
            mut aside: impl FnMut(&mut Context<'_>) -> Poll<A>,
        ) -> Ran<T, A> {
            self.turn_back();
            let Some(Lane {
                runtime,
                bell: known,
                next_look,
                ..
            }) = &mut self.lane
            else {
                return Ran::Done(Err(forked()));
            };
            let work = &mut self.work;
            let ran = runtime.block_on(async {
                let bell = match listen(known, bell) {
                    Ok(bell) => bell,
                    Err(error) => return Ran::Done(Err(error)),
                };
                settle().await;
                if interrupted() {
                    return Ran::Interrupted;
                }
                poll_fn(|context| {
                    if called(bell, context, interrupted) || found(next_look, context, period, interrupted) {
                        return Poll::Ready(Ran::Interrupted);
                    }
                    match work.as_mut().poll(context) {
                        Poll::Ready(outcome) => Poll::Ready(Ran::Done(outcome)),
                        Poll::Pending => aside(context).map(Ran::Aside),
                    }
                })
                .await
            });
            self.done = matches!(ran, Ran::Done(_));
            self.away = !self.done;
            if self.away
                && let Some(turning) = &self.turning
            {
                turning(Turn::Away);
            }
            ran
        }

        fn turn_back(&mut self) {
            if std::mem::take(&mut self.away)
                && let Some(turning) = &self.turning
            {
                turning(Turn::Back);
            }
        }

        /// Carries the work out on the calling thread, to its end; `None` if it was aborted.
        fn finish(&mut self, aborted: AbortRegistration) -> Option<Result<T>> {
            self.turn_back();
            let runtime = &self.lane.as_ref()?.runtime;
            let outcome = runtime.block_on(Abortable::new(&mut self.work, aborted)).ok()?;
            self.done = true;
            Some(outcome)
        }
    }

    impl<T> Drop for Driving<T> {
        fn drop(&mut self) {
            if let Some(lane) = self.lane.take()
                && let Some(lanes) = known_lanes()
            {
                lanes.give_back(lane, self.done);
            }
        }
    }

    /// Lets connections learn what happened to them while nobody was in the lane, a server's closing them above all: the
    /// first turn asks the system, the second has them act on it.
    async fn settle() {
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
    }

    /// The bell, as the lane's runtime knows it: made known once, since it is mostly the same one.
    fn listen<'a>(known: &'a mut Option<Bell>, bell: BorrowedFd<'static>) -> Result<&'a Bell> {
        if known.as_ref().is_none_or(|known| known.as_raw_fd() != bell.as_raw_fd()) {
            *known = None;
            // SAFETY: the descriptor stays open as long as the process lives, and keeps its number: the type says so. Any
            // thread; nothing of Ruby.
            let listening = unsafe { AsyncFd::register_with_interest(bell, Interest::READABLE) };
            *known = Some(listening.map_err(|e| Error::plain(Kind::Connection, format!("cannot wait: {e}")))?);
        }
        known
            .as_ref()
            .ok_or_else(|| Error::plain(Kind::Internal, "internal error: a lane without a bell".to_owned()))
    }

    /// Whether `interrupted`, which is asked once in every `period`, says so.
    fn found(
        next_look: &mut Option<Pin<Box<Sleep>>>,
        context: &mut Context<'_>,
        period: Option<Duration>,
        interrupted: &impl Fn() -> bool,
    ) -> bool {
        let Some(period) = period else { return false };
        // The timer goes on from one run to the next: to set one takes a system call, which cost an append 5 % of its time.
        let next_look = next_look.get_or_insert_with(|| Box::pin(sleep(period)));
        while next_look.as_mut().poll(context).is_ready() {
            next_look.as_mut().reset(Instant::now() + period);
            if interrupted() {
                return true;
            }
        }
        false
    }

    /// Whether the bell rang and means it.
    fn called(bell: &Bell, context: &mut Context<'_>, interrupted: &impl Fn() -> bool) -> bool {
        while let Poll::Ready(rung) = bell.poll_read_ready(context) {
            // That it cannot be listened to any more does not happen before the runtime ends.
            let Ok(mut rung) = rung else { return true };
            rung.clear_ready();
            if interrupted() {
                return true;
            }
        }
        false
    }
}
