//! Request bodies whose progress can be watched, so that a time limit bounds silence and not the whole upload.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::timeout;

/// How much the connection is given at a time.
const PIECE: usize = 256 * 1024;

/// How many bytes of a body the connection has taken so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress(Arc<AtomicUsize>);

impl Progress {
    /// Whether any of it was taken: else there is no connection yet.
    pub(crate) fn begun(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// A request body, and where to see how far it has got.
pub(crate) fn body(bytes: Bytes) -> (reqwest::Body, Progress) {
    let progress = Progress::default();
    let pieces = Pieces {
        rest: bytes,
        progress: progress.clone(),
    };
    (reqwest::Body::wrap(pieces), progress)
}

/// Waits for `future`, as long as no `limit` passes without progress. `None`: silence for that long.
pub(crate) async fn unless_silent<F: Future>(limit: Duration, progress: &Progress, future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut seen = progress.0.load(Ordering::Relaxed);
    loop {
        if let Ok(output) = timeout(limit, future.as_mut()).await {
            return Some(output);
        }
        let now = progress.0.load(Ordering::Relaxed);
        if now == seen {
            return None;
        }
        seen = now;
    }
}

struct Pieces {
    rest: Bytes,
    progress: Progress,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let size = self.rest.len().min(PIECE);
        self.progress.0.fetch_add(size, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(size)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_ends_the_wait_and_progress_extends_it() {
        let progress = Progress::default();
        let ticking = progress.clone();
        let slow = async move {
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_secs(9)).await;
                ticking.0.fetch_add(1, Ordering::Relaxed);
            }
        };
        assert_eq!(unless_silent(Duration::from_secs(10), &progress, slow).await, Some(()));
        let never = std::future::pending::<()>();
        assert_eq!(unless_silent(Duration::from_secs(10), &progress, never).await, None);
    }
}
