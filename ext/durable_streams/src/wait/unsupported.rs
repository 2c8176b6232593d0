//! Where no thread can carry out its work itself, since it could not be interrupted.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::result::Result as StdResult;
use std::task::{Context, Poll};

use durable_streams_client::inline::job::Job;
use durable_streams_protocol::error::Result as CoreResult;
use magnus::{Error, Ruby};

/// As on Unix, but there is none.
pub(crate) struct NoInlineWait<T>(Infallible, PhantomData<T>);

/// As on Unix.
#[expect(dead_code, reason = "never made")]
pub(crate) enum InlineOutcome<T, A> {
    Done(CoreResult<T>),
    Other(A),
}

/// As on Unix, but it cannot be.
pub(crate) fn start_inline<T>(work: Job<T>) -> CoreResult<StdResult<NoInlineWait<T>, Job<T>>> {
    Ok(Err(work))
}

/// As on Unix, but none may.
pub(crate) fn may_run_inline() -> bool {
    false
}

impl<T> NoInlineWait<T> {
    pub(crate) fn run<A>(
        &mut self,
        _ruby: &Ruby,
        _other: impl FnMut(&mut Context<'_>) -> Poll<A>,
    ) -> Result<InlineOutcome<T, A>, Error> {
        match self.0 {}
    }
}
