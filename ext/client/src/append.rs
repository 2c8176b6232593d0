//! Appends that share requests: while one request of a handle is out, the appends that arrive wait and go out with the
//! next one (api.md, `append`). Every append has its own outcome.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use durable_streams_protocol::error::{Error, Kind, Operation, Result};
use durable_streams_protocol::operations;
use durable_streams_protocol::request::{Answer, Failure, Request};
use durable_streams_protocol::tries::{Next, Tries};
use tokio::sync::oneshot;

use crate::connections::Pool;
use crate::endpoint::Endpoint;
use crate::exchange::{attempt, tries};
use crate::fork::{self, ProcessBound};
use crate::inline::job::{Turn, Work};
use crate::lock::Mutex;
use crate::runtime::runtime;

mod load;

pub use load::Append;
use load::{Entry, Load, can_share, request};

/// Appends ride together up to this many bytes; a larger one travels alone.
const MOST_BYTES: usize = 1024 * 1024;

/// So many appends in one request are a crowd: to put its threads to sleep and to wake them costs more than the request.
const CROWD: usize = 6;
/// A crowd whose request is answered within this time waits for the next one awake.
const SOON: Duration = Duration::from_micros(500);
/// After a crowd's request the next one goes out when no append has come for this long …
const LULL: Duration = Duration::from_micros(5);
/// … or after this time.
const GATHERING: Duration = Duration::from_micros(50);

/// The appends of one handle.
pub struct Appender {
    endpoint: Arc<Endpoint>,
    queue: Mutex<Queue>,
    /// Whether the last request was a crowd's and was answered soon.
    brisk: AtomicBool,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Entry>,
    /// Whether somebody is in charge: is sending, and will look at the queue again afterwards.
    sending: bool,
}

/// How an append goes out.
pub enum Appending {
    /// With a request of its own, and at once. Those that arrive meanwhile follow it.
    Leading(Work<String>),
    /// With the next request, since one is out.
    Riding(Ticket),
}

/// An append that rides: its new tail, once stored. Dropped before it was sent, it is not sent.
pub struct Ticket {
    told: ProcessBound<oneshot::Receiver<Result<String>>>,
    soon: bool,
}

impl Ticket {
    /// Whether it is worth while to wait for it awake: it is one of many, and the request before it was answered soon.
    pub fn is_soon(&self) -> bool {
        self.soon
    }
}

impl Future for Ticket {
    type Output = Result<String>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<String>> {
        let Some(told) = self.told.get_mut() else {
            return Poll::Ready(Err(fork::forked()));
        };
        Pin::new(told).poll(context).map(|told| {
            told.unwrap_or_else(|_| {
                let reason = "internal error: the append was dropped without an outcome".to_owned();
                Err(Error::plain(Kind::Internal, reason))
            })
        })
    }
}

impl Appender {
    /// The appends of a handle on `endpoint`.
    pub fn new(endpoint: Arc<Endpoint>) -> Appender {
        Appender {
            endpoint,
            queue: Mutex::new(Queue::default()),
            brisk: AtomicBool::new(false),
        }
    }

    /// Takes an append. It goes out at once, or with the next request if one is out.
    ///
    /// # Errors
    /// If the client is closed or the runtime cannot be started.
    pub fn append(self: &Arc<Self>, append: Append) -> Result<Appending> {
        let mut queue = self.queue.lock();
        if queue.sending {
            drop(queue);
            // Asked for here, on the application's thread, for the reason given at `Client::pool`. Who leads asks for one of
            // where its request is carried out.
            let pool = self.endpoint.pool(Operation::Append)?;
            queue = self.queue.lock();
            if queue.sending {
                let (owner, ticket) = oneshot::channel();
                queue.waiting.push_back(Entry { append, pool, owner });
                return Ok(Appending::Riding(Ticket {
                    told: ProcessBound::new(ticket),
                    soon: self.brisk.load(Ordering::Relaxed),
                }));
            }
        }
        queue.sending = true;
        drop(queue);
        Ok(Appending::Leading(self.lead(append)))
    }

