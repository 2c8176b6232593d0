//! Lanes: runtimes without threads, on which whoever waits for a request carries it out.
//!
//! A request that another thread carries out costs two switches between threads, which is more than all the rest of a
//! small one. A lane has connections of its own. Nothing moves on it while nobody is in it: so it is for single requests,
//! and an idle one does not live long.

#[cfg(unix)]
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use durable_streams_protocol::error::{Error, Kind, Result};
use tokio::runtime::{Builder, Runtime};
#[cfg(unix)]
use tokio::time::Sleep;

use crate::connections::{IDLE, PoolSet, also_forget};
use crate::fork::ProcessLocal;
use crate::lock::Mutex;
use crate::runtime::runtime;

/// How many lanes a process has at most. Further requests are carried out by the runtime's threads.
const MOST: usize = 32;

/// A descriptor that a lane's runtime listens to.
#[cfg(unix)]
pub(crate) type Bell = tokio::io::unix::AsyncFd<std::os::fd::BorrowedFd<'static>>;

/// A runtime, and each client's connections on it.
pub(crate) struct Lane {
    pub(crate) runtime: Runtime,
    pub(crate) pools: PoolSet,
    /// What interrupts who is in it.
    #[cfg(unix)]
    pub(crate) bell: Option<Bell>,
    /// When who is in it next looks for interrupts that ring no bell.
    #[cfg(unix)]
    pub(crate) next_look: Option<Pin<Box<Sleep>>>,
    /// When it was given back.
    since: Instant,
    /// How many clients had been forgotten when it was made or last known to be without them.
    forgotten: u64,
}

/// The lanes of a process.
#[derive(Default)]
pub(crate) struct Lanes(Mutex<State>);

#[derive(Default)]
struct State {
    /// The one that was left last is the last.
    idle: Vec<Lane>,
    taken: usize,
    forgotten: u64,
    sweeping: bool,
}

static LANES: ProcessLocal<Lanes> = ProcessLocal::new();

/// This process's lanes, made if there are none.
pub(crate) fn lanes() -> Arc<Lanes> {
    LANES.get_or_make(|| {
        also_forget(|client| {
            if let Some(lanes) = LANES.get() {
                lanes.forget(client);
            }
        });
        Lanes::default()
    })
}

/// This process's lanes, if there are any.
pub(crate) fn known_lanes() -> Option<Arc<Lanes>> {
    LANES.get()
}

impl Lanes {
    /// A lane for one request at a time, if there is one to be had.
    pub(crate) fn take(&self) -> Option<Lane> {
        let mut state = self.0.lock();
        if let Some(lane) = state.idle.pop() {
            state.taken += 1;
            return Some(lane);
        }
        if state.taken >= MOST {
            return None;
        }
        // That the system refuses one is no failure: the runtime's threads have what they need.
        let lane = Lane::new(state.forgotten).ok()?;
        state.taken += 1;
        Some(lane)
    }

    /// Gives a lane back for others, or ends it with all that still goes on in it.
    pub(crate) fn give_back(&self, mut lane: Lane, usable: bool) {
        lane.since = Instant::now();
        let mut state = self.0.lock();
        state.taken -= 1;
        if !usable || lane.forgotten != state.forgotten {
            drop(state);
            return lane.end();
        }
        state.idle.push(lane);
        let begin = !std::mem::replace(&mut state.sweeping, true);
        drop(state);
        if begin {
            match runtime() {
                Ok(runtime) => drop(runtime.spawn(sweep())),
                // The system refuses threads. The next lane that is given back leads to another try.
                Err(_) => self.0.lock().sweeping = false,
            }
        }
    }

    /// Closes the connections of a client: idle ones now, others when their requests have ended.
    pub(crate) fn forget(&self, client: u64) {
        let mut state = self.0.lock();
        state.forgotten += 1;
        let forgotten = state.forgotten;
        let ended: Vec<Lane> = state
            .idle
            .extract_if(.., |lane| {
                lane.forgotten = forgotten;
                lane.pools.has(client)
            })
            .collect();
        drop(state);
        ended.into_iter().for_each(Lane::end);
    }

    /// Ends lanes that nobody has been in for a while; whether there are any left.
    fn sweep(&self) -> bool {
        let mut state = self.0.lock();
        let ended: Vec<Lane> = state.idle.extract_if(.., |lane| lane.since.elapsed() >= IDLE).collect();
        state.sweeping = !state.idle.is_empty();
        let go_on = state.sweeping;
        drop(state);
        ended.into_iter().for_each(Lane::end);
        go_on
    }
}

async fn sweep() {
    loop {
        tokio::time::sleep(IDLE + Duration::from_secs(1)).await;
        if !LANES.get().is_some_and(|lanes| lanes.sweep()) {
            return;
        }
    }
}

impl Lane {
    fn new(forgotten: u64) -> Result<Lane> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .thread_name("durable_streams")
            .build()
            .map_err(|e| Error::plain(Kind::Connection, format!("cannot make a lane: {e}")))?;
        Ok(Lane {
            runtime,
            pools: PoolSet::default(),
            #[cfg(unix)]
            bell: None,
            #[cfg(unix)]
            next_look: None,
            since: Instant::now(),
            forgotten,
        })
    }

    /// Closes all connections, at once and on any thread.
    fn end(self) {
        #[cfg(unix)]
        drop((self.bell, self.next_look));
        drop(self.pools);
        self.runtime.shutdown_background();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_pools(lane: &mut Lane, client: u64) {
        lane.pools.add(client);
    }

    #[test]
    fn the_lane_that_was_left_last_is_taken_first() {
        let lanes = Lanes::default();
        let (mut first, second) = (lanes.take().unwrap(), lanes.take().unwrap());
        has_pools(&mut first, 1);
        lanes.give_back(second, true);
        lanes.give_back(first, true);
        assert!(lanes.take().unwrap().pools.has(1));
    }

    #[test]
    fn there_are_no_more_than_a_process_is_to_have() {
        let lanes = Lanes::default();
        let mut taken: Vec<Lane> = (0..MOST).map_while(|_| lanes.take()).collect();
        assert_eq!(taken.len(), MOST);
        assert!(lanes.take().is_none());
        lanes.give_back(taken.pop().unwrap(), false);
        assert!(lanes.take().is_some());
    }

    #[test]
    fn a_forgotten_clients_lanes_end_the_idle_ones_at_once() {
        let lanes = Lanes::default();
        let (mut used, other, busy) = (lanes.take().unwrap(), lanes.take().unwrap(), lanes.take().unwrap());
        has_pools(&mut used, 1);
        lanes.give_back(used, true);
        lanes.give_back(other, true);
        lanes.forget(1);
        assert_eq!(lanes.0.lock().idle.len(), 1);
        lanes.give_back(busy, true);
        assert_eq!(lanes.0.lock().idle.len(), 1);
        let other = lanes.take().unwrap();
        lanes.give_back(other, true);
        assert_eq!(lanes.0.lock().idle.len(), 1);
    }

    #[test]
    fn a_lane_that_nobody_was_in_for_a_while_ends() {
        let lanes = Lanes::default();
        let (long_ago, lately) = (lanes.take().unwrap(), lanes.take().unwrap());
        lanes.give_back(lately, true);
        lanes.give_back(long_ago, true);
        if let Some(earlier) = Instant::now().checked_sub(IDLE) {
            lanes.0.lock().idle[1].since = earlier;
            assert!(lanes.sweep());
            assert_eq!(lanes.0.lock().idle.len(), 1);
        }
    }
}
