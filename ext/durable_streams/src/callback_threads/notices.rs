//! The queue of the thread that runs callbacks.

use std::sync::Arc;

use durable_streams_client::fork::ProcessLocal;
use durable_streams_client::producer::Notice;
use tokio::sync::oneshot;

use crate::handles::UseGuard;
use crate::queue::Queue;

/// What the thread that runs callbacks takes from its queue.
pub(crate) enum QueuedNotice {
    /// Something happened to a producer: the listener, the producer's originals (see `producer`), and the notice.
    Notice(UseGuard, UseGuard, Notice),
    /// There are events without an owner. The queue has one such item, however many events there are.
    Events,
    /// All notices before this one, and all events without an owner, have been passed to their listeners.
    Barrier(oneshot::Sender<()>),
}

/// This process's queue.
pub(crate) fn notices() -> Arc<Queue<QueuedNotice>> {
    static QUEUE: ProcessLocal<Queue<QueuedNotice>> = ProcessLocal::new();
    // One thread, so that notices come in order.
    QUEUE.get_or_make(|| Queue::new(1))
}