    fn lead(self: &Arc<Self>, append: Append) -> Work<String> {
        let charge = Arc::new(Charge::of(self));
        let known = Arc::downgrade(&charge);
        let endpoint = Arc::clone(&append.endpoint);
        let lead = |pool| async move {
            let request = request(std::iter::once(&append))?;
            let one_try = || async {
                let endpoint = charge.values(&append.endpoint).await.map_err(Failure::Final)?;
                charge.attempt(&endpoint, &pool, &request).await
            };
            let answer = tries::repeated(&append.endpoint, &request, one_try).await;
            drop(charge);
            operations::appended(answer?, &append.endpoint.context(request.operation))
        };
        let operation = Operation::Append;
        Work::new(&endpoint, operation, lead).interrupted_with(move |turn| {
            let Some(charge) = known.upgrade() else { return };
            match turn {
                Turn::Away => charge.pass_on(),
                Turn::Back => charge.take_back(),
            }
        })
    }

    /// What goes out next, or nothing, and then nobody is sending any more.
    fn next_load(&self) -> Load {
        let mut queue = self.queue.lock();
        let mut load = Load::default();
        let mut size = 0;
        while let Some(entry) = queue.waiting.front() {
            let fits = load.first().is_none_or(|first| can_share(&first.append, &entry.append))
                && (load.is_empty() || size + entry.append.data.len() < MOST_BYTES);
            if !fits {
                break;
            }
            size += entry.append.data.len() + 1;
            if let Some(entry) = queue.waiting.pop_front()
                && !entry.is_abandoned()
            {
                load.push(entry);
            }
        }
        queue.sending = !load.is_empty();
        load
    }
}

/// The duty to see to the queue once one's own request has ended. Dropped, it passes on to the runtime's threads, if
/// anything waits.
struct Charge {
    appender: Arc<Appender>,
    held: AtomicBool,
}

impl Charge {
    fn of(appender: &Arc<Appender>) -> Charge {
        Charge {
            appender: Arc::clone(appender),
            held: AtomicBool::new(true),
        }
    }

    /// Leaves the queue to others, at once: who carries out this request is busy with something else, which may be an
    /// append to the same stream.
    fn pass_on(&self) {
        if !self.held.swap(false, Ordering::AcqRel) {
            return;
        }
        let mut queue = self.appender.queue.lock();
        queue.sending = !queue.waiting.is_empty();
        if queue.sending
            && let Ok(runtime) = runtime()
        {
            runtime.spawn(Charge::of(&self.appender).send_all());
        }
    }

    /// Takes the charge again, if nobody has it.
    fn take_back(&self) {
        let mut queue = self.appender.queue.lock();
        if !std::mem::replace(&mut queue.sending, true) {
            self.held.store(true, Ordering::Release);
        }
    }

    fn is_held(&self) -> bool {
        self.held.load(Ordering::Acquire)
    }

    /// Runs `asking`, which waits for the application, and leaves the queue to others meanwhile: the application may
    /// append to the same stream, on whatever thread, or wait for somebody who does.
    async fn left_to_others<T>(&self, asking: impl Future<Output = T>) -> T {
        self.pass_on();
        let told = asking.await;
        self.take_back();
        told
    }

    /// The endpoint for one try: with the values that the application computes for it.
    async fn values(&self, endpoint: &Arc<Endpoint>) -> Result<Arc<Endpoint>> {
        if !endpoint.is_dynamic() {
            return Ok(Arc::clone(endpoint));
        }
        let resolved = self.left_to_others(endpoint.resolved(Operation::Append)).await;
        resolved.map(Arc::new)
    }

    /// One try, with the values in `endpoint`.
    async fn attempt(
        &self,
        endpoint: &Endpoint,
        pool: &Pool,
        request: &Request,
    ) -> std::result::Result<Answer, Failure> {
        let trying = attempt(endpoint, pool, request);
        match endpoint.transport() {
            None => trying.await,
            Some(_) => self.left_to_others(trying).await,
        }
    }

