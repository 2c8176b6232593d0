//! Runs a producer's [`Machine`] over HTTP: sends what it wants sent, tells it what became of it, and wakes those who
//! wait for a flush, for room, for an acknowledgement or for the end. Here is what the owner calls; what runs on the
//! runtime's threads is in `driver`.
//!
//! Appending takes a lock and copies.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use tokio::sync::{Notify, oneshot};

use crate::endpoint::Endpoint;
use crate::error::{Error, Kind, Operation, Result};
use crate::operations::Headers;
use crate::process;
use crate::producer::{AppendError, Config, Delivery, Event, Failure, LastTry, Lost, Machine, UndeliveredMessage};
use crate::protocol;
use crate::task::Task;

mod driver;

/// A producer that has failed: why, and what did not land.
#[derive(Clone, Debug)]
pub struct Failed(Arc<FailedInner>);

#[derive(Debug)]
struct FailedInner {
    error: Error,
    undelivered: Vec<UndeliveredMessage>,
}

impl Failed {
    /// Why.
    pub fn error(&self) -> &Error {
        &self.0.error
    }

    /// The messages that were accepted and not delivered, in append order.
    pub fn undelivered(&self) -> &[UndeliveredMessage] {
        &self.0.undelivered
    }
}

/// Why a message was not accepted.
#[derive(Debug)]
pub enum Refused {
    /// The buffer is full. What it holds is for [`Producer::room`].
    Full(Room),
    /// A message without bytes.
    Empty,
    /// The producer is closed.
    Closed,
    /// The producer has failed.
    Failed(Failed),
}

/// A moment at which there was no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room(u64);

/// What a producer tells while it works, to whoever asked for it.
#[derive(Debug)]
pub enum Notice {
    /// A batch is in the stream.
    Delivered(Delivery),
    /// The producer has failed.
    Failed(Failed),
    /// The id was taken back.
    Claimed {
        /// The epoch that was fenced.
        from: u64,
        /// The epoch in use from now on.
        to: u64,
    },
}

/// Who is told. Called on the runtime's threads and under a lock: to be quick, and not to call the producer.
pub type Listener = Box<dyn Fn(Notice) + Send>;

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    /// All messages below this token are acknowledged.
    Delivered(u64),
    /// There was room since.
    Room(Room),
    /// The producer is at its end.
    Ended,
}

/// Somebody who waits. Gets the delivery that ended the wait, if one did.
struct Waiter {
    until: Until,
    owner: oneshot::Sender<std::result::Result<Option<Delivery>, Failed>>,
}

/// An idempotent producer at work. Dropped with messages pending, it sends them all the same and then ends.
pub struct Producer {
    shared: Arc<Shared>,
}

impl Drop for Producer {
    fn drop(&mut self) {
        // One that has failed is at its end already.
        let _refused = self.shared.state.lock().machine.close();
        self.shared.work.notify_one();
    }
}

pub(crate) struct Shared {
    endpoint: Arc<Endpoint>,
    pool: reqwest::Client,
    /// The headers that every request carries: the content type and the producer's id.
    headers: HeaderMap,
    state: Mutex<State>,
    /// There is something to do for the driver.
    work: Notify,
}

struct State {
    machine: Machine,
    /// All tokens below it are acknowledged.
    delivered: u64,
    /// The token after the last one that was given out.
    appended: u64,
    waiters: Vec<Waiter>,
    /// How often there was room again.
    rooms: u64,
    final_offset: Option<String>,
    ended: bool,
    failed: Option<Failed>,
    /// What the last request said that did not land, for the error of a producer that fails by it.
    last_error: Option<Error>,
    listener: Option<Listener>,
}

impl Producer {
    /// Starts a producer named `id` on `endpoint`. What happens is told to `listener`, if given.
    ///
    /// # Errors
    /// `Kind::Argument` for settings or an id that cannot be used; if the client is closed or the runtime cannot start.
    pub fn start(
        endpoint: &Arc<Endpoint>,
        id: &str,
        content_type: &str,
        config: Config,
        listener: Option<Listener>,
    ) -> Result<Producer> {
        let pool = endpoint.pool(Operation::Produce)?;
        let mut headers = Headers::new(Operation::Produce, endpoint);
        headers.set_if(CONTENT_TYPE, Some(content_type))?;
        headers.set_if(protocol::PRODUCER_ID, Some(id))?;
        let machine = Machine::new(config, Box::new(fastrand::f64))
            .map_err(|error| Error::plain(Kind::Argument, error.to_string()))?;
        let shared = Arc::new(Shared {
            endpoint: Arc::clone(endpoint),
            pool,
            headers: headers.finish(),
            state: Mutex::new(State {
                machine,
                delivered: 0,
                appended: 0,
                waiters: Vec::new(),
                rooms: 0,
                final_offset: None,
                ended: false,
                failed: None,
                last_error: None,
                listener,
            }),
            work: Notify::new(),
        });
        let driven = Arc::clone(&shared);
        process::runtime()?.spawn(async move { driver::drive(&driven).await });
        let mut live = process::root()?.producers.lock();
        live.retain(|held| held.strong_count() > 0);
        live.push(Arc::downgrade(&shared));
        Ok(Producer { shared })
    }

