//! A wait that carries out its work itself, on its Ruby thread, without the GVL.

use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

use durable_streams_core::error::Result as CoreResult;
use durable_streams_core::work::{Driven, Ran};
use magnus::{Error, Ruby};

use super::Outcome;
use super::gvl::{check_interrupts, without_gvl};
use super::signal::Lent;
use crate::errors;

/// Carries out `work`; see [`super::carry_out`]. The bell is the signal's.
pub(super) fn wait<T: Send + 'static, A>(
    ruby: &Ruby,
    lent: &Lent,
    bell: BorrowedFd<'static>,
    mut work: Driven<T>,
    mut asked: impl FnMut(&mut Context<'_>) -> Poll<A>,
    mut attend: impl FnMut(A, Driven<T>) -> Result<Driven<T>, Error>,
) -> Result<CoreResult<T>, Error> {
    let signal = lent.signal();
    loop {
        let mut ran = Outcome::Ready(Ran::Interrupted);
        without_gvl(signal, || {
            let run = || work.run(bell, || signal.take_interrupt(), &mut asked);
            ran = match catch_unwind(AssertUnwindSafe(run)) {
                Ok(ran) => Outcome::Ready(ran),
                Err(payload) => Outcome::Panicked(errors::panic_message(payload.as_ref())),
            };
        });
        match ran.result(ruby)? {
            Ran::Done(outcome) => return Ok(outcome),
            Ran::Aside(question) => work = attend(question, work)?,
            Ran::Interrupted => check_interrupts()?,
        }
    }
}
