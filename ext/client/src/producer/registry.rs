//! The producers of this process, for its end: what they have not sent is sent then, or its lost is told.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use durable_streams_protocol::error::Result;

use super::lost_messages::{LostMessages, ReportSink};
use super::state::Shared;
use crate::fork::ProcessLocal;
use crate::lock::Mutex;
use crate::runtime::Task;

static REGISTRY: ProcessLocal<Registry> = ProcessLocal::new();

/// The producers of this process.
#[derive(Default)]
struct Registry {
    live: Mutex<Vec<Weak<Shared>>>,
    /// Of producers that are gone, each stream and reason once.
    lost: Mutex<Vec<LostMessages>>,
    /// Warnings that nobody has taken yet.
    warnings: Mutex<VecDeque<String>>,
}

/// Notes a producer that was started.
pub(super) fn add(shared: &Arc<Shared>) {
    let registry = REGISTRY.get_or_make(Registry::default);
    let mut live = registry.live.lock();
    live.retain(|producer| producer.strong_count() > 0);
    live.push(Arc::downgrade(shared));
}

impl Registry {
    fn live(&self) -> Vec<Arc<Shared>> {
        self.live.lock().iter().filter_map(Weak::upgrade).collect()
    }
}

/// Where the producers of this process report to.
pub(super) const REPORT_SINK: ReportSink = ReportSink { record_lost, warn };

/// Records what a producer that is gone has lost.
fn record_lost(lost: LostMessages) {
    let Some(registry) = REGISTRY.get() else { return };
    let mut recorded = registry.lost.lock();
    match recorded
        .iter_mut()
        .find(|known| known.url == lost.url && known.reason == lost.reason)
    {
        Some(known) => known.count += lost.count,
        None => recorded.push(lost),
    }
}

/// Whether there are warnings. Changed under the lock of `Registry::warnings` alone.
static WARNED: AtomicBool = AtomicBool::new(false);

/// Keeps a warning for the log.
fn warn(warning: String) {
    if let Some(registry) = REGISTRY.get() {
        let mut warnings = registry.warnings.lock();
        warnings.push_back(warning);
        WARNED.store(true, Ordering::Relaxed);
    }
}

/// Whether [`next_warning`] has one: asked by every append, it costs no more than a load. A forked child may be told that of
/// its parent.
#[inline]
pub fn has_warnings() -> bool {
    WARNED.load(Ordering::Relaxed)
}

/// The oldest warning of this process's producers that nobody has taken yet, for the log.
pub fn next_warning() -> Option<String> {
    let Some(registry) = REGISTRY.get() else {
        WARNED.store(false, Ordering::Relaxed);
        return None;
    };
    let mut warnings = registry.warnings.lock();
    let next = warnings.pop_front();
    WARNED.store(!warnings.is_empty(), Ordering::Relaxed);
    next
}

/// What is lost if the process ends now. The lost of a producer that is gone is given once.
pub fn lost_messages() -> Vec<LostMessages> {
    let Some(registry) = REGISTRY.get() else {
        return Vec::new();
    };
    let gone = std::mem::take(&mut *registry.lost.lock());
    let running = registry.live().into_iter().filter_map(|shared| shared.lost_messages());
    gone.into_iter().chain(running).collect()
}

/// Whether a producer of this process has something to do, or to tell, before anything more is asked of it.
pub fn is_busy() -> bool {
    let live = REGISTRY.get().map_or_else(Vec::new, |registry| registry.live());
    live.into_iter().any(|shared| shared.busy())
}

/// Has every producer of this process send what it has, and waits until each has or has failed, but not longer than
/// `limit`; `None` if there is nothing to wait for. Starts nothing where there was no producer.
///
/// # Errors
/// If the runtime cannot be started.
pub fn drain_all(limit: Duration) -> Result<Option<Task<()>>> {
    let mut live = REGISTRY.get().map_or_else(Vec::new, |registry| registry.live());
    live.retain(|shared| shared.lost_messages().is_some());
    if live.is_empty() {
        return Ok(None);
    }
    for shared in &live {
        shared.flush_soon();
    }
    let draining = Task::spawn(async move {
        let drained = async {
            for shared in &live {
                // Whether it has failed shows in its lost.
                let _failed = shared.flush().await;
            }
        };
        // Whether time ran out shows in what is still pending.
        let _late = tokio::time::timeout(limit, drained).await;
        Ok(())
    })?;
    Ok(Some(draining))
}
