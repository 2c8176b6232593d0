//! Stands in for `inline` on systems where a thread that runs a job could not be interrupted. No job runs inline there.

use std::convert::Infallible;
use std::result::Result as StdResult;
use std::task::{Context, Poll};

use durable_streams_client::inline::job::AnyJob;
use durable_streams_protocol::error::Result as CoreResult;
use magnus::{Error, Ruby};

use super::outcome::InlineOutcome;

/// Never made.
pub(crate) struct NoInlineWait(Infallible);

/// Returns the job.
pub(crate) fn start_inline(job: AnyJob) -> CoreResult<StdResult<NoInlineWait, AnyJob>> {
    Ok(Err(job))
}

/// Never.
pub(crate) fn may_run_inline() -> bool {
    false
}

impl NoInlineWait {
    pub(crate) fn run<A>(
        &mut self,
        _ruby: &Ruby,
        _other: impl FnMut(&mut Context<'_>) -> Poll<A>,
    ) -> Result<InlineOutcome<A>, Error> {
        match self.0 {}
    }
}
