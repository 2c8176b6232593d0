//! Inline runtimes: single-threaded tokio runtimes on which the thread that waits for a request carries it out. Read
//! [`InlineRuntimes`] first.
//!
//! If another thread carries out a request, that costs two thread switches, which is more than the rest of a small
//! request. Each inline runtime has its own connections. They make no progress while no thread runs the runtime, so it
//! is for single requests only, and an idle one is ended soon.

#[cfg(unix)]
use std::pin::Pin;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use durable_streams_protocol::error::{Error, Kind, Result};
use tokio::runtime::{Builder, Runtime};
#[cfg(unix)]
use tokio::time::Sleep;

use crate::connections::{IDLE, PoolSet, on_forget};
use crate::fork::ProcessLocal;
use crate::lock::Mutex;
use crate::runtime;

/// How many inline runtimes a process has at most: so many for each core, and so many altogether. Further requests run
/// on the threads of the process's runtime. More save little, and each has four descriptors: see bench/README.md.
const FOR_EACH_CORE: usize = 3;
const MOST: usize = 32;

/// A notifier's descriptor, registered with an inline runtime.
#[cfg(unix)]
pub(crate) type Notifier = tokio::io::unix::AsyncFd<std::os::fd::BorrowedFd<'static>>;

/// A single-threaded runtime, with the connections of each client on it.
pub(crate) struct InlineRuntime {
    pub(crate) runtime: Runtime,
    pub(crate) pools: PoolSet,
    /// Interrupts the thread that runs it.
    #[cfg(unix)]
    pub(crate) notifier: Option<Notifier>,
    /// When to look next for interrupts that the notifier does not report.
    #[cfg(unix)]
    pub(crate) next_check: Option<Pin<Box<Sleep>>>,
    /// When it was last given back.
    idle_since: Instant,
    /// How many clients had been forgotten when it was last known to have none of their connections.
    forgotten: u64,
}

/// The inline runtimes of a process.
pub(crate) struct InlineRuntimes {
    state: Mutex<RuntimesState>,
    most: usize,
}

impl Default for InlineRuntimes {
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self {
            state: Mutex::default(),
            most: (cores * FOR_EACH_CORE).min(MOST),
        }
    }
}

#[derive(Default)]
struct RuntimesState {
    /// The one that was given back last is the last.
    idle: Vec<InlineRuntime>,
    taken: usize,
    /// How many clients have been forgotten.
    forgotten: u64,
    /// Whether a task ends idle runtimes.
    sweeping: bool,
}

static INLINE_RUNTIMES: ProcessLocal<InlineRuntimes> = ProcessLocal::new();

/// This process's inline runtimes, made if there are none.
pub(crate) fn inline_runtimes() -> Arc<InlineRuntimes> {
    INLINE_RUNTIMES.get_or_make(|| {
        on_forget(|client| {
            if let Some(runtimes) = INLINE_RUNTIMES.get() {
                runtimes.forget(client);
            }
        });
        InlineRuntimes::default()
    })
}

/// This process's inline runtimes, if there are any.
pub(crate) fn existing_inline_runtimes() -> Option<Arc<InlineRuntimes>> {
    INLINE_RUNTIMES.get()
}

impl InlineRuntimes {
    /// Takes an idle inline runtime or makes one. `None` if all are in use.
    ///
    /// With `only_first`, none must be in use: for requests that can share a connection on the process's runtime, which
    /// takes less processor time. See bench/README.md.
    pub(crate) fn take(&self, only_first: bool) -> Option<InlineRuntime> {
        let mut state = self.state.lock();
        if only_first && state.taken > 0 {
            return None;
        }
        if let Some(runtime) = state.idle.pop() {
            state.taken += 1;
            return Some(runtime);
        }
        if state.taken >= self.most {
            return None;
        }
        // If the system refuses to make one, the request runs on the threads of the process's runtime.
        let runtime = InlineRuntime::new(state.forgotten).ok()?;
        state.taken += 1;
        Some(runtime)
    }

    /// Gives an inline runtime back. If it is not `usable`, it is ended and its requests are cancelled.
    pub(crate) fn give_back(&self, mut inline_runtime: InlineRuntime, usable: bool) {
        inline_runtime.idle_since = Instant::now();
        let mut state = self.state.lock();
        state.taken -= 1;
        if !usable || inline_runtime.forgotten != state.forgotten {
            drop(state);
            return inline_runtime.end();
        }
        state.idle.push(inline_runtime);
        let begin = !std::mem::replace(&mut state.sweeping, true);
        drop(state);
        if begin {
            match runtime::runtime() {
                Ok(runtime) => drop(runtime.spawn(Box::pin(sweep()) as runtime::TaskFuture<()>)),
                // The system refuses threads. The next runtime that is given back causes another try.
                Err(_) => self.state.lock().sweeping = false,
            }
        }
    }

