//! A wait that carries out its work itself, on its Ruby thread, without the GVL.

use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

use durable_streams_core::error::Result as CoreResult;
use durable_streams_core::work::Driven;
use magnus::{Error, Ruby};

use super::Outcome;
use super::gvl::{check_interrupts, without_gvl};
use super::signal::Lent;
use crate::errors;

/// Carries out `work`; see [`super::carry_out`]. The bell is the signal's.
pub(super) fn wait<T: Send + 'static>(
    ruby: &Ruby,
    lent: &Lent,
    bell: BorrowedFd<'static>,
    mut work: Driven<T>,
) -> Result<CoreResult<T>, Error> {
    let signal = lent.signal();
    let mut outcome = None;
    loop {
        without_gvl(signal, || {
            let run = || work.run(bell, || signal.take_interrupt());
            outcome = match catch_unwind(AssertUnwindSafe(run)) {
                Ok(result) => result.map(Outcome::Ready),
                Err(payload) => Some(Outcome::Panicked(errors::panic_message(payload.as_ref()))),
            };
        });
        match outcome.take() {
            Some(outcome) => return outcome.result(ruby),
            None => check_interrupts()?,
        }
    }
}
