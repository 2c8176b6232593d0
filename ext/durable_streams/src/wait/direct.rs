//! A wait that blocks its Ruby thread, without the GVL, while other threads do the work.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Waker;

use magnus::{Error, Ruby};

use super::gvl::{Unannounced, check_interrupts, without_gvl};
use super::outcome::poll;
use super::signal::{Cause, Signal};

/// Waits; see [`super::wait`]. Before it sleeps the thread looks `looks` times whether there is no need to.
pub(super) fn wait<F: Future>(ruby: &Ruby, mut future: Pin<&mut F>, looks: u32) -> Result<F::Output, Error> {
    let lent = Signal::lend();
    let signal = lent.signal();
    let waker = Waker::from(Arc::clone(signal));
    // What is there already is taken without giving up the GVL.
    let mut outcome = poll(future.as_mut(), &waker);
    loop {
        if let Some(outcome) = outcome.take() {
            return outcome.result(ruby);
        }
        let unannounced = Unannounced::new();
        without_gvl(signal, || {
            signal.look_out(looks);
            while outcome.is_none() {
                match signal.sleep(unannounced.period(), || unannounced.is_pending()) {
                    Cause::Woken => outcome = poll(future.as_mut(), &waker),
                    Cause::Interrupted => return,
                }
            }
        });
        if outcome.is_none() {
            check_interrupts()?;
        }
    }
}