    /// Closes the connections of a client: idle ones now, the others when their requests have ended.
    pub(crate) fn forget(&self, client: u64) {
        let mut state = self.state.lock();
        state.forgotten += 1;
        let forgotten = state.forgotten;
        let ended: Vec<InlineRuntime> = state
            .idle
            .extract_if(.., |runtime| {
                runtime.forgotten = forgotten;
                runtime.pools.has(client)
            })
            .collect();
        drop(state);
        ended.into_iter().for_each(InlineRuntime::end);
    }

    /// Ends runtimes that have been idle for long. Whether idle ones remain.
    fn sweep(&self) -> bool {
        let mut state = self.state.lock();
        let ended: Vec<InlineRuntime> = state
            .idle
            .extract_if(.., |runtime| runtime.idle_since.elapsed() >= IDLE)
            .collect();
        state.sweeping = !state.idle.is_empty();
        let go_on = state.sweeping;
        drop(state);
        ended.into_iter().for_each(InlineRuntime::end);
        go_on
    }
}

/// Ends idle runtimes until none is idle.
async fn sweep() {
    loop {
        tokio::time::sleep(IDLE + Duration::from_secs(1)).await;
        if !INLINE_RUNTIMES.get().is_some_and(|runtimes| runtimes.sweep()) {
            return;
        }
    }
}

impl InlineRuntime {
    fn new(forgotten: u64) -> Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .thread_name("durable_streams")
            .build()
            .map_err(|e| Error::plain(Kind::Connection, format!("cannot make an inline runtime: {e}")))?;
        Ok(Self {
            runtime,
            pools: PoolSet::default(),
            #[cfg(unix)]
            notifier: None,
            #[cfg(unix)]
            next_check: None,
            idle_since: Instant::now(),
            forgotten,
        })
    }

    /// Closes all its connections at once. May be called on any thread.
    fn end(self) {
        #[cfg(unix)]
        drop((self.notifier, self.next_check));
        drop(self.pools);
        self.runtime.shutdown_background();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add_pools(runtime: &mut InlineRuntime, client: u64) {
        runtime.pools.add(client);
    }

    #[test]
    fn takes_the_runtime_first_that_was_given_back_last() {
        let runtimes = InlineRuntimes::default();
        let (mut first, second) = (runtimes.take(false).unwrap(), runtimes.take(false).unwrap());
        add_pools(&mut first, 1);
        runtimes.give_back(second, true);
        runtimes.give_back(first, true);
        assert!(runtimes.take(false).unwrap().pools.has(1));
    }

    #[test]
    fn makes_no_more_runtimes_than_the_limit() {
        let runtimes = InlineRuntimes::default();
        let mut taken: Vec<InlineRuntime> = (0..runtimes.most).map_while(|_| runtimes.take(false)).collect();
        assert_eq!(taken.len(), runtimes.most);
        assert!(runtimes.take(false).is_none());
        runtimes.give_back(taken.pop().unwrap(), false);
        assert!(runtimes.take(false).is_some());
    }

    #[test]
    fn takes_the_first_only_while_no_other_is_in_use() {
        let runtimes = InlineRuntimes::default();
        let first = runtimes.take(true).unwrap();
        assert!(runtimes.take(true).is_none());
        runtimes.give_back(first, true);
        assert!(runtimes.take(true).is_some());
    }

    #[test]
    fn ends_the_runtimes_of_a_forgotten_client_and_the_idle_ones_at_once() {
        let runtimes = InlineRuntimes::default();
        let (mut used, other, busy) = (
            runtimes.take(false).unwrap(),
            runtimes.take(false).unwrap(),
            runtimes.take(false).unwrap(),
        );
        add_pools(&mut used, 1);
        runtimes.give_back(used, true);
        runtimes.give_back(other, true);
        runtimes.forget(1);
        assert_eq!(runtimes.state.lock().idle.len(), 1);
        runtimes.give_back(busy, true);
        assert_eq!(runtimes.state.lock().idle.len(), 1);
        let other = runtimes.take(false).unwrap();
        runtimes.give_back(other, true);
        assert_eq!(runtimes.state.lock().idle.len(), 1);
    }

    #[test]
    fn ends_a_runtime_that_was_idle_for_long() {
        let runtimes = InlineRuntimes::default();
        let (long_ago, lately) = (runtimes.take(false).unwrap(), runtimes.take(false).unwrap());
        runtimes.give_back(lately, true);
        runtimes.give_back(long_ago, true);
        if let Some(earlier) = Instant::now().checked_sub(IDLE) {
            runtimes.state.lock().idle[1].idle_since = earlier;
            assert!(runtimes.sweep());
            assert_eq!(runtimes.state.lock().idle.len(), 1);
        }
    }
}
