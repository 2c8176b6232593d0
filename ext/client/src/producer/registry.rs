//! The producers of this process. At its exit their pending messages are sent, and lost messages are reported.

use std::sync::{Arc, Weak};
use std::time::Duration;

use durable_streams_protocol::error::Result;

use super::lost_messages::{LostMessages, take_recorded};
use super::state::Shared;
use crate::fork::ProcessLocal;
use crate::lock::Mutex;
use crate::runtime::Task;

static LIVE: ProcessLocal<Mutex<Vec<Weak<Shared>>>> = ProcessLocal::new();

/// Adds a producer that was started.
pub(super) fn add(shared: &Arc<Shared>) {
    let live = LIVE.get_or_make(Mutex::default);
    let mut live = live.lock();
    live.retain(|producer| producer.strong_count() > 0);
    live.push(Arc::downgrade(shared));
}

/// The producers that were not dropped.
fn live() -> Vec<Arc<Shared>> {
    LIVE.get()
        .map_or_else(Vec::new, |live| live.lock().iter().filter_map(Weak::upgrade).collect())
}

/// The messages that are lost if the process ends now. Those of a dropped producer are given once.
pub fn lost_messages() -> Vec<LostMessages> {
    let recorded = take_recorded().into_iter();
    let running = live().into_iter().filter_map(|shared| shared.lost_messages());
    recorded.chain(running).collect()
}

/// Whether a producer of this process still has to send, close or report something.
pub fn is_busy() -> bool {
    live().into_iter().any(|shared| shared.busy())
}

/// Flushes all producers of this process and waits until each has succeeded or failed, for `limit` at most. `None` if
/// no producer has pending messages; then it does not start the runtime.
///
/// # Errors
/// If the runtime cannot be started.
pub fn drain_all(limit: Duration) -> Result<Option<Task<()>>> {
    let mut live = live();
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
