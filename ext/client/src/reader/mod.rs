//! Runs a read ([`ReadMachine`](durable_streams_protocol::read::ReadMachine)) over HTTP. Read [`Session`] first.
//!
//! A session reads ahead by one response at most, and by a bounded number of bytes: it sends the next request when the
//! application has taken the end of the last response. If a response breaks off, the session requests it again and
//! skips the part that the application already has.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use durable_streams_protocol::error::{Operation, Result};
use durable_streams_protocol::read::event::ReadEvent;
use durable_streams_protocol::read::machine::ReadOptions;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::endpoint::Endpoint;
use crate::inline::job::Job;
use crate::runtime::Task;

mod channel;
mod driver;
mod shared_poll;
#[cfg(test)]
mod tests;

use channel::{BufferGauge, EventReceiver, channel};
use driver::Driver;

/// How many bytes of memory a connection and its task use, about.
const CONNECTION: usize = 32 * 1024;

/// How many bytes a small response has at most.
const SMALL: usize = 64 * 1024;
/// How long a small response may take after its first event.
const PATIENCE: Duration = Duration::from_millis(10);

/// The network side of one iteration of a reader. Dropping it cancels the read.
pub struct Session {
    receiver: Arc<Mutex<EventReceiver>>,
    gauge: BufferGauge,
    /// `None` if an inline job carries out the read.
    _reading: Option<Task<()>>,
}

/// The right to take a session's events, which one caller at a time has.
pub struct EventsLock(OwnedMutexGuard<EventReceiver>);

impl Session {
    /// Starts a read on the runtime's threads.
    ///
    /// # Errors
    /// If the client is closed or the runtime cannot be started.
    pub fn start(endpoint: &Arc<Endpoint>, options: ReadOptions) -> Result<Self> {
        let pool = endpoint.pool(Operation::Read)?;
        let (sender, receiver) = channel();
        let driver = Driver::new(Arc::clone(endpoint), pool, options, sender);
        Ok(Self::of(receiver, Some(Task::spawn(driver.drive())?)))
    }

    /// Makes a read that has not begun, and the job that carries it out. For a read that is not live and is expected to
    /// be small.
    ///
    /// The job's outcome says whether all events of the read have arrived. If it is false, there is more than a small
    /// response to read; the read has been cancelled, so drop the session.
    pub fn inline(endpoint: &Arc<Endpoint>, options: ReadOptions) -> (Self, Job<bool>) {
        let (sender, receiver) = channel();
        let (to, mut gauge) = (Arc::clone(endpoint), receiver.gauge());
        let job = Job::new(endpoint, Operation::Read, move |pool| async move {
            tokio::select! {
                biased;
                ended = Driver::new(to, pool, options, sender).drive() => ended.map(|()| true),
                () = outgrows_small(&mut gauge) => Ok(false),
            }
        });
        (Self::of(receiver, None), job)
    }

    fn of(receiver: EventReceiver, reading: Option<Task<()>>) -> Self {
        Self {
            gauge: receiver.gauge(),
            receiver: Arc::new(Mutex::new(receiver)),
            _reading: reading,
        }
    }

    /// How many bytes of memory the session uses, about: the connection's buffers and the events that are not yet
    /// taken.
    pub fn memory(&self) -> usize {
        CONNECTION + self.gauge.bytes()
    }

    /// Waits until no other caller takes events.
    pub fn lock_events(&self) -> impl Future<Output = EventsLock> + use<> {
        let receiver = Arc::clone(&self.receiver);
        async move { EventsLock(receiver.lock_owned().await) }
    }
}

impl EventsLock {
    /// The next event, or `None` after the last one. Before a response's end has arrived, it waits until `least` bytes
    /// of it have, or as many as the session reads ahead. The future may be dropped at any time; no event is lost.
    pub async fn next(&mut self, least: usize) -> Option<Result<ReadEvent>> {
        self.0.next(least).await
    }
}

/// Completes when the read is not small: it has [`SMALL`] bytes, goes on after a response, or has not ended
/// [`PATIENCE`] after its first event.
async fn outgrows_small(gauge: &mut BufferGauge) {
    gauge.reached(1).await;
    // In both cases the read is not small.
    let _late = tokio::time::timeout(PATIENCE, gauge.reached(SMALL)).await;
}
