//! Runs a producer's [`ProducerMachine`] over HTTP: sends what it wants sent, tells it what became of it, and wakes those who
//! wait for a flush, for room, for an acknowledgement or for the end. Here is what the owner calls; what runs on the
//! runtime's threads is in `driver`, what both share in `state`.
//!
//! Appending takes a lock and copies, but for what is shared.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use durable_streams_protocol::error::{Error, Kind, Operation, Result};
use durable_streams_protocol::producer::{AppendError, ProducerConfig, ProducerMachine};
use durable_streams_protocol::protocol;
use durable_streams_protocol::request::Headers;
use reqwest::header::CONTENT_TYPE;

use crate::endpoint::Endpoint;
use crate::fork::ProcessBound;
use crate::runtime::{Task, runtime};

mod driver;
mod error;
mod lookup;
mod lost_messages;
mod notice;
mod registry;
mod sender;
mod state;

pub use error::ProducerError;
pub use lost_messages::LostMessages;
pub use notice::{Notice, NoticeListener, SpaceGeneration};
pub use registry::{drain_all, has_warnings, is_busy, lost_messages, next_warning};
use sender::RequestSender;
pub use state::WaitOutcome;
use state::{ProducerState, Shared, WaitFor};

/// What is appended.
#[derive(Debug)]
pub enum Message<'a> {
    /// Copied into the batch that is being filled.
    Copied(&'a [u8]),
    /// A batch of its own; bytes are sent from where they are. For what is about as large as a batch.
    Shared(Bytes),
}

/// Why a message was not accepted.
#[derive(Debug)]
pub enum Refused {
    /// The buffer is full. What it holds is for [`Producer::wait_for_space`].
    Full(SpaceGeneration),
    /// A message without bytes.
    Empty,
    /// The producer is closed.
    Closed,
    /// The stream was closed before, or is being closed, without this last message. What it was closed with counts.
    StreamClosing,
    /// The producer is failing. [`Producer::ended`] tells why, as soon as it is known what became of every message.
    Failing,
    /// The producer has failed.
    Failed(ProducerError),
}

/// What was accepted, and the future that tells what became of it; given up, nothing is harmed.
#[derive(Debug)]
pub struct Accepted<Token, Outcome> {
    /// What it is called.
    pub token: Token,
    /// The future.
    pub outcome: Outcome,
}

/// How closing a stream ended: its end, as far as the server told it.
pub type CloseOutcome = std::result::Result<Option<String>, ProducerError>;

/// An idempotent producer at work. Dropped with messages pending, it sends them all the same and then ends.
pub struct Producer {
    shared: Arc<Shared>,
}

