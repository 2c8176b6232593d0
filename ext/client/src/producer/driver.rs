//! The part of a producer that runs on the runtime's threads: its requests, timers and events.

use std::sync::Arc;
use std::time::Instant;

use durable_streams_protocol::producer::{BatchResponse, Transmit, TransmitId};
use durable_streams_protocol::request::RequestFailure;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::lookup::LookupResult;
use super::notice::NoticeListener;
use super::sender::RequestSender;
use super::state::Shared;

/// Runs the producer until it ends. Then `sender` and `listener` are dropped and requests that are still out are
/// cancelled. There are some only after a failure.
pub(super) async fn drive(shared: Arc<Shared>, sender: RequestSender, listener: Option<NoticeListener>) {
    struct DriverGuard(Arc<Shared>);
    impl Drop for DriverGuard {
        fn drop(&mut self) {
            self.0.driver_ended();
        }
    }
    let guard = DriverGuard(shared);
    let (shared, sender) = (&guard.0, &sender);
    // They are polled here, in the order of the batches. Separate tasks would start in any order, and the server
    // refuses requests that overtake others, so that they have to be sent again.
    let mut requests = FuturesUnordered::new();
    let mut lookups = FuturesUnordered::new();
    loop {
        let (transmits, lookup, timeout) = {
            let mut state = shared.state.lock();
            let now = Instant::now();
            let lookup = state.machine.poll_lookup(now);
            let transmits: Vec<Transmit> = std::iter::from_fn(|| state.machine.poll_transmit(now)).collect();
            state.take_events(&shared.name, listener.as_ref());
            if state.ended || state.failed.is_some() {
                return;
            }
            (transmits, lookup, state.machine.poll_timeout())
        };
        lookups.extend(lookup.map(|lookup| sender.look_up(lookup)));
        for transmit in transmits {
            requests.push(async move { (transmit.id, sender.send(transmit).await) });
        }
        let due = async {
            match timeout {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shared.driver_wakeup.notified() => {}
            () = due => {}
            Some((id, outcome)) = requests.next() => shared.ended(id, outcome),
            Some(seen) = lookups.next() => shared.looked_up(seen),
        }
    }
}

impl Shared {
    fn looked_up(&self, seen: LookupResult) {
        let mut state = self.state.lock();
        match seen {
            LookupResult::Tail(tail) => state.machine.handle_tail(tail),
            LookupResult::Batch(found) => state.machine.handle_search_result(Instant::now(), found),
        }
    }

    fn ended(&self, id: TransmitId, outcome: Result<BatchResponse, RequestFailure>) {
        let mut state = self.state.lock();
        let now = Instant::now();
        match outcome {
            Ok(response) => state.machine.handle_response(now, id, response),
            Err(failure) => state.machine.handle_failure(now, id, failure),
        }
    }
}
