//! Runs a read ([`Machine`](durable_streams_protocol::read::Machine)) over HTTP, and hands out what it brings.
//!
//! A session reads ahead by one answer at most, and by a bounded number of bytes: the next answer is asked for when
//! the end of the last one was taken. An answer that breaks off is read again, and what was handed out of it is left out.

use std::future::Future;
use std::sync::Arc;

use durable_streams_protocol::error::{Operation, Result};
use durable_streams_protocol::read::cursor::Live;
use durable_streams_protocol::read::event::Event;
use durable_streams_protocol::read::machine::ReadOptions;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::endpoint::Endpoint;
use crate::exchange::absence::Absence;
#[cfg(unix)]
use crate::inline::job::Driven;
use crate::inline::job::Work;
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
    shared: Arc<Mutex<Shared>>,
    gauge: Gauge,
}

struct Shared {
    events: Inlet,
    reading: Reading,
}

/// How much of what a waiter reads is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Little, as far as can be told.
    Short,
    /// Much, or another answer.
    Long,
}

/// Who carries a read out.
enum Reading {
    /// Whoever waits for its events first.
    Waiter(Unattended),
    /// Whoever waits for its events now.
    ThisWaiter,
    /// Other threads.
    Others(#[expect(dead_code, reason = "it is there to be dropped with the session")] Task<()>),
}

/// A read that nobody carries out.
pub enum Unattended {
    /// It has not begun.
    New(Work<()>),
    /// It has, and is in the midst of an answer.
    #[cfg(unix)]
    Paused(Driven<()>),
}

/// One reader's turn at a session's events: no other can take any meanwhile.
pub struct Events(OwnedMutexGuard<Shared>);

impl Session {
    /// Starts reading. A live read goes on by itself; another one is begun by whoever waits for its events first (see
    /// [`Events::unattended`]).
    ///
    /// # Errors
    /// If the client is closed or the runtime cannot be started.
    pub fn start(endpoint: &Arc<Endpoint>, options: ReadOptions) -> Result<Session> {
        let (out, events) = outlet();
        let (to, live) = (Arc::clone(endpoint), options.live);
        let absence = Absence::default();
        let noted = absence.clone();
        let work = Work::new(endpoint, Operation::Read, move |pool| {
            Driver::new(to, pool, options, out, absence).drive()
        });
        let work = work.interrupted_with(move |turn| noted.note(turn));
        let reading = match live {
            Live::Off => Reading::Waiter(Unattended::New(work.that_may_be_left())),
            Live::LongPoll | Live::Sse | Live::Auto => Reading::Others(work.spawn()?),
        };
        Ok(Session {
            gauge: events.gauge(),
            shared: Arc::new(Mutex::new(Shared { events, reading })),
        })
    }

    /// How much memory it holds, in bytes: connections' buffers, about, and what was read and not yet taken.
    pub fn memory(&self) -> usize {
        CONNECTION + self.gauge.bytes()
    }

    /// Waits for the turn to take events.
    pub fn events(&self) -> impl Future<Output = Events> + use<> {
        let shared = Arc::clone(&self.shared);
        async move { Events(shared.lock_owned().await) }
    }
}

impl Events {
    /// The read itself, if [`Events::next`] would wait for it in vain, since nobody carries it out. Whoever takes it does, or
    /// says who does from now on; dropped, it ends the read.
    pub fn unattended(&mut self, least: usize) -> Option<Unattended> {
        if self.0.events.is_ready(least) {
            return None;
        }
        match std::mem::replace(&mut self.0.reading, Reading::ThisWaiter) {
            Reading::Waiter(unattended) => Some(unattended),
            attended => {
                self.0.reading = attended;
                None
            }
        }
    }

    /// Takes back a read that its waiter has begun. A short rest is left to whoever waits next; with a long one, or what has
    /// been left once, a thread goes on meanwhile, if the system has one: it saves time and nothing else.
    #[cfg(unix)]
    pub fn take_back(&mut self, mut read: Driven<()>, rest: Rest) {
        self.0.reading = if rest == Rest::Long || read.was_left() {
            match read.leave() {
                Ok(others) => Reading::Others(others),
                Err((read, _refused)) => Reading::Waiter(Unattended::Paused(read)),
            }
        } else {
            read.pause();
            Reading::Waiter(Unattended::Paused(read))
        };
    }

    /// Has other threads carry out the read, as long as the session lives.
    pub fn leave_to(&mut self, others: Task<()>) {
        self.0.reading = Reading::Others(others);
    }

    /// The next event; `None` after the last one. Where an answer's end is not there yet, it waits until there are `least`
    /// bytes of it to be taken, or as many as are read ahead. Waiting can be given up at any time, and nothing is lost.
    pub async fn next(&mut self, least: usize) -> Option<Result<Event>> {
        self.0.events.next(least).await
    }
}
