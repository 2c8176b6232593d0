//! Waiting on a blocked Ruby thread, without the GVL, while other threads do the work.

use std::future::Future;
use std::sync::Arc;
use std::task::Waker;

use durable_streams_client::fork::generation;
use magnus::{Error, Ruby};

use super::gvl::{PolledInterrupts, check_interrupts, without_gvl};
use super::outcome::PolledFuture;
use super::parker::{Parker, WakeReason};

/// See [`super::wait`]. Before it sleeps, the thread checks `spins` times for a wake-up.
pub(super) fn wait<F: Future>(ruby: &Ruby, mut polled: PolledFuture<F>, spins: u32) -> Result<F::Output, Error> {
    wait_until(&mut |waker| polled.poll(waker), spins)?;
    polled.result(ruby)
}

/// Waits until `ended` returns true. Ends early in a forked child. Takes a trait object, so that it is compiled once
/// instead of for every future.
fn wait_until(ended: &mut dyn FnMut(&Waker) -> bool, spins: u32) -> Result<(), Error> {
    let (pooled, process) = (Parker::acquire(), generation());
    let parker = pooled.parker();
    let waker = Waker::from(Arc::clone(parker));
    // A future that is ready already does not need to release the GVL.
    let mut has_ended = ended(&waker);
    while !has_ended {
        check_interrupts()?;
        // A trap handler has forked, and this is the child.
        if generation() != process {
            break;
        }
        let polled = PolledInterrupts::new();
        without_gvl(parker, || {
            parker.spin(spins);
            while !has_ended {
                match parker.sleep(polled.period(), || polled.is_pending()) {
                    WakeReason::Woken => has_ended = ended(&waker),
                    WakeReason::Interrupted => return,
                }
            }
        });
    }
    Ok(())
}
