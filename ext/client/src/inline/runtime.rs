//! Lanes: runtimes without threads, on which whoever waits for a request carries it out.
//!
//! A request that another thread carries out costs two switches between threads, which is more than all the rest of a
//! small one. A runtime has connections of its own. Nothing moves on it while nobody is in it: so it is for single requests,
//! and an idle one does not live long.

#[cfg(unix)]
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use durable_streams_protocol::error::{Error, Kind, Result};
use tokio::runtime::{Builder, Runtime};
#[cfg(unix)]
use tokio::time::Sleep;

use crate::connections::{IDLE, PoolSet, on_forget};
use crate::fork::ProcessLocal;
use crate::lock::Mutex;
use crate::runtime;

/// How many runtimes a process has at most. Further requests are carried out by the runtime's threads.
const MOST: usize = 32;

/// A descriptor that a runtime's runtime listens to.
#[cfg(unix)]
pub(crate) type Notifier = tokio::io::unix::AsyncFd<std::os::fd::BorrowedFd<'static>>;

/// A runtime, and each client's connections on it.
pub(crate) struct InlineRuntime {
    pub(crate) runtime: Runtime,
    pub(crate) pools: PoolSet,
    /// What interrupts who is in it.
    #[cfg(unix)]
    pub(crate) notifier: Option<Notifier>,
    /// When who is in it next looks for interrupts that ring no notifier.
    #[cfg(unix)]
    pub(crate) next_check: Option<Pin<Box<Sleep>>>,
    /// When it was given back.
    since: Instant,
    /// How many clients had been forgotten when it was made or last known to be without them.
    forgotten: u64,
}

/// The runtimes of a process.
#[derive(Default)]
pub(crate) struct InlineRuntimes(Mutex<RuntimesState>);

#[derive(Default)]
struct RuntimesState {
    /// The one that was left last is the last.
    idle: Vec<InlineRuntime>,
    taken: usize,
    forgotten: u64,
    sweeping: bool,
}

static INLINE_RUNTIMES: ProcessLocal<InlineRuntimes> = ProcessLocal::new();

/// This process's runtimes, made if there are none.
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

/// This process's runtimes, if there are any.
pub(crate) fn existing_inline_runtimes() -> Option<Arc<InlineRuntimes>> {
    INLINE_RUNTIMES.get()
}

impl InlineRuntimes {
    /// A runtime for one request at a time, if there is one to be had.
    pub(crate) fn take(&self) -> Option<InlineRuntime> {
        let mut state = self.0.lock();
        if let Some(runtime) = state.idle.pop() {
            state.taken += 1;
            return Some(runtime);
        }
        if state.taken >= MOST {
            return None;
        }
        // That the system refuses one is no failure: the runtime's threads have what they need.
        let runtime = InlineRuntime::new(state.forgotten).ok()?;
        state.taken += 1;
        Some(runtime)
    }

    /// Gives a runtime back for others, or ends it with all that still goes on in it.
    pub(crate) fn give_back(&self, mut inline_runtime: InlineRuntime, usable: bool) {
        inline_runtime.since = Instant::now();
        let mut state = self.0.lock();
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
                Ok(runtime) => drop(runtime.spawn(sweep())),
                // The system refuses threads. The next runtime that is given back leads to another try.
                Err(_) => self.0.lock().sweeping = false,
            }
        }
    }

    /// Closes the connections of a client: idle ones now, others when their requests have ended.
    pub(crate) fn forget(&self, client: u64) {
        let mut state = self.0.lock();
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

    /// Ends runtimes that nobody has been in for a while; whether there are any left.
    fn sweep(&self) -> bool {
        let mut state = self.0.lock();
        let ended: Vec<InlineRuntime> = state
            .idle
            .extract_if(.., |runtime| runtime.since.elapsed() >= IDLE)
            .collect();
        state.sweeping = !state.idle.is_empty();
        let go_on = state.sweeping;
        drop(state);
        ended.into_iter().for_each(InlineRuntime::end);
        go_on
    }
}

async fn sweep() {
    loop {
        tokio::time::sleep(IDLE + Duration::from_secs(1)).await;
        if !INLINE_RUNTIMES.get().is_some_and(|runtimes| runtimes.sweep()) {
            return;
        }
    }
}

impl InlineRuntime {
    fn new(forgotten: u64) -> Result<InlineRuntime> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .thread_name("durable_streams")
            .build()
            .map_err(|e| Error::plain(Kind::Connection, format!("cannot make an inline runtime: {e}")))?;
        Ok(InlineRuntime {
            runtime,
            pools: PoolSet::default(),
            #[cfg(unix)]
            notifier: None,
            #[cfg(unix)]
            next_check: None,
            since: Instant::now(),
            forgotten,
        })
    }

    /// Closes all connections, at once and on any thread.
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

    fn has_pools(runtime: &mut InlineRuntime, client: u64) {
        runtime.pools.add(client);
    }

    #[test]
    fn the_lane_that_was_left_last_is_taken_first() {
        let runtimes = InlineRuntimes::default();
        let (mut first, second) = (runtimes.take().unwrap(), runtimes.take().unwrap());
        has_pools(&mut first, 1);
        runtimes.give_back(second, true);
        runtimes.give_back(first, true);
        assert!(runtimes.take().unwrap().pools.has(1));
    }

    #[test]
    fn there_are_no_more_than_a_process_is_to_have() {
        let runtimes = InlineRuntimes::default();
        let mut taken: Vec<InlineRuntime> = (0..MOST).map_while(|_| runtimes.take()).collect();
        assert_eq!(taken.len(), MOST);
        assert!(runtimes.take().is_none());
        runtimes.give_back(taken.pop().unwrap(), false);
        assert!(runtimes.take().is_some());
    }

    #[test]
    fn a_forgotten_clients_lanes_end_the_idle_ones_at_once() {
        let runtimes = InlineRuntimes::default();
        let (mut used, other, busy) = (
            runtimes.take().unwrap(),
            runtimes.take().unwrap(),
            runtimes.take().unwrap(),
        );
        has_pools(&mut used, 1);
        runtimes.give_back(used, true);
        runtimes.give_back(other, true);
        runtimes.forget(1);
        assert_eq!(runtimes.0.lock().idle.len(), 1);
        runtimes.give_back(busy, true);
        assert_eq!(runtimes.0.lock().idle.len(), 1);
        let other = runtimes.take().unwrap();
        runtimes.give_back(other, true);
        assert_eq!(runtimes.0.lock().idle.len(), 1);
    }

    #[test]
    fn a_lane_that_nobody_was_in_for_a_while_ends() {
        let runtimes = InlineRuntimes::default();
        let (long_ago, lately) = (runtimes.take().unwrap(), runtimes.take().unwrap());
        runtimes.give_back(lately, true);
        runtimes.give_back(long_ago, true);
        if let Some(earlier) = Instant::now().checked_sub(IDLE) {
            runtimes.0.lock().idle[1].since = earlier;
            assert!(runtimes.sweep());
            assert_eq!(runtimes.0.lock().idle.len(), 1);
        }
    }
}
