//! Work that has not begun: one request, to be carried out by the runtime's threads or by whoever waits for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use durable_streams_protocol::error::{Operation, Result};

use crate::connections::Pool;
use crate::endpoint::Endpoint;
use crate::runtime::Task;

/// What whoever carries out work turns to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Something else: the work does not move meanwhile.
    Away,
    /// The work again.
    Back,
}

type Turning = Box<dyn Fn(Turn) + Send>;
type Making<T> = Box<dyn Future<Output = Result<T>> + Send>;

/// A request that has not begun, and what becomes of its answer. Dropped, it never begins.
pub struct Work<T> {
    endpoint: Arc<Endpoint>,
    operation: Operation,
    begin: Box<dyn FnOnce(Pool) -> Pin<Making<T>> + Send>,
    turning: Option<Turning>,
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
        }
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
    use std::task::{Context, Poll};

    use durable_streams_protocol::error::{Error, Kind};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;
    use tokio::time::{Instant, Sleep, sleep};

    use std::time::Duration;

    use super::{Making, Pin, Result, Turn, Turning, Work};
    use crate::fork::{ProcessBound, forked};
    use crate::inline::runtime::{Bell, Lane, known_lanes, lanes};

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
            let Some(mut lane) = lanes.take() else {
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

    /// A descriptor that never becomes readable: a pipe whose other end stays open.
    fn silent() -> BorrowedFd<'static> {
        let (reader, writer) = std::io::pipe().unwrap();
        std::mem::forget(writer);
        let reader = Box::leak(Box::new(reader));
        // SAFETY: leaked, so open as long as the process lives.
        unsafe { BorrowedFd::borrow_raw(reader.as_raw_fd()) }
    }

    #[test]
    fn an_interrupt_without_a_notification_is_found_within_a_period() {
        let endpoint = Endpoint::new(Client::new(Config::for_trials()), "http://h/s", Values::default(), None);
        let endpoint = Arc::new(endpoint.unwrap());
        let work: Work<()> = Work::new(&endpoint, Operation::Head, |_| pending());
        let mut driven = work.drive().unwrap().ok().unwrap();
        let looks = Cell::new(0);
        let third_time = || looks.replace(looks.get() + 1) == 2;
        let period = Some(Duration::from_millis(1));
        let ran = driven.run::<()>(silent(), period, third_time, |_| Poll::Pending);
        assert!(matches!(ran, Ran::Interrupted));
    }
}
