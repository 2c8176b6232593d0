//! Group commit: appends that arrive while a request is out share the next one. Read [`Appender`] first.
//!
//! [`Group`] decides which append leads and which appends share a request. [`AppendBatch`] decides how often the
//! request is sent. This module sends the requests, waits, and gives each caller its outcome.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use durable_streams_protocol::append::{Append, AppendAction, AppendBatch, Arrival, Group, Leader, LeaderAction};
use durable_streams_protocol::error::{Error, Kind, Operation, Result};
use durable_streams_protocol::operations;
use durable_streams_protocol::request::{Request, RequestFailure, Response};
use tokio::sync::oneshot;

use crate::connections::Pool;
use crate::endpoint::Endpoint;
use crate::exchange::{attempt, retry};
use crate::fork::{self, ProcessBound};
use crate::inline::job::{Job, PauseEvent};
use crate::lock::Mutex;
use crate::runtime::runtime;

mod caller;

use caller::{Caller, unless_abandoned};

/// The appends of one handle.
pub struct Appender {
    endpoint: Arc<Endpoint>,
    group: Mutex<Group<Caller>>,
    /// Whether the next batch's outcome is expected soon.
    soon: AtomicBool,
}

/// How an append is sent.
pub enum PendingAppend {
    /// By a request of its own, which the caller starts now. Appends that arrive meanwhile follow it.
    Leader(Job<String>),
    /// By the next request, because one is out.
    Follower(SharedOutcome),
}

/// A future of the outcome of an append that shares a request: the stream's new tail. If the future is dropped before
/// the append is sent, the append is not sent.
pub struct SharedOutcome {
    outcome: ProcessBound<oneshot::Receiver<Result<String>>>,
    soon: bool,
}

impl SharedOutcome {
    /// Whether a thread should wait for it without sleeping: many appends share the request, and the previous response
    /// came soon.
    pub fn is_soon(&self) -> bool {
        self.soon
    }
}

impl Future for SharedOutcome {
    type Output = Result<String>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<String>> {
        let Some(outcome) = self.outcome.get_mut() else {
            return Poll::Ready(Err(fork::forked()));
        };
        Pin::new(outcome).poll(context).map(|outcome| {
            outcome.unwrap_or_else(|_| {
                let reason = "internal error: the append was dropped without an outcome".to_owned();
                Err(Error::plain(Kind::Internal, reason))
            })
        })
    }
}

impl Appender {
    /// Makes the appender of a handle on `endpoint`.
    pub fn new(endpoint: Arc<Endpoint>) -> Self {
        Self {
            endpoint,
            group: Mutex::default(),
            soon: AtomicBool::new(false),
        }
    }

    /// Accepts an append. It is sent at once, or with the next request if one is out. `endpoint` is a variant of the
    /// handle's; its values and transport are used for this append.
    ///
    /// # Errors
    /// If the client is closed or the runtime cannot be started.
    pub fn append(self: &Arc<Self>, endpoint: Arc<Endpoint>, append: Append) -> Result<PendingAppend> {
        let leader = self.group.lock().arrive().leader();
        if let Some(leader) = leader {
            return Ok(PendingAppend::Leader(self.lead(leader, endpoint, append)));
        }
        // The runtime's threads send the appends of followers. If they cannot be started, the follower gets the error
        // here.
        runtime()?;
        // `Client::pool` must be called on the application's thread, which is this one. A leader's job gets its own
        // pool.
        let pool = self.endpoint.pool(Operation::Append)?;
        let mut group = self.group.lock();
        match group.arrive() {
            Arrival::Leads(leader) => {
                drop(group);
                Ok(PendingAppend::Leader(self.lead(leader, endpoint, append)))
            }
            Arrival::Follows(queue) => {
                let (caller, outcome) = Caller::new(endpoint, pool);
                queue.push(append, caller);
                Ok(PendingAppend::Follower(SharedOutcome {
                    outcome: ProcessBound::new(outcome),
                    soon: self.soon.load(Ordering::Relaxed),
                }))
            }
        }
    }

    fn lead(self: &Arc<Self>, leader: Leader, endpoint: Arc<Endpoint>, append: Append) -> Job<String> {
        let driver = Arc::new(LeaderDriver::new(self, leader));
        let weak_driver = Arc::downgrade(&driver);
        let to = Arc::clone(&endpoint);
        let lead = |pool| async move {
            let request = append.request(endpoint.display())?;
            let one_try = || async {
                let endpoint = driver.values(&endpoint).await.map_err(RequestFailure::Final)?;
                driver.attempt(&endpoint, &pool, &request).await
            };
            let policy = &endpoint.client().config().retry;
            let response = retry::with_retries(policy, &endpoint, &request, one_try).await;
            drop(driver);
            operations::appended(response?, &endpoint.context(request.operation))
        };
        Job::new(&to, Operation::Append, lead).on_pause(move |event| {
            let Some(driver) = weak_driver.upgrade() else { return };
            match event {
                PauseEvent::Paused => driver.pause(),
                PauseEvent::Resumed => driver.resume(),
            }
        })
    }
}