    /// Accepts one message (checked by the caller: valid JSON where the stream is JSON). Gives its token.
    ///
    /// # Errors
    /// See [`Refused`]; nothing was accepted then.
    pub fn append(&self, message: &[u8]) -> std::result::Result<u64, Refused> {
        let mut state = self.shared.state.lock();
        let appended = state.machine.append(message);
        if let Ok(appended) = &appended {
            state.appended = appended.token + 1;
        }
        match appended {
            Ok(appended) => {
                drop(state);
                if appended.wake {
                    self.shared.work.notify_one();
                }
                Ok(appended.token)
            }
            Err(error) => {
                let refused = self.shared.refused(error, &state);
                drop(state);
                self.shared.work.notify_one();
                Err(refused)
            }
        }
    }

    /// Accepts one message, as [`Producer::append`] does, and sends it without waiting for company. The future is its
    /// acknowledgement, or the producer's failure; given up, nothing is harmed.
    ///
    /// # Errors
    /// See [`Refused`]; nothing was accepted then.
    pub fn append_watched(
        &self,
        message: &[u8],
    ) -> std::result::Result<impl Future<Output = std::result::Result<Option<Delivery>, Failed>> + use<>, Refused> {
        let mut state = self.shared.state.lock();
        let told = match state.machine.append(message) {
            Ok(appended) => {
                state.appended = appended.token + 1;
                let until = Until::Delivered(state.appended);
                // Just accepted, so it has not failed: the flush only says that there is no time for company.
                let _flushing = state.machine.flush();
                Ok(state.waiter(until))
            }
            Err(error) => Err(self.shared.refused(error, &state)),
        };
        drop(state);
        self.shared.work.notify_one();
        let shared = Arc::clone(&self.shared);
        told.map(|told| async move { told.await.unwrap_or_else(|_| Err(shared.gone())) })
    }

    /// Sends what waits, and waits until all that was appended so far is acknowledged. Given up, nothing is harmed.
    ///
    /// # Errors
    /// The producer's failure.
    pub async fn flush(&self) -> std::result::Result<(), Failed> {
        self.shared.flush().await
    }

    /// Waits until there is room again.
    ///
    /// # Errors
    /// The producer's failure.
    pub async fn room(&self, since: Room) -> std::result::Result<(), Failed> {
        self.shared.wait(Until::Room(since)).await.map(|_| ())
    }

    /// Accepts nothing more, sends what waits and waits until it is acknowledged. Twice is fine.
    ///
    /// # Errors
    /// The producer's failure.
    pub async fn close(&self) -> std::result::Result<(), Failed> {
        self.shared.close().await
    }

    /// As [`Producer::close`], but gives up after `limit`: what is not acknowledged then is reported as undelivered.
    ///
    /// # Errors
    /// If the runtime cannot be started; the inner result is the producer's failure.
    pub fn close_within(&self, limit: Duration) -> Result<Task<std::result::Result<(), Failed>>> {
        let shared = Arc::clone(&self.shared);
        Task::spawn(async move {
            if let Ok(closed) = tokio::time::timeout(limit, shared.close()).await {
                return Ok(closed);
            }
            shared.state.lock().machine.abort(Instant::now());
            shared.work.notify_one();
            Ok(shared.close().await)
        })
    }

    /// Accepts nothing more, sends what waits, then closes the stream, with `last` as its last message. Gives the
    /// stream's end, as far as the server told it. Twice is fine.
    ///
    /// # Errors
    /// The producer's failure; [`Refused::Closed`] if it was closed without the stream.
    pub async fn close_stream(&self, last: Option<&[u8]>) -> std::result::Result<Option<String>, Refused> {
        {
            let mut state = self.shared.state.lock();
            match state.machine.close_stream(last) {
                Ok(Some(token)) => state.appended = token + 1,
                // The wait tells why it has failed.
                Ok(None) | Err(AppendError::Failed(_)) => {}
                Err(error) => return Err(self.shared.refused(error, &state)),
            }
        }
        self.shared.work.notify_one();
        self.shared.wait(Until::Ended).await.map_err(Refused::Failed)?;
        Ok(self.shared.state.lock().final_offset.clone())
    }

