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

use durable_streams_protocol::append::{
    Append, AppendAction, AppendBatch, Arrival, Follower, Group, Leader, LeaderAction,
};
use durable_streams_protocol::error::{About, Error, Kind, Operation, Result};
use durable_streams_protocol::operations::{self, AppendSuccess};
use durable_streams_protocol::request::{Request, RequestFailure, Response};
use tokio::sync::oneshot;

use crate::connections::Pool;
use crate::endpoint::{Endpoint, OriginTrust};
use crate::exchange::{attempt, retry};
use crate::fork::{self, ProcessBound};
use crate::inline::job::{Job, PauseEvent};
use crate::lock::Mutex;
use crate::runtime::{TaskFuture, runtime};

mod caller;
mod pausing_trust;

pub use caller::AppendOutcome;
use caller::{Caller, unless_abandoned};
use pausing_trust::PausingTrust;

/// The appends of one handle.
pub struct Appender {
    endpoint: Arc<Endpoint>,
    exactly_once: bool,
    group: Mutex<Group<Caller>>,
    /// Whether the next batch's outcome is expected soon.
    soon: AtomicBool,
}

/// How an append is sent.
pub enum PendingAppend {
    /// By a request of its own, which the caller starts now. Appends that arrive meanwhile follow it.
    Leader(Job<AppendSuccess>),
    /// By the next request, because one is out.
    Follower(SharedOutcome),
}

/// A future of the outcome of an append that shares a request. If the future is dropped before the append is sent, the
/// append is not sent.
pub struct SharedOutcome {
    outcome: ProcessBound<oneshot::Receiver<AppendOutcome>>,
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
    type Output = AppendOutcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<AppendOutcome> {
        let failed = |error| AppendOutcome {
            outcome: Err(error),
            together: None,
        };
        let Some(outcome) = self.outcome.get_mut() else {
            return Poll::Ready(failed(fork::forked()));
        };
        Pin::new(outcome)
            .poll(context)
            .map(|outcome| outcome.unwrap_or_else(|_| failed(dropped())))
    }
}

/// The error for a caller whose append was dropped without an outcome, by a panic. It may have been sent before.
fn dropped() -> Error {
    let reason = "internal error: the append was dropped without an outcome".to_owned();
    Error::plain(Kind::Internal, reason).with_outcome_unknown(true)
}

impl Appender {
    /// Makes the appender of a handle on `endpoint`. With `exactly_once`, its appends carry the headers of a producer
    /// with a new id.
    ///
    /// # Errors
    /// If the system has no random numbers for the id.
    pub fn new(endpoint: Arc<Endpoint>, exactly_once: bool) -> Result<Self> {
        let group = match exactly_once {
            true => {
                let patient = endpoint.client().config().patient;
                Group::exactly_once(random(endpoint.about(Operation::Append))?, patient)
            }
            false => Group::default(),
        };
        Ok(Self {
            endpoint,
            exactly_once,
            group: Mutex::new(group),
            soon: AtomicBool::new(false),
        })
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
        let pool = self.endpoint.pool(append.operation())?;
        let mut group = self.group.lock();
        match group.arrive() {
            Arrival::Leads(leader) => {
                drop(group);
                Ok(PendingAppend::Leader(self.lead(leader, endpoint, append)))
            }
            Arrival::Follows(queue) => {
                let (caller, outcome) = Caller::new(endpoint, pool);
                queue.push(append, caller, Instant::now());
                Ok(PendingAppend::Follower(SharedOutcome {
                    outcome: ProcessBound::new(outcome),
                    soon: self.soon.load(Ordering::Relaxed),
                }))
            }
        }
    }

    /// The job of an append that must not wait for other requests of the handle, because one of them may wait for it: a
    /// value callable makes it. `endpoint` is as in [`Appender::append`].
    pub fn append_apart(self: &Arc<Self>, endpoint: Arc<Endpoint>, append: Append) -> Job<AppendSuccess> {
        let leader = self.group.lock().arrive_apart();
        self.lead(leader, endpoint, append)
    }

    fn lead(self: &Arc<Self>, leader: Leader, endpoint: Arc<Endpoint>, append: Append) -> Job<AppendSuccess> {
        let driver = Arc::new(LeaderDriver::new(self, leader));
        let weak_driver = Arc::downgrade(&driver);
        let on_pause = move |event| {
            let Some(driver) = weak_driver.upgrade() else { return };
            match event {
                PauseEvent::Paused => driver.pause(),
                PauseEvent::Resumed => driver.resume(),
            }
        };
        let operation = append.operation();
        let job = if self.exactly_once {
            let to = Arc::clone(&endpoint);
            Job::new(&to, operation, |pool| driver.send_own_once(endpoint, pool, append))
        } else {
            let to = Arc::clone(&endpoint);
            Job::new(&to, operation, |pool| driver.send_own(endpoint, pool, append))
        };
        job.on_pause(on_pause)
    }

    /// `leader` is about to wait for the application.
    fn pause(self: &Arc<Self>, leader: Leader) {
        let next = self.group.lock().leader_waits(leader);
        self.start(next);
    }

    fn resume(&self, leader: Leader) {
        self.group.lock().leader_continues(leader);
    }

