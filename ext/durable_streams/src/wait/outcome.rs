//! What came of the work that is waited for: its result, or a panic.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use magnus::{Error, Ruby};

use crate::errors;

/// What came of the work that is waited for.
pub(super) enum Outcome<T> {
    Ready(T),
    Panicked(String),
}

impl<T> Outcome<T> {
    /// The result; a panic is an exception.
    pub(super) fn result(self, ruby: &Ruby) -> Result<T, Error> {
        match self {
            Outcome::Ready(output) => Ok(output),
            Outcome::Panicked(message) => Err(errors::internal(ruby, &message)),
        }
    }
}

/// Lets the future go on; with an outcome at its end, of which a panic is one. It must not be polled after that.
pub(super) fn poll<F: Future>(future: Pin<&mut F>, waker: &Waker) -> Option<Outcome<F::Output>> {
    let mut context = Context::from_waker(waker);
    match catch_unwind(AssertUnwindSafe(|| future.poll(&mut context))) {
        Ok(Poll::Ready(output)) => Some(Outcome::Ready(output)),
        Ok(Poll::Pending) => None,
        Err(payload) => Some(Outcome::Panicked(errors::panic_message(payload.as_ref()))),
    }
}