    /// The epoch in use.
    pub fn epoch(&self) -> u64 {
        self.shared.state.lock().machine.epoch()
    }

    /// The last number used; one less than the first where none was.
    pub fn seq(&self) -> i64 {
        self.shared.state.lock().machine.seq()
    }

    /// How many messages are not acknowledged.
    pub fn pending(&self) -> u64 {
        self.shared.state.lock().machine.pending()
    }

    /// All tokens below it are acknowledged.
    pub fn delivered(&self) -> u64 {
        self.shared.state.lock().delivered
    }

    /// The failure, once what became of every message is known.
    pub fn failed(&self) -> Option<Failed> {
        self.shared.state.lock().failed.clone()
    }
}

impl Shared {
    /// Sends what waits for company. Gives the token after the last one.
    fn hurry(&self) -> u64 {
        let mut state = self.state.lock();
        // A machine that has failed refuses; whoever waits is told why.
        let _refused = state.machine.flush();
        let target = state.appended;
        drop(state);
        self.work.notify_one();
        target
    }

    async fn flush(&self) -> std::result::Result<(), Failed> {
        let target = self.hurry();
        self.wait(Until::Delivered(target)).await.map(|_| ())
    }

    async fn close(&self) -> std::result::Result<(), Failed> {
        // A machine that has failed refuses; the wait tells why.
        let _refused = self.state.lock().machine.close();
        self.work.notify_one();
        self.wait(Until::Ended).await.map(|_| ())
    }

    /// How many messages are pending in a producer that has not failed (one that has failed has told which).
    fn unreported(&self) -> u64 {
        let state = self.state.lock();
        if state.failed.is_some() {
            0
        } else {
            state.machine.pending()
        }
    }

    async fn wait(&self, until: Until) -> std::result::Result<Option<Delivery>, Failed> {
        let told = {
            let mut state = self.state.lock();
            if let Some(failed) = &state.failed {
                return Err(failed.clone());
            }
            if state.reached(until) {
                return Ok(None);
            }
            state.waiter(until)
        };
        told.await.unwrap_or_else(|_| Err(self.gone()))
    }

    fn refused(&self, error: AppendError, state: &State) -> Refused {
        match error {
            AppendError::Full => Refused::Full(Room(state.rooms)),
            AppendError::Empty => Refused::Empty,
            AppendError::Closed => Refused::Closed,
            AppendError::Failed(failure) => Refused::Failed(state.failed.clone().unwrap_or_else(|| {
                // It is failing: what became of the messages is still being found out.
                let error = self.error(&failure, None);
                Failed(Arc::new(FailedInner {
                    error,
                    undelivered: Vec::new(),
                }))
            })),
        }
    }

    /// For those who still wait when the driver has ended without a word.
    fn gone(&self) -> Failed {
        let reason = "the producer's sending task ended unexpectedly";
        let error = Error::new(Kind::Internal, Operation::Produce, self.endpoint.display(), reason);
        Failed(Arc::new(FailedInner {
            error,
            undelivered: Vec::new(),
        }))
    }

    /// The error that a failure means, in the server's own words where there are any.
    fn error(&self, failure: &Failure, said: Option<&Error>) -> Error {
        let (kind, reason) = match failure {
            Failure::StaleEpoch { current_epoch } => (
                Kind::StaleEpoch {
                    current_epoch: Some(*current_epoch),
                },
                "a newer epoch holds this producer id",
            ),
            Failure::SequenceGap { expected, received } => (
                Kind::SequenceGap {
                    expected: *expected,
                    received: Some(*received),
                },
                "producer sequence gap",
            ),
            Failure::StreamClosed { final_offset } => (
                Kind::StreamClosed {
                    final_offset: final_offset.clone(),
                },
                "stream is closed",
            ),
            Failure::ContentTypeMismatch => (Kind::ContentTypeMismatch, "content type differs from the stream's"),
            Failure::RetriesExhausted {
                last: LastTry::Lost(Lost::TimedOut),
            } => (Kind::Timeout, "no answer in time"),
            Failure::RetriesExhausted { last: LastTry::Lost(_) } => (Kind::Connection, "no connection, or it was lost"),
            Failure::RetriesExhausted {
                last: LastTry::Status(_),
            }
            | Failure::Rejected { .. } => (Kind::Status, "the server refused it"),
            Failure::HeaderFailed => (Kind::Status, "the request's headers could not be made"),
            Failure::NumbersExhausted => (Kind::Status, "the epoch has no more sequence numbers"),
            Failure::Aborted => (
                Kind::Timeout,
                "the producer was closed before everything was acknowledged",
            ),
        };
        let quoted = !matches!(failure, Failure::Aborted | Failure::NumbersExhausted);
        match said.filter(|said| quoted && same_kind(said.kind(), &kind)) {
            Some(said) => said.clone(),
            None => Error::new(kind, Operation::Produce, self.endpoint.display(), reason),
        }
    }
}

