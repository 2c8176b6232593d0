//! Looks up the addresses of hosts, on the threads that a runtime has for blocking calls.
//!
//! reqwest does the same by itself, but there tokio panics if the system refuses the first such thread.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::vec::IntoIter;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::runtime::try_threads;

/// Asks the system for addresses.
pub(crate) struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            try_threads(1).map_err(|refused| {
                io::Error::new(refused.kind(), format!("no thread can look up the host: {refused}"))
            })?;
            let mut lookup = Lookup(spawn_blocking(move || (name.as_str(), 0).to_socket_addrs()));
            Ok(Box::new((&mut lookup.0).await??) as Addrs)
        })
    }
}

/// Dropping it ends a lookup that has not begun.
struct Lookup(JoinHandle<io::Result<IntoIter<SocketAddr>>>);

impl Drop for Lookup {
    fn drop(&mut self) {
        self.0.abort();
    }
}