impl Drop for Producer {
    fn drop(&mut self) {
        // One that has failed is at its end already.
        let _refused = self.shared.state.lock().machine.close();
        self.shared.driver_wakeup.notify_one();
    }
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
        config: ProducerConfig,
        listener: Option<NoticeListener>,
    ) -> Result<Producer> {
        let pool = endpoint.pool(Operation::Produce)?;
        let mut headers = Headers::new(endpoint.about(Operation::Produce));
        headers.set_if(CONTENT_TYPE, Some(content_type))?;
        headers.set_if(protocol::PRODUCER_ID, Some(id))?;
        let retry = config.retry.clone();
        let machine = ProducerMachine::new(config, Box::new(fastrand::f64))
            .map_err(|error| Error::plain(Kind::Argument, error.to_string()))?;
        let shared = Arc::new(Shared::new(
            endpoint.display().to_owned(),
            machine,
            registry::REPORT_SINK,
        ));
        let sender = RequestSender {
            endpoint: Arc::clone(endpoint),
            pool,
            headers: headers.finish(),
            retry,
        };
        let runtime = runtime()?;
        registry::add(&shared);
        runtime.spawn(driver::drive(Arc::clone(&shared), sender, listener));
        Ok(Producer { shared })
    }

    /// Accepts one message (checked by the caller: valid JSON where the stream is JSON). Gives its token.
    ///
    /// # Errors
    /// See [`Refused`]; nothing was accepted then.
    pub fn append(&self, message: Message<'_>) -> std::result::Result<u64, Refused> {
        let mut state = self.shared.state.lock();
        let (token, wake) = accept(&mut state, message).inspect_err(|_| self.shared.driver_wakeup.notify_one())?;
        drop(state);
        if wake {
            self.shared.driver_wakeup.notify_one();
        }
        Ok(token)
    }

    /// Accepts one message, as [`Producer::append`] does, and sends it without waiting for company. The outcome is
    /// its acknowledgement, or the producer's failure.
    ///
    /// # Errors
    /// See [`Refused`]; nothing was accepted then.
    pub fn append_acknowledged(
        &self,
        message: Message<'_>,
    ) -> std::result::Result<Accepted<u64, impl Future<Output = WaitOutcome> + use<>>, Refused> {
        let mut state = self.shared.state.lock();
        let (token, _) = accept(&mut state, message).inspect_err(|_| self.shared.driver_wakeup.notify_one())?;
        let told = state.waiter(WaitFor::Delivered(token + 1));
        // Just accepted, so it has not failed: the flush only says that there is no time for company.
        let _flushing = state.machine.flush();
        drop(state);
        self.shared.driver_wakeup.notify_one();
        let shared = Arc::clone(&self.shared);
        let acknowledged = async move { told.await.unwrap_or_else(|_| Err(ProducerError::silent(&shared.url))) };
        Ok(Accepted {
            token,
            outcome: acknowledged,
        })
    }

    /// Sends what waits, and waits until all that was appended so far is acknowledged. Given up, nothing is harmed.
    ///
    /// # Errors
    /// The producer's failure.
    pub fn flush(&self) -> impl Future<Output = std::result::Result<(), ProducerError>> + use<> {
        let shared = Arc::clone(&self.shared);
        async move { shared.flush().await }
    }

    /// Waits until there is room again.
    ///
    /// # Errors
    /// The producer's failure.
    pub fn wait_for_space(
        &self,
        since: SpaceGeneration,
    ) -> impl Future<Output = std::result::Result<(), ProducerError>> + use<> {
        let shared = Arc::clone(&self.shared);
        async move { shared.wait(WaitFor::Space(since)).await.map(|_| ()) }
    }

    /// Waits until the producer is at its end, which this does not ask for.
    ///
    /// # Errors
    /// The producer's failure.
    pub fn ended(&self) -> impl Future<Output = std::result::Result<(), ProducerError>> + use<> {
        let shared = Arc::clone(&self.shared);
        async move { shared.wait(WaitFor::Ended).await.map(|_| ()) }
    }

    /// Accepts nothing more, sends what waits and waits until it is acknowledged. Twice is fine.
    ///
    /// # Errors
    /// The producer's failure.
    pub fn close(&self) -> impl Future<Output = std::result::Result<(), ProducerError>> + use<> {
        let shared = Arc::clone(&self.shared);
        async move { shared.close().await }
    }

    /// As [`Producer::close`], but gives up after `limit`: what is not acknowledged then is reported as undelivered.
    ///
    /// # Errors
    /// If the runtime cannot be started; the inner result is the producer's failure.
    pub fn close_within(&self, limit: Duration) -> Result<Task<std::result::Result<(), ProducerError>>> {
        let shared = Arc::clone(&self.shared);
        Task::spawn(async move {
            if let Ok(closed) = tokio::time::timeout(limit, shared.close()).await {
                return Ok(closed);
            }
            shared.state.lock().machine.abort(Instant::now());
            Ok(shared.close().await)
        })
    }

    /// Accepts nothing more, sends what waits, then closes the stream, with `last` as its last message. The token is
    /// that of `last`, the first time. Twice is fine, with the same last message or none.
    ///
    /// # Errors
    /// [`Refused::Closed`] if it was closed without the stream, [`Refused::StreamClosing`] if the stream was closed without
    /// this last message.
    pub fn close_stream(
        &self,
        last: Option<&[u8]>,
    ) -> std::result::Result<Accepted<Option<u64>, impl Future<Output = CloseOutcome> + use<>>, Refused> {
        let mut state = self.shared.state.lock();
        let token = match state.machine.close_stream(last) {
            Ok(token) => token,
            // The wait tells why it has failed.
            Err(AppendError::Failed) => None,
            Err(error) => return Err(refused(error, &state)),
        };
        state.appended = token.map_or(state.appended, |token| token + 1);
        drop(state);
        self.shared.driver_wakeup.notify_one();
        let shared = Arc::clone(&self.shared);
        let closed = async move {
            shared.wait(WaitFor::Ended).await?;
            Ok(shared.state.lock().final_offset.clone())
        };
        Ok(Accepted { token, outcome: closed })
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

    /// How many bytes are not acknowledged.
    pub fn buffered(&self) -> usize {
        self.shared.state.lock().machine.buffered()
    }

    /// Tells, whenever it is asked, whether there is something to do or to tell: whether the listener and what the endpoint
    /// asks may be needed before more is asked of the producer. In a forked child there is not.
    pub fn has_work(&self) -> impl Fn() -> bool + Send + Sync + use<> {
        let shared = ProcessBound::new(Arc::downgrade(&self.shared));
        move || {
            let shared = shared.get().and_then(Weak::upgrade);
            shared.is_some_and(|shared| shared.busy())
        }
    }

    /// Whether it was asked to end, and accepts nothing more for that.
    pub fn ending(&self) -> bool {
        self.shared.state.lock().machine.ending()
    }

    /// All tokens below it are acknowledged.
    pub fn delivered(&self) -> u64 {
        self.shared.state.lock().delivered
    }
}

/// Accepts one message. Gives its token, and whether the driver has something to do.
fn accept(state: &mut ProducerState, message: Message<'_>) -> std::result::Result<(u64, bool), Refused> {
    if let Some(failed) = &state.failed {
        return Err(Refused::Failed(failed.clone()));
    }
    let appended = match message {
        Message::Copied(message) => state.machine.append(message),
        Message::Shared(message) => state.machine.append_shared(message),
    };
    let appended = appended.map_err(|error| refused(error, state))?;
    state.appended = appended.token + 1;
    Ok((appended.token, appended.wake))
}

fn refused(error: AppendError, state: &ProducerState) -> Refused {
    match error {
        AppendError::Full => Refused::Full(SpaceGeneration(state.space_generation)),
        AppendError::Empty => Refused::Empty,
        AppendError::Closed => Refused::Closed,
        AppendError::StreamClosing => Refused::StreamClosing,
        AppendError::Failed => Refused::Failing,
    }
}
