//! A wait that blocks its Ruby thread, without the GVL, while other threads do the work.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Waker;

use magnus::{Error, Ruby};

use super::gvl::{PolledInterrupts, check_interrupts, without_gvl};
use super::outcome::poll;
use super::parker::{Parker, WakeReason};

/// Waits; see [`super::wait`]. Before it sleeps the thread looks `looks` times whether there is no need to.
pub(super) fn wait<F: Future>(ruby: &Ruby, mut future: Pin<&mut F>, spins: u32) -> Result<F::Output, Error> {
    let pooled = Parker::acquire();
    let parker = pooled.parker();
    let waker = Waker::from(Arc::clone(parker));
    // What is there already is taken without giving up the GVL.
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