    /// Sends what waits, and what comes meanwhile, until there is nothing or somebody else does.
    async fn send_all(self) {
        while self.is_held() {
            let load = self.appender.next_load();
            if load.is_empty() {
                return self.held.store(false, Ordering::Release);
            }
            let is_crowd = load.len() >= CROWD;
            self.deliver(load).await;
            if is_crowd && self.is_held() {
                self.gather().await;
            }
        }
    }

    /// Waits, but not for long, for the crowd that was just told: many of its threads come back with their next append, and
    /// one request for them all costs less than several. It ends with the first lull.
    async fn gather(&self) {
        let began = Instant::now();
        let (mut seen, mut last) = (0, began);
        loop {
            let waiting = self.appender.queue.lock().waiting.len();
            let now = Instant::now();
            if waiting > seen {
                (seen, last) = (waiting, now);
            }
            if now - last >= LULL || now - began >= GATHERING {
                return;
            }
            // The processor for those who are about to append, this thread for what else runs here.
            std::thread::yield_now();
            tokio::task::yield_now().await;
        }
    }

    /// Sends a load and tells the callers. What the server refuses, having taken nothing of it, goes again in halves: one
    /// append may be at fault, or all together are too large.
    async fn deliver(&self, load: Load) {
        let mut loads = vec![load];
        while let Some(mut load) = loads.pop() {
            let began = Instant::now();
            let Some(outcome) = self.send(&mut load).await else {
                continue;
            };
            let brisk = load.len() >= CROWD && began.elapsed() < SOON;
            self.appender.brisk.store(brisk, Ordering::Relaxed);
            match outcome {
                Err(error) if load.len() > 1 && refuses_load(&error) => {
                    let [first, rest] = load.halves();
                    loads.extend([rest, first]);
                }
                outcome => load.settle(&outcome),
            }
        }
    }

    /// Sends a load, as often as [`tries`] has it. Each try has the appends whose callers still wait, which are those that
    /// are left in `load`. `None` if no caller waits any more.
    async fn send(&self, load: &mut Load) -> Option<Result<String>> {
        let mut tries = Tries::new(false);
        loop {
            let (endpoint, pool) = match self.ask_first(load).await? {
                Ok(asked) => asked,
                Err(error) => return Some(Err(error)),
            };
            let request = match load.request() {
                Ok(request) => request,
                Err(error) => return Some(Err(error)),
            };
            let trying = self.attempt(&endpoint, &pool, &request);
            let outcome = load.unless_abandoned(trying).await?;
            match tries::after(&mut tries, &endpoint, &request, outcome) {
                // Without it, then. The next one is asked.
                Next::Done(Err(error)) if matches!(error.kind(), Kind::Left) && load.first_is_abandoned() => {}
                Next::Done(Err(error)) => return Some(Err(error)),
                Next::Done(Ok(answer)) => {
                    return Some(operations::appended(answer, &endpoint.context(request.operation)));
                }
                Next::Again(delay) => load.unless_abandoned(tries::pause(delay)).await?,
            }
        }
    }

    /// What the next try of a load is made with: what the first caller who waits has, asked for its values. `None` if no
    /// caller waits any more.
    async fn ask_first(&self, load: &mut Load) -> Option<Result<(Arc<Endpoint>, Pool)>> {
        loop {
            let first = load.first_with_caller()?;
            let (endpoint, pool) = (Arc::clone(&first.append.endpoint), first.pool.clone());
            if !endpoint.is_dynamic() {
                return Some(Ok((endpoint, pool)));
            }
            let asked = load.unless_abandoned(self.values(&endpoint)).await?;
            let has_left = load.first_is_abandoned();
            load.first_with_caller()?;
            if !has_left {
                return Some(asked.map(|endpoint| (endpoint, pool)));
            }
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.pass_on();
    }
}

fn refuses_load(error: &Error) -> bool {
    matches!(error.kind(), Kind::BadRequest | Kind::PayloadTooLarge)
}
