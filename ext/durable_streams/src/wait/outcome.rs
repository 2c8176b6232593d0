//! How awaited work ended.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use durable_streams_client::fork::{ProcessBound, forked};
use durable_streams_client::inline::job::AnyResult;
use durable_streams_client::runtime::panic_message;
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
pub(crate) enum InlineOutcome<A> {
    /// The job ended. It must not run again.
    Done(CoreResult<AnyResult>),
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

/// A future, and its outcome once it has ended. A forked child neither polls nor drops the future: what it waits for
/// happens in the parent.
pub(super) struct PolledFuture<F: Future> {
    future: ProcessBound<Pin<Box<F>>>,
    outcome: Option<Outcome<F::Output>>,
}

impl<F: Future> PolledFuture<F> {
    pub(super) fn new(future: F) -> Self {
        Self {
            future: ProcessBound::new(Box::pin(future)),
            outcome: None,
        }
    }

    /// Polls the future. Returns true once it has ended, also by a panic, and in a forked child. Do not poll it after
    /// that.
    pub(super) fn poll(&mut self, waker: &Waker) -> bool {
        self.future.get_mut().is_none_or(|future| {
            self.outcome = poll(future.as_mut(), waker);
            self.outcome.is_some()
        })
    }

    /// The result of the future that has ended.
    ///
    /// # Errors
    /// In a forked child.
    pub(super) fn result(self, ruby: &Ruby) -> Result<F::Output, Error> {
        if self.future.get().is_none() {
            return Err(errors::raise(ruby, forked()));
        }
        let unended = || Outcome::Panicked("a wait returned before its end".to_owned());
        self.outcome.unwrap_or_else(unended).result(ruby)
    }
}

// Not inlined: both ways to wait then share the code of each future.
#[inline(never)]
fn poll<F: Future + ?Sized>(future: Pin<&mut F>, waker: &Waker) -> Option<Outcome<F::Output>> {
    let mut context = Context::from_waker(waker);
    match catch_unwind(AssertUnwindSafe(|| future.poll(&mut context))) {
        Ok(Poll::Ready(output)) => Some(Outcome::Ready(output)),
        Ok(Poll::Pending) => None,
        Err(payload) => Some(Outcome::Panicked(panic_message(payload.as_ref()).to_owned())),
    }
}
