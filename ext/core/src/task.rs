//! Work on the runtime, as a value that can be waited for from any thread and that ends when it is dropped.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::JoinHandle;

use crate::error::{Error, Kind, Result};
use crate::process::{self, ProcessBound, runtime};

/// Work under way. Dropped before its end, it is cancelled (and its connection with it).
pub struct Task<T>(ProcessBound<Running<T>>);

struct Running<T>(JoinHandle<Result<T>>);

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T: Send + 'static> Task<T> {
    /// Starts `work` on the runtime's threads.
    ///
    /// # Errors
    /// If the runtime cannot be started.
    pub fn spawn(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<Task<T>> {
        Ok(Task(ProcessBound::new(Running(runtime()?.spawn(work)))))
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        let Some(running) = self.0.get_mut() else {
            return Poll::Ready(Err(process::forked()));
        };
        Pin::new(&mut running.0)
            .poll(context)
            .map(|joined| joined.unwrap_or_else(|e| Err(ended(e))))
    }
}

/// A task that gave no result: it panicked, or the runtime is going down.
fn ended(error: tokio::task::JoinError) -> Error {
    if !error.is_panic() {
        return Error::plain(Kind::Connection, "the request was cancelled".to_owned());
    }
    panicked(error.into_panic().as_ref())
}

/// What becomes of a panic.
pub(crate) fn panicked(payload: &(dyn Any + Send)) -> Error {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or(payload.downcast_ref::<String>().map(String::as_str));
    Error::plain(
        Kind::Internal,
        format!("internal error: {}", text.unwrap_or("a panic without a message")),
    )
}