/// Whether what a request said is what the failure means: where the failure names no kind of its own, anything is.
fn same_kind(said: &Kind, meant: &Kind) -> bool {
    matches!(meant, Kind::Status) || std::mem::discriminant(said) == std::mem::discriminant(meant)
}

impl State {
    /// Registers somebody who waits, and forgets those who gave up.
    fn waiter(&mut self, until: Until) -> oneshot::Receiver<std::result::Result<Option<Delivery>, Failed>> {
        let (owner, told) = oneshot::channel();
        self.waiters.retain(|waiter| !waiter.owner.is_closed());
        self.waiters.push(Waiter { until, owner });
        told
    }

    fn reached(&self, until: Until) -> bool {
        match until {
            Until::Delivered(token) => self.delivered >= token,
            Until::Room(Room(before)) => self.rooms > before,
            Until::Ended => self.ended,
        }
    }

    /// Takes what the machine has to tell.
    fn take_events(&mut self, shared: &Shared) {
        while let Some(event) = self.machine.poll_event() {
            match event {
                Event::Delivered(delivery) => {
                    self.delivered = delivery.first + delivery.count;
                    self.wake(Some(&delivery), |until, state| {
                        matches!(until, Until::Delivered(_)) && state.reached(until)
                    });
                    self.tell(Notice::Delivered(delivery));
                }
                Event::Room => {
                    self.rooms += 1;
                    self.wake(None, |until, state| {
                        matches!(until, Until::Room(_)) && state.reached(until)
                    });
                }
                Event::Claimed { from, to } => self.tell(Notice::Claimed { from, to }),
                Event::StreamClosed { final_offset } => self.final_offset = final_offset,
                Event::Closed => {
                    self.ended = true;
                    self.wake(None, |until, _| until == Until::Ended);
                }
                Event::Failed { failure, undelivered } => {
                    let error = shared.error(&failure, self.last_error.as_ref());
                    let undelivered = undelivered.messages().collect();
                    let failed = Failed(Arc::new(FailedInner { error, undelivered }));
                    self.failed = Some(failed.clone());
                    for waiter in self.waiters.drain(..) {
                        // Whoever gave up waiting wants no answer.
                        let _gone = waiter.owner.send(Err(failed.clone()));
                    }
                    self.tell(Notice::Failed(failed));
                }
                // Who flushes waits for the deliveries.
                Event::Flushed(_) => {}
            }
        }
    }

    fn wake(&mut self, delivery: Option<&Delivery>, reached: impl Fn(Until, &State) -> bool) {
        let (ready, waiting) = std::mem::take(&mut self.waiters)
            .into_iter()
            .partition(|waiter| reached(waiter.until, self));
        self.waiters = waiting;
        let ready: Vec<Waiter> = ready;
        for waiter in ready {
            let _gone = waiter.owner.send(Ok(delivery.cloned()));
        }
    }

    fn tell(&self, notice: Notice) {
        if let Some(listener) = &self.listener {
            listener(notice);
        }
    }
}

/// Waits until every producer of this process has nothing pending or has failed, but not longer than `limit`. Gives how
/// many messages are pending then; `None` if there is nothing to wait for.
///
/// # Errors
/// If the runtime cannot be started.
pub fn drain_all(limit: Duration) -> Result<Option<Task<u64>>> {
    let mut live = process::producers();
    live.retain(|shared| shared.unreported() > 0);
    if live.is_empty() {
        return Ok(None);
    }
    let draining = Task::spawn(async move {
        let drained = async {
            for shared in &live {
                // One that has failed has told so already.
                let _failed = shared.flush().await;
            }
        };
        // Whether time ran out shows in what is still pending.
        let _late = tokio::time::timeout(limit, drained).await;
        Ok(live.iter().map(|shared| shared.unreported()).sum())
    })?;
    Ok(Some(draining))
}