/// Carries out a leader's part. When it is dropped and followers wait, the runtime's threads go on with their appends.
struct LeaderDriver {
    appender: Arc<Appender>,
    leader: Leader,
    /// Whether the group has ended this leader, so that no other leader has to be started.
    ended: bool,
}

impl LeaderDriver {
    fn new(appender: &Arc<Appender>, leader: Leader) -> Self {
        Self {
            appender: Arc::clone(appender),
            leader,
            ended: false,
        }
    }

    /// Call it before the thread that runs this job does something else, which may be an append to the same stream.
    fn pause(&self) {
        let next = self.appender.group.lock().leader_waits(self.leader);
        self.start(next);
    }

    fn resume(&self) {
        self.appender.group.lock().leader_continues(self.leader);
    }

    /// Starts the next leader, if there is one.
    fn start(&self, next: Option<Leader>) {
        // There are followers, so `append` has started the runtime.
        if let Some(leader) = next
            && let Ok(runtime) = runtime()
        {
            runtime.spawn(Self::new(&self.appender, leader).send_all());
        }
    }

    /// Runs `work`, which waits for the application. Another leader sends the followers' appends meanwhile, because the
    /// application may itself append to the same stream, on any thread, and wait for that.
    async fn while_paused<T>(&self, work: impl Future<Output = T>) -> T {
        self.pause();
        let outcome = work.await;
        self.resume();
        outcome
    }

    /// The endpoint for one try, with the values that the application computes for it.
    async fn values(&self, endpoint: &Arc<Endpoint>) -> Result<Arc<Endpoint>> {
        if !endpoint.is_dynamic() {
            return Ok(Arc::clone(endpoint));
        }
        let resolved = self.while_paused(endpoint.resolved(Operation::Append)).await;
        resolved.map(Arc::new)
    }

    /// One try, with the values in `endpoint`.
    async fn attempt(
        &self,
        endpoint: &Endpoint,
        pool: &Pool,
        request: &Request,
    ) -> std::result::Result<Response, RequestFailure> {
        let trying = attempt(endpoint, pool, request);
        match endpoint.transport() {
            None => trying.await,
            Some(_) => self.while_paused(trying).await,
        }
    }

    /// Sends the waiting appends, and those that arrive meanwhile, until none waits or another leader takes over.
    async fn send_all(mut self) {
        while !self.ended {
            let now = Instant::now();
            let next = self.appender.group.lock().poll_next(self.leader, now);
            match next {
                LeaderAction::Send(batch) => self.deliver(batch).await,
                LeaderAction::Gather => {
                    // Lets threads that are about to append use the processor, and other tasks use this thread.
                    std::thread::yield_now();
                    tokio::task::yield_now().await;
                }
                LeaderAction::End => self.ended = true,
            }
        }
    }

    /// Sends a batch and gives its callers the outcome.
    async fn deliver(&self, mut batch: AppendBatch<Caller>) {
        loop {
            match batch.poll_action(Instant::now()) {
                // If no caller waits any more, the try is cancelled and the next action is another one.
                AppendAction::Try => drop(self.make_try(&mut batch).await),
                AppendAction::Wait(until) => {
                    let pause = tokio::time::sleep_until(until.into());
                    unless_abandoned(batch.callers_mut(), pause).await;
                }
                AppendAction::Report {
                    followers,
                    outcome,
                    soon,
                } => {
                    self.appender.soon.store(soon, Ordering::Relaxed);
                    for follower in followers {
                        follower.caller.send_outcome(outcome.clone());
                    }
                }
                AppendAction::End => return,
            }
        }
    }

    /// One try of a batch. `None` if there is nothing to send or no caller waits any more.
    async fn make_try(&self, batch: &mut AppendBatch<Caller>) -> Option<()> {
        let first = &batch.followers().first()?.caller;
        let (endpoint, pool) = (Arc::clone(first.endpoint()), first.pool().clone());
        let values = unless_abandoned(batch.callers_mut(), self.values(&endpoint)).await?;
        let endpoint = batch.handle_values(Instant::now(), values)?;
        let request = batch.request(endpoint.display())?;
        let trying = self.attempt(&endpoint, &pool, &request);
        let outcome = unless_abandoned(batch.callers_mut(), trying).await?;
        let context = endpoint.context(request.operation);
        batch.handle_outcome(Instant::now(), &context, request.repeat, outcome, fastrand::f64());
        Some(())
    }
}

impl Drop for LeaderDriver {
    fn drop(&mut self) {
        if !self.ended {
            let next = self.appender.group.lock().leader_ends(self.leader);
            self.start(next);
        }
    }
}
