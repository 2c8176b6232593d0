//! The callers that wait for the outcome of an append that shares a request.

use std::future::Future;
use std::sync::Arc;

use durable_streams_protocol::append;
use durable_streams_protocol::error::Result;
use durable_streams_protocol::operations::AppendSuccess;
use tokio::sync::oneshot;

use crate::connections::Pool;
use crate::endpoint::Endpoint;

/// The outcome of an append that shares a request.
pub struct AppendOutcome {
    /// What the response says, or the error.
    pub outcome: Result<AppendSuccess>,
    /// How many appends the request had. `None`: there was no request.
    pub together: Option<usize>,
}

/// What a request knows of one append's caller: its endpoint, its connection pool, and the sender of its outcome.
pub(super) struct Caller {
    endpoint: Arc<Endpoint>,
    pool: Pool,
    outcome_sender: oneshot::Sender<AppendOutcome>,
}

impl append::Caller for Caller {
    fn has_abandoned(&self) -> bool {
        self.outcome_sender.is_closed()
    }
}

impl Caller {
    /// Makes a caller and the receiver of its outcome. If the receiver is dropped, a waiting append is not sent. A
    /// request in flight is cancelled only when all its callers have dropped theirs.
    pub(super) fn new(endpoint: Arc<Endpoint>, pool: Pool) -> (Self, oneshot::Receiver<AppendOutcome>) {
        let (outcome_sender, outcome) = oneshot::channel();
        (
            Self {
                endpoint,
                pool,
                outcome_sender,
            },
            outcome,
        )
    }

    /// The endpoint of its request. Its values are computed on the caller's thread.
    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Gives the caller its outcome.
    pub(super) fn send_outcome(self, outcome: AppendOutcome) {
        // An abandoned caller needs no outcome.
        let _abandoned = self.outcome_sender.send(outcome);
    }

    async fn abandoned(&mut self) {
        self.outcome_sender.closed().await;
    }
}

/// Waits for `work`. Once no caller waits any more, cancels `work` and returns `None`.
pub(super) async fn unless_abandoned<'a, T>(
    callers: impl Iterator<Item = &'a mut Caller>,
    work: impl Future<Output = T>,
) -> Option<T> {
    let all_abandoned = async {
        for caller in callers {
            caller.abandoned().await;
        }
    };
    tokio::select! {
        outcome = work => Some(outcome),
        () = all_abandoned => None,
    }
}

#[cfg(test)]
mod tests {
    use durable_streams_protocol::error::Operation;
    use durable_streams_protocol::target::Values;

    use super::*;
    use crate::connections::{Client, Config};

    #[tokio::test]
    async fn cancels_work_once_no_caller_waits_for_it() {
        let client = Client::new(Config::for_tests());
        let endpoint = Arc::new(Endpoint::new(client, "http://h/s", Values::default(), None).unwrap());
        let pool = endpoint.pool(Operation::Append).unwrap();
        let (mut callers, mut outcomes): (Vec<Caller>, Vec<_>) =
            (0..2).map(|_| Caller::new(Arc::clone(&endpoint), pool.clone())).unzip();
        assert_eq!(unless_abandoned(callers.iter_mut(), async { 7 }).await, Some(7));
        outcomes.pop();
        assert_eq!(unless_abandoned(callers.iter_mut(), async { 7 }).await, Some(7));
        outcomes.clear();
        let work = std::future::pending::<()>();
        assert_eq!(unless_abandoned(callers.iter_mut(), work).await, None);
    }
}
