//! Connections for many live reads. Read [`LiveConnections`] first.

use std::sync::Arc;
use std::{fmt, iter};

use crate::lock::Mutex;

/// How many live reads share a connection at most. Servers accept 100 to 128 requests at a time on an HTTP/2
/// connection. A further one waits until another has ended, which those by SSE do not. The rest is for other requests.
const READS: usize = 50;

/// Makes a client without connections.
type Make = Box<dyn Fn() -> Result<reqwest::Client, String> + Send + Sync>;

/// The connections for the requests of one kind. reqwest's client has one HTTP/2 connection to each server, so live
/// reads beyond [`READS`] get further clients.
pub(crate) struct LiveConnections {
    /// Also for requests that are not live reads.
    first: Share,
    further: Mutex<Vec<Share>>,
    /// `None` if no server speaks HTTP/2, as without TLS.
    make: Option<Make>,
}

/// A client, and who reads by it.
struct Share {
    client: reqwest::Client,
    reads: Arc<()>,
}

impl Share {
    fn new(client: reqwest::Client) -> Self {
        let reads = Arc::new(());
        Self { client, reads }
    }

    fn has_room(&self) -> bool {
        // Beside the reads, the share is an owner.
        Arc::strong_count(&self.reads) <= READS
    }

    fn add_read(&self) -> (reqwest::Client, LiveRead) {
        (self.client.clone(), LiveRead(Arc::clone(&self.reads)))
    }
}

/// Counts as a live read on its connection until it is dropped.
#[derive(Clone)]
pub(crate) struct LiveRead(#[allow(dead_code, reason = "it is counted")] Arc<()>);

impl fmt::Debug for LiveConnections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LiveConnections")
    }
}

impl LiveConnections {
    /// Connections of `first`. `make` makes another such client, if live reads need several.
    pub(crate) fn new(first: reqwest::Client, make: Option<Make>) -> Self {
        Self {
            first: Share::new(first),
            further: Mutex::default(),
            make,
        }
    }

    /// The client for requests that are not live reads.
    pub(crate) fn client(&self) -> &reqwest::Client {
        &self.first.client
    }

    /// The client for a live read; `None` if it is the same as for others. Keep the [`LiveRead`] until the response has
    /// ended.
    pub(crate) fn client_of_live_read(&self) -> Option<(reqwest::Client, LiveRead)> {
        let make = self.make.as_ref()?;
        // Reads are counted and added under this lock, also those of the first client.
        let mut further = self.further.lock();
        if let Some(share) = iter::once(&self.first).chain(&*further).find(|share| share.has_room()) {
            return Some(share.add_read());
        }
        // The first client was made in the same way, so this succeeds, too. If not, the read shares that one.
        let share = Share::new(make().ok()?);
        let read = share.add_read();
        further.push(share);
        Some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::client_for_tests::http2_client;

    fn connections() -> (LiveConnections, Arc<Mutex<usize>>) {
        let made = Arc::new(Mutex::new(0));
        let count = Arc::clone(&made);
        let make: Make = Box::new(move || {
            *count.lock() += 1;
            Ok(http2_client())
        });
        (LiveConnections::new(http2_client(), Some(make)), made)
    }

    #[test]
    fn as_many_live_reads_share_a_client_as_fit() {
        let (connections, made) = connections();
        let mut reads: Vec<_> = (0..2 * READS).map(|_| connections.client_of_live_read()).collect();
        assert_eq!(*made.lock(), 1);
        reads.pop();
        reads.push(connections.client_of_live_read());
        assert_eq!(*made.lock(), 1);
        reads.push(connections.client_of_live_read());
        assert_eq!(*made.lock(), 2);
    }

    #[test]
    fn a_live_read_that_has_ended_makes_room() {
        let (connections, made) = connections();
        for _ in 0..3 * READS {
            drop(connections.client_of_live_read());
        }
        assert_eq!(*made.lock(), 0);
    }
}
