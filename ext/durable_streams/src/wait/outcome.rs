//! How awaited work ended.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use durable_streams_protocol::error::Result as CoreResult;
use magnus::{Error, Ruby};

use crate::errors;

/// The result of awaited work, or its panic.
pub(super) enum Outcome<T> {
    Ready(T),
    Panicked(String),
}

/// Why the run of an inline job ended.
#[cfg_attr(not(unix), expect(dead_code, reason = "never made"))]
pub(crate) enum InlineOutcome<T, A> {
    /// The job ended. It must not run again.
    Done(CoreResult<T>),
    /// The other event came first.
    Other(A),
}

impl<T> Outcome<T> {
    /// The result. A panic becomes an exception.
    pub(super) fn result(self, ruby: &Ruby) -> Result<T, Error> {
        match self {
            Self::Ready(output) => Ok(output),
            Self::Panicked(message) => Err(errors::internal(ruby, &message)),
        }
    }
}

/// Polls the future. Returns its outcome once it ends, also by a panic. It must not be polled after that.
pub(super) fn poll<F: Future>(future: Pin<&mut F>, waker: &Waker) -> Option<Outcome<F::Output>> {
    let mut context = Context::from_waker(waker);
    match catch_unwind(AssertUnwindSafe(|| future.poll(&mut context))) {
        Ok(Poll::Ready(output)) => Some(Outcome::Ready(output)),
        Ok(Poll::Pending) => None,
        Err(payload) => Some(Outcome::Panicked(errors::panic_message(payload.as_ref()))),
    }
}
