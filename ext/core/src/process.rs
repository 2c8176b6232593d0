//! What belongs to one process and must not survive `fork`: the runtime, its threads, the connection pools.
//!
//! All of it hangs off one root. A forked child finds no root and makes its own on first use; the parent's is leaked
//! there on purpose, since dropping it would join threads that do not exist and touch sockets that are the parent's.
//! `pthread_atfork` tells the child, so that this holds for every way to fork, Ruby's or C's.

use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::{Arc, Once};

use crate::lock::Mutex;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::error::{Error, Kind, Result};
use crate::http::Pools;
use crate::lane::Lanes;
use crate::producing;

static ROOT: AtomicPtr<Root> = AtomicPtr::new(std::ptr::null_mut());
static GENERATION: AtomicU64 = AtomicU64::new(0);
static AT_FORK: Once = Once::new();

/// The process-bound state. It is made once a process and never dropped.
pub(crate) struct Root {
    runtime: Runtime,
    pub(crate) pools: Mutex<HashMap<u64, Arc<Pools>>>,
    pub(crate) lanes: Lanes,
    pub(crate) producing: producing::Registry,
}

impl Root {
    /// Where requests run.
    pub(crate) fn runtime(&self) -> &Handle {
        self.runtime.handle()
    }
}

/// A number that differs between a process and its forked children.
pub fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

/// Has the system tell every forked child that it is one. Best called before the process has threads; starts nothing.
pub fn watch_forks() {
    AT_FORK.call_once(|| {
        #[cfg(unix)]
        // SAFETY: registers a handler that does nothing but store to two atomics, which is safe in a forked child of a
        // process with threads. The library is never unloaded, so the handler stays callable.
        unsafe {
            libc::pthread_atfork(None, None, Some(in_child));
        }
    });
}

/// The runtime that requests run on.
///
/// # Errors
/// `Kind::Connection` if the system refuses threads or descriptors.
pub fn runtime() -> Result<&'static Handle> {
    Ok(root()?.runtime.handle())
}

pub(crate) fn root() -> Result<&'static Root> {
    started().map_or_else(make_root, Ok)
}

/// The root, if this process has one already.
pub(crate) fn started() -> Option<&'static Root> {
    // SAFETY: the pointer is null or comes from `Box::into_raw`: what it points at lives as long as the process and is
    // only ever shared. No Ruby here: any thread, with or without the GVL.
    unsafe { ROOT.load(Ordering::Acquire).as_ref() }
}

/// The producers of this process, if it has a root. Starts nothing.
pub(crate) fn producing() -> Option<&'static producing::Registry> {
    started().map(|root| &root.producing)
}

/// What becomes, in a forked child, of work that its parent started.
pub fn forked() -> Error {
    let reason = "the process forked while this was under way".to_owned();
    Error::plain(Kind::Connection, reason)
}

#[cold]
fn make_root() -> Result<&'static Root> {
    watch_forks();
    let made = Box::into_raw(Box::new(Root {
        runtime: build_runtime()?,
        pools: Mutex::default(),
        lanes: Lanes::default(),
        producing: producing::Registry::default(),
    }));
    match ROOT.compare_exchange(std::ptr::null_mut(), made, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: `made` was leaked just now and is never freed once it is the root.
        Ok(_) => Ok(unsafe { &*made }),
        Err(winner) => {
            // SAFETY: `made` lost the race and was never shared; `winner` is a leaked root.
            let (loser, root) = unsafe { (Box::from_raw(made), &*winner) };
            loser.runtime.shutdown_background();
            Ok(root)
        }
    }
}

#[cfg(unix)]
extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    ROOT.store(std::ptr::null_mut(), Ordering::Release);
}

fn build_runtime() -> Result<Runtime> {
    // Each hop from one worker to another costs more than what most requests do there: few workers, even on large
    // machines, since it is Ruby that has little to give them. (On two cores one instead of two: an append's CPU time
    // falls from 50 to 33 microseconds.)
    let workers = std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 4).clamp(1, 4));
    Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(16)
        .thread_name("durable_streams")
        .enable_all()
        .build()
        .map_err(|e| Error::plain(Kind::Connection, format!("cannot start the network threads: {e}")))
}

/// A value that is of use only in the process that made it. In a forked child it is neither seen nor dropped.
pub struct ProcessBound<T> {
    generation: u64,
    value: ManuallyDrop<T>,
}

impl<T> ProcessBound<T> {
    /// Binds `value` to this process.
    pub fn new(value: T) -> Self {
        ProcessBound {
            generation: generation(),
            value: ManuallyDrop::new(value),
        }
    }

    /// The value, in the process that made it.
    pub fn get(&self) -> Option<&T> {
        (self.generation == generation()).then_some(&*self.value)
    }

    /// The value, in the process that made it.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        (self.generation == generation()).then_some(&mut *self.value)
    }
}

impl<T> Drop for ProcessBound<T> {
    fn drop(&mut self) {
        if self.generation == generation() {
            // SAFETY: dropped once, here, and not used after.
            unsafe { ManuallyDrop::drop(&mut self.value) }
        }
    }
}

/// A shared value that each process makes for itself when it first needs it. A forked child leaks its parent's.
pub struct ProcessLocal<T> {
    held: AtomicPtr<(u64, Arc<T>)>,
}

impl<T> Default for ProcessLocal<T> {
    fn default() -> Self {
        ProcessLocal::new()
    }
}

impl<T> ProcessLocal<T> {
    /// Nothing yet.
    pub const fn new() -> Self {
        ProcessLocal {
            held: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    /// This process's value, made by `make` if there is none yet.
    pub fn get_or_make(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let found = self.held.load(Ordering::Acquire);
        // SAFETY: a pointer in `held` is null or a leaked box that is freed in `drop` alone, which has `&mut self`.
        if let Some((generation, value)) = unsafe { found.as_ref() }
            && *generation == self::generation()
        {
            return Arc::clone(value);
        }
        let made = Box::into_raw(Box::new((generation(), Arc::new(make()))));
        let current = match self
            .held
            .compare_exchange(found, made, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) => made,
            Err(winner) => {
                // SAFETY: `made` lost the race and was never shared.
                drop(unsafe { Box::from_raw(made) });
                winner
            }
        };
        // SAFETY: as above; whatever was swapped in or won the race is not null.
        Arc::clone(unsafe { &(*current).1 })
    }
}

impl<T> Drop for ProcessLocal<T> {
    fn drop(&mut self) {
        let held = *self.held.get_mut();
        // SAFETY: nobody else can reach the pointer any more; a foreign process's value is left alone.
        unsafe {
            if held
                .as_ref()
                .is_some_and(|(generation, _)| *generation == self::generation())
            {
                drop(Box::from_raw(held));
            }
        }
    }
}

#[cfg(all(test, unix))]
mod tests;
