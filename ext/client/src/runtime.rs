//! The tokio runtime with its worker threads, one for each process, and [`Task`]s on it.

use std::any::Any;
use std::future::Future;
use std::io;
use std::panic::catch_unwind;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use durable_streams_protocol::error::{Error, Kind, Result};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;
use tokio::time::{Sleep, sleep};

use crate::fork::{ProcessBound, ProcessLocal, forked, watch_forks};
use crate::lock::Mutex;

static NETWORK: ProcessLocal<Network> = ProcessLocal::new();

/// The runtime with its threads. The one in `NETWORK` exists until the process ends.
struct Network(Option<Runtime>);

impl Drop for Network {
    /// Only for a runtime that another thread's was preferred to, when both made one.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// The process's runtime, started if there is none.
///
/// # Errors
/// `Kind::Connection` if the system refuses threads or descriptors.
pub fn runtime() -> Result<Handle> {
    let network = NETWORK.get_or_try_make(|| {
        watch_forks();
        build_runtime().map(|runtime| Network(Some(runtime)))
    })?;
    let running = network.0.as_ref().map(|runtime| runtime.handle().clone());
    running.ok_or_else(forked)
}

fn build_runtime() -> Result<Runtime> {
    // A switch from one worker to another costs more than most requests do there, and Ruby gives them little work. So
    // there are few workers even on large machines. (On two cores, one worker instead of two lowers an append's CPU
    // time from 50 to 33 microseconds.)
    let workers = thread::available_parallelism().map_or(1, |cores| (cores.get() / 4).clamp(1, 4));
    let refused = |why: &str| Error::plain(Kind::Connection, format!("cannot start the network threads: {why}"));
    try_threads(workers).map_err(|error| refused(&error.to_string()))?;
    let build = || {
        Builder::new_multi_thread()
            .worker_threads(workers)
            .max_blocking_threads(16)
            .thread_name("durable_streams")
            .enable_all()
            .build()
    };
    // The system may refuse threads now that it gave before.
    let built = catch_unwind(build).map_err(|payload| refused(panic_message(payload.as_ref())))?;
    built.map_err(|error| refused(&error.to_string()))
}

/// Starts and ends `count` threads, to learn whether the system gives that many. If it does not, tokio panics, writes
/// to standard error, and waits for ever for those of several workers that it has started.
pub(crate) fn try_threads(count: usize) -> io::Result<()> {
    let lock = Mutex::new(());
    thread::scope(|scope| {
        let _guard = lock.lock();
        (0..count).try_for_each(|_| {
            let started = thread::Builder::new().spawn_scoped(scope, || drop(lock.lock()));
            started.map(drop)
        })
    })
}

/// What tasks run. Boxed, so that tokio's code is compiled once for each result instead of for every future.
pub(crate) type TaskFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A running request. If it is dropped before its end, the request is cancelled and its connection is closed.
pub struct Task<T>(ProcessBound<AbortOnDrop<T>>);

struct AbortOnDrop<T>(JoinHandle<Result<T>>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A time limit of the process's runtime. It may be awaited on any thread.
pub struct Timer(ProcessBound<Pin<Box<Sleep>>>);

impl Timer {
    /// A timer that completes after `limit`.
    ///
    /// # Errors
    /// If the runtime cannot be started.
    pub fn start(limit: Duration) -> Result<Self> {
        let runtime = runtime()?;
        let _entered = runtime.enter();
        Ok(Self(ProcessBound::new(Box::pin(sleep(limit)))))
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0
            .get_mut()
            .map_or(Poll::Ready(()), |sleep| sleep.as_mut().poll(context))
    }
}

impl<T: Send + 'static> Task<T> {
    /// Starts `future` on the runtime's threads.
    ///
    /// # Errors
    /// If the runtime cannot be started.
    pub fn spawn(future: impl Future<Output = Result<T>> + Send + 'static) -> Result<Self> {
        let future: TaskFuture<Result<T>> = Box::pin(future);
        Ok(Self(ProcessBound::new(AbortOnDrop(runtime()?.spawn(future)))))
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        let Some(running) = self.0.get_mut() else {
            return Poll::Ready(Err(forked()));
        };
        Pin::new(&mut running.0)
            .poll(context)
            .map(|joined| joined.unwrap_or_else(|e| Err(ended(e))))
    }
}

/// The error of a task without a result: it panicked, or the runtime is shutting down.
fn ended(error: tokio::task::JoinError) -> Error {
    if !error.is_panic() {
        return Error::plain(Kind::Connection, "the request was cancelled".to_owned());
    }
    panicked(error.into_panic().as_ref())
}

/// The error that a panic becomes.
pub(crate) fn panicked(payload: &(dyn Any + Send)) -> Error {
    Error::plain(Kind::Internal, format!("internal error: {}", panic_message(payload)))
}

/// The message of a panic.
pub fn panic_message(payload: &(dyn Any + Send)) -> &str {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message")
}
