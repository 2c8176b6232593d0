//! Runs a read ([`ReadMachine`](durable_streams_protocol::read::ReadMachine)) over HTTP, and hands out what it brings.
//!
//! A session reads ahead by one answer at most, and by a bounded number of bytes: the next answer is asked for when
//! the end of the last one was taken. An answer that breaks off is read again, and what was handed out of it is left out.

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
#[cfg(test)]
mod tests;

use channel::{BufferGauge, EventReceiver, channel};
use driver::Driver;

/// What a connection and the work on it take, about.
const CONNECTION: usize = 32 * 1024;

/// How many bytes a small response has at most.
const SMALL: usize = 64 * 1024;
/// How long the rest of a small response may take, once there is something to hand out.
const PATIENCE: Duration = Duration::from_millis(10);

/// A read under way. Dropped, it is cancelled.
pub struct Session {
    receiver: Arc<Mutex<EventReceiver>>,
    gauge: BufferGauge,
    /// Unless its waiter carries it out.
    _reading: Option<Task<()>>,
}

/// One reader's turn at a session's events: no other can take any meanwhile.
pub struct EventsLock(OwnedMutexGuard<EventReceiver>);

impl Session {
    /// Starts reading, on the runtime's threads.
    ///
    /// # Errors
    /// If the client is closed or the runtime cannot be started.
    pub fn start(endpoint: &Arc<Endpoint>, options: ReadOptions) -> Result<Session> {
        let pool = endpoint.pool(Operation::Read)?;
        let (sender, receiver) = channel();
        let driver = Driver::new(Arc::clone(endpoint), pool, options, sender);
        Ok(Session::of(receiver, Some(Task::spawn(driver.drive())?)))
    }

    /// A read that has not begun, and the work that it is: whether all its events are there now. If they are not, there is more
    /// to read than a small response, and the session is of no use: nothing goes on with it.
    ///
    /// For a read that is not live, and is expected to be small.
    pub fn inline(endpoint: &Arc<Endpoint>, options: ReadOptions) -> (Session, Job<bool>) {
        let (sender, receiver) = channel();
        let (to, mut gauge) = (Arc::clone(endpoint), receiver.gauge());
        let job = Job::new(endpoint, Operation::Read, move |pool| async move {
            tokio::select! {
                biased;
                ended = Driver::new(to, pool, options, sender).drive() => ended.map(|()| true),
                () = is_large(&mut gauge) => Ok(false),
            }
        });
        (Session::of(receiver, None), job)
    }

    fn of(receiver: EventReceiver, reading: Option<Task<()>>) -> Session {
        Session {
            gauge: receiver.gauge(),
            receiver: Arc::new(Mutex::new(receiver)),
            _reading: reading,
        }
    }

    /// How much memory it holds, in bytes: connections' buffers, about, and what was read and not yet taken.
    pub fn memory(&self) -> usize {
        CONNECTION + self.gauge.bytes()
    }

    /// Waits for the turn to take events.
    pub fn lock_events(&self) -> impl Future<Output = EventsLock> + use<> {
        let receiver = Arc::clone(&self.receiver);
        async move { EventsLock(receiver.lock_owned().await) }
    }
}

impl EventsLock {
    /// The next event; `None` after the last one. Where an answer's end is not there yet, it waits until there are `least`
    /// bytes of it to be taken, or as many as are read ahead. Waiting can be given up at any time, and nothing is lost.
    pub async fn next(&mut self, least: usize) -> Option<Result<ReadEvent>> {
        self.0.next(least).await
    }
}

/// Ends when more has come than a small response, or the rest of one does not come.
async fn is_large(gauge: &mut BufferGauge) {
    gauge.reached(1).await;
    // Either way it is outgrown.
    let _late = tokio::time::timeout(PATIENCE, gauge.reached(SMALL)).await;
}
