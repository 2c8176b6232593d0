//! The producers of this process. At its exit their pending messages are sent, and lost messages are reported.

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
    /// The lost messages of dropped producers: one entry for each stream and reason.
    lost: Mutex<Vec<LostMessages>>,
}

/// Adds a producer that was started.
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

/// Where the producers of this process report.
pub(super) const REPORT_SINK: ReportSink = ReportSink { record_lost };

/// Records the lost messages of a dropped producer.
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

/// The messages that are lost if the process ends now. Those of a dropped producer are given once.
pub fn lost_messages() -> Vec<LostMessages> {
    let Some(registry) = REGISTRY.get() else {
        return Vec::new();
    };
    let gone = std::mem::take(&mut *registry.lost.lock());
    let running = registry.live().into_iter().filter_map(|shared| shared.lost_messages());
    gone.into_iter().chain(running).collect()
}

/// Whether a producer of this process still has to send, close or report something.
pub fn is_busy() -> bool {
    let live = REGISTRY.get().map_or_else(Vec::new, |registry| registry.live());
    live.into_iter().any(|shared| shared.busy())
}

/// Flushes all producers of this process and waits until each has succeeded or failed, for `limit` at most. `None` if
/// no producer has pending messages; then it does not start the runtime.
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
                // Its lost messages show whether it has failed.
                let _failed = shared.flush().await;
            }
        };
        // The pending messages show whether the time ran out.
        let _late = tokio::time::timeout(limit, drained).await;
        Ok(())
    })?;
    Ok(Some(draining))
}
