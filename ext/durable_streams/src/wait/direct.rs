//! Waiting on a blocked Ruby thread, without the GVL, while other threads do the work.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Waker;

use magnus::{Error, Ruby};

use super::gvl::{PolledInterrupts, check_interrupts, without_gvl};
use super::outcome::poll;
use super::parker::{Parker, WakeReason};

/// See [`super::wait`]. Before it sleeps, the thread checks `spins` times for a wake-up.
pub(super) fn wait<F: Future>(ruby: &Ruby, mut future: Pin<&mut F>, spins: u32) -> Result<F::Output, Error> {
    let pooled = Parker::acquire();
    let parker = pooled.parker();
    let waker = Waker::from(Arc::clone(parker));
    // A future that is ready already does not need to release the GVL.
    let mut outcome = poll(future.as_mut(), &waker);
    loop {
        if let Some(outcome) = outcome.take() {
            return outcome.result(ruby);
        }
        let polled = PolledInterrupts::new();
        without_gvl(parker, || {
            parker.spin(spins);
            while outcome.is_none() {
                match parker.sleep(polled.period(), || polled.is_pending()) {
                    WakeReason::Woken => outcome = poll(future.as_mut(), &waker),
                    WakeReason::Interrupted => return,
                }
            }
        });
        if outcome.is_none() {
            check_interrupts()?;
        }
    }
}
