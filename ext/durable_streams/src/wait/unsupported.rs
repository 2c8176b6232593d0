//! Stands in for `inline` on systems where a thread that runs a job could not be interrupted. No job runs inline there.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::result::Result as StdResult;
use std::task::{Context, Poll};

use durable_streams_client::inline::job::Job;
use durable_streams_protocol::error::Result as CoreResult;
use magnus::{Error, Ruby};

use super::outcome::InlineOutcome;

/// Never made.
pub(crate) struct NoInlineWait<T>(Infallible, PhantomData<T>);

/// Returns the job.
pub(crate) fn start_inline<T>(job: Job<T>) -> CoreResult<StdResult<NoInlineWait<T>, Job<T>>> {
    Ok(Err(job))
}

/// Never.
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