    /// Starts the next leader, if there is one.
    fn start(self: &Arc<Self>, next: Option<Leader>) {
        // There are followers, so `append` has started the runtime.
        if let Some(leader) = next
            && let Ok(runtime) = runtime()
        {
            let sending: TaskFuture<()> = Box::pin(LeaderDriver::new(self, leader).send_all());
            runtime.spawn(sending);
        }
    }
}

/// A number that nobody else has.
fn random(about: About<'_>) -> Result<u128> {
    let mut bytes = [0; 16];
    let filled = rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes);
    filled.map_err(|_| about.error(Kind::Internal, "the system has no random numbers for a producer id"))?;
    Ok(u128::from_ne_bytes(bytes))
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
        self.appender.pause(self.leader);
    }

    fn resume(&self) {
        self.appender.resume(self.leader);
    }

    /// Sends the leader's own append.
    async fn send_own(self: Arc<Self>, endpoint: Arc<Endpoint>, pool: Pool, append: Append) -> Result<AppendSuccess> {
        let request = append.request(endpoint.display())?;
        let one_try = async |number| {
            let endpoint = self
                .values(&endpoint, append.operation())
                .await
                .map_err(RequestFailure::Final)?;
            self.attempt(&endpoint, &pool, &request, number).await
        };
        let policy = &endpoint.client().config().retry;
        let response = retry::with_retries(policy, &endpoint, &request, one_try).await;
        drop(self);
        operations::appended(response?, &endpoint.context(request.operation))
    }

    /// Sends the leader's own append with the headers of a producer, as a batch of one.
    async fn send_own_once(
        self: Arc<Self>,
        endpoint: Arc<Endpoint>,
        pool: Pool,
        append: Append,
    ) -> Result<AppendSuccess> {
        let (caller, outcome) = Caller::new(endpoint, pool);
        let batch = self.appender.group.lock().own_batch(append, caller, Instant::now());
        self.deliver(batch).await;
        drop(self);
        outcome.await.map_or_else(|_| Err(dropped()), |own| own.outcome)
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
    async fn values(&self, endpoint: &Arc<Endpoint>, operation: Operation) -> Result<Arc<Endpoint>> {
        if !endpoint.is_dynamic() {
            return Ok(Arc::clone(endpoint));
        }
        let resolved = self.while_paused(endpoint.resolved(operation)).await;
        resolved.map(Arc::new)
    }

    /// The try of this number, with the values in `endpoint`.
    async fn attempt(
        &self,
        endpoint: &Endpoint,
        pool: &Pool,
        request: &Request,
        number: u32,
    ) -> std::result::Result<Response, RequestFailure> {
        let pausing = endpoint.origin_trust().map(|trust| self.pausing(endpoint, trust));
        let trying = attempt(pausing.as_ref().unwrap_or(endpoint), pool, request, number);
        match endpoint.transport() {
            None => trying.await,
            Some(_) => self.while_paused(trying).await,
        }
    }

    /// The same endpoint. While the application decides whether it trusts an origin, another leader sends, as in
    /// [`LeaderDriver::while_paused`].
    fn pausing(&self, endpoint: &Endpoint, trust: &Arc<dyn OriginTrust>) -> Endpoint {
        let (leader, trust) = (self.leader, Arc::clone(trust));
        let [pausing, resuming] = [(); 2].map(|()| Arc::clone(&self.appender));
        let trust = PausingTrust {
            trust,
            pause: move || pausing.pause(leader),
            resume: move || resuming.resume(leader),
        };
        endpoint.clone().with_origin_trust(Arc::new(trust))
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
                    together,
                    soon,
                } => {
                    self.appender.soon.store(soon, Ordering::Relaxed);
                    for follower in followers {
                        let outcome = outcome.clone();
                        follower.caller.send_outcome(AppendOutcome { outcome, together });
                    }
                }
                AppendAction::End => break,
            }
        }
        if self.appender.exactly_once {
            self.appender.group.lock().batch_ends(batch);
        }
    }

    /// One try of a batch. `None` if there is nothing to send or no caller waits any more.
    async fn make_try(&self, batch: &mut AppendBatch<Caller>) -> Option<()> {
        let Follower { append, caller, .. } = batch.followers().first()?;
        let (endpoint, pool, operation) = (Arc::clone(caller.endpoint()), caller.pool().clone(), append.operation());
        let values = unless_abandoned(batch.callers_mut(), self.values(&endpoint, operation)).await?;
        let endpoint = batch.handle_values(Instant::now(), values)?;
        let request = batch.request(Instant::now(), endpoint.display())?;
        let trying = self.attempt(&endpoint, &pool, &request, batch.attempt());
        let outcome = unless_abandoned(batch.callers_mut(), trying).await?;
        let context = endpoint.context(request.operation);
        let failed = batch.handle_outcome(Instant::now(), &context, request.repeat, outcome, fastrand::f64());
        if let Some(failed) = failed {
            retry::report_retry(&endpoint, request.operation, failed);
        }
        Some(())
    }
}

impl Drop for LeaderDriver {
    fn drop(&mut self) {
        if !self.ended {
            let next = self.appender.group.lock().leader_ends(self.leader);
            self.appender.start(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_append_that_is_dropped_without_an_outcome_may_have_been_sent() {
        let (sender, receiver) = oneshot::channel();
        drop(sender);
        let outcome = SharedOutcome {
            outcome: ProcessBound::new(receiver),
            soon: false,
        };
        assert!(outcome.await.outcome.unwrap_err().outcome_unknown());
    }
}
