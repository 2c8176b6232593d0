//! Runs a read ([`Machine`](durable_streams_protocol::read::Machine)) over HTTP, and hands out what it brings.
//!
//! A session reads ahead by one answer at most, and by a bounded number of bytes: the next answer is asked for when
//! the end of the last one was taken. An answer that breaks off is read again, and what was handed out of it is left out.

use std::future::Future;
use std::sync::Arc;

use durable_streams_protocol::error::{Operation, Result};
use durable_streams_protocol::read::event::Event;
use durable_streams_protocol::read::machine::ReadOptions;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::endpoint::Endpoint;
use crate::runtime::Task;

mod channel;
mod driver;
#[cfg(test)]
mod tests;

use channel::{Gauge, Inlet, outlet};
use driver::Driver;

/// What a connection and the work on it take, about.
const CONNECTION: usize = 32 * 1024;

/// A read under way. Dropped, it is cancelled.
pub struct Session {
    events: Arc<Mutex<Inlet>>,
    gauge: Gauge,
    _reading: Task<()>,
}

/// One reader's turn at a session's events: no other can take any meanwhile.
pub struct Events(OwnedMutexGuard<Inlet>);

impl Session {
    /// Starts reading, on the runtime's threads: they read ahead while Ruby works on what came. (The waiting thread would save
    /// two thread switches for a read that is one small response. bench/README has what that is worth.)
    ///
    /// # Errors
    /// If the client is closed or the runtime cannot be started.
    pub fn start(endpoint: &Arc<Endpoint>, options: ReadOptions) -> Result<Session> {
        let pool = endpoint.pool(Operation::Read)?;
        let (out, events) = outlet();
        let gauge = events.gauge();
        let driver = Driver::new(Arc::clone(endpoint), pool, options, out);
        Ok(Session {
            events: Arc::new(Mutex::new(events)),
            gauge,
            _reading: Task::spawn(driver.drive())?,
        })
    }

    /// How much memory it holds, in bytes: connections' buffers, about, and what was read and not yet taken.
    pub fn memory(&self) -> usize {
        CONNECTION + self.gauge.bytes()
    }

    /// Waits for the turn to take events.
    pub fn events(&self) -> impl Future<Output = Events> + use<> {
        let events = Arc::clone(&self.events);
        async move { Events(events.lock_owned().await) }
    }
}

impl Events {
    /// The next event; `None` after the last one. Where an answer's end is not there yet, it waits until there are `least`
    /// bytes of it to be taken, or as many as are read ahead. Waiting can be given up at any time, and nothing is lost.
    pub async fn next(&mut self, least: usize) -> Option<Result<Event>> {
        self.0.next(least).await
    }
}
