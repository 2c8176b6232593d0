//! Where no thread can carry out its work itself, since it could not be interrupted.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::result::Result as StdResult;
use std::task::{Context, Poll};

use durable_streams_client::inline::job::Work;
use durable_streams_protocol::error::Result as CoreResult;
use magnus::{Error, Ruby};

/// As on Unix, but there is none.
pub(crate) struct Here<T>(Infallible, PhantomData<T>);

/// As on Unix.
#[expect(dead_code, reason = "never made")]
pub(crate) enum Went<T, A> {
    Done(CoreResult<T>),
    Aside(A),
}

/// As on Unix, but it cannot be.
pub(crate) fn here<T>(work: Work<T>) -> CoreResult<StdResult<Here<T>, Work<T>>> {
    Ok(Err(work))
}

/// As on Unix, but none may.
pub(crate) fn may_be_here() -> bool {
    false
}

impl<T> Here<T> {
    pub(crate) fn go_on<A>(
        &mut self,
        _ruby: &Ruby,
        _aside: impl FnMut(&mut Context<'_>) -> Poll<A>,
    ) -> Result<Went<T, A>, Error> {
        match self.0 {}
    }
}
