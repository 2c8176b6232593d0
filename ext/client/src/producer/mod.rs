//! Runs a producer's [`ProducerMachine`] over HTTP. Read [`Producer`] first.
//!
//! This file has the methods for the producer's owner. `driver` runs on the runtime's threads: it sends the batches and
//! lookups that the machine wants sent and reports the outcomes to it. `state` is what both share; it wakes the callers
//! that wait for a flush, for buffer space, for an acknowledgement or for the end.
//!
//! An append takes a lock and copies the message, except for [`Message::Shared`].

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use durable_streams_protocol::error::{Error, Kind, Operation, Result};
use durable_streams_protocol::producer::{AppendError, ProducerConfig, ProducerMachine};
use durable_streams_protocol::protocol;
use durable_streams_protocol::request::Headers;
use durable_streams_protocol::retry::jitter::Jitter;
use reqwest::header::CONTENT_TYPE;

use crate::endpoint::Endpoint;
use crate::fork::ProcessBound;
use crate::runtime::{Task, TaskFuture, runtime};

mod driver;
mod error;
mod instrumentation;
mod lookup;
mod lost_messages;
mod notice;
mod registry;
mod sender;
mod state;

pub use error::ProducerError;
use instrumentation::ProducerName;
pub use lost_messages::LostMessages;
pub use notice::{Notice, NoticeListener, SpaceGeneration};
pub use registry::{drain_all, is_busy, lost_messages};
use sender::RequestSender;
pub use state::WaitOutcome;
use state::{ProducerState, Shared, WaitFor};

/// A message to append.
#[derive(Debug)]
pub enum Message<'a> {
    /// Copied into the current batch.
    Copied(&'a [u8]),
    /// Sent as a batch of its own, without copying. For messages that are about as large as a batch.
    Shared(Bytes),
}

/// Why a message was not accepted.
#[derive(Debug)]
pub enum Refused {
    /// The buffer is full. Pass the value to [`Producer::wait_for_space`].
    Full(SpaceGeneration),
    /// The message is empty.
    Empty,
    /// The producer is closed.
    Closed,
    /// The stream is being closed, or was closed, with another last message or none.
    StreamClosing,
    /// The producer is failing. [`Producer::ended`] gives the error as soon as every message's outcome is known.
    Failing,
    /// The producer has failed.
    Failed(ProducerError),
}

/// An accepted message and the future of its outcome. The future may be dropped at any time.
#[derive(Debug)]
pub struct Accepted<Token, Outcome> {
    /// The message's token.
    pub token: Token,
    /// The future of its outcome.
    pub outcome: Outcome,
}

/// The outcome of closing a stream: the final offset, if the server reported it.
pub type CloseOutcome = std::result::Result<Option<String>, ProducerError>;

/// An idempotent producer. If it is dropped with messages pending, it still sends them and then ends.
pub struct Producer {
    shared: Arc<Shared>,
}

impl Drop for Producer {
    fn drop(&mut self) {
        // A producer that has failed has ended already.
        let _refused = self.shared.state.lock().machine.close();
        self.shared.driver_wakeup.notify_one();
    }
}

impl Producer {
    /// Starts a producer with the id `id` on `endpoint`. `listener` gets its notices.
    ///
    /// # Errors
    /// `Kind::Argument` if a setting or the id is invalid; another kind if the client is closed or the runtime cannot
    /// start.
    pub fn start(
        endpoint: &Arc<Endpoint>,
        id: &str,
        content_type: &str,
        config: ProducerConfig,
        listener: Option<NoticeListener>,
    ) -> Result<Self> {
        let pool = endpoint.pool(Operation::Produce)?;
        let mut headers = Headers::new(endpoint.about(Operation::Produce));
        headers.set_if(CONTENT_TYPE, Some(content_type))?;
        headers.set_if(protocol::PRODUCER_ID, Some(id))?;
        let retry = config.retry.clone();
        let machine = ProducerMachine::new(config, Jitter::new(fastrand::f64))
            .map_err(|error| Error::plain(Kind::Argument, error.to_string()))?;
        let name = ProducerName {
            url: endpoint.display().to_owned(),
            id: id.to_owned(),
        };
        let shared = Arc::new(Shared::new(name, machine));
        let sender = RequestSender {
            endpoint: Arc::clone(endpoint),
            pool,
            headers: headers.finish(),
            retry,
        };
        let runtime = runtime()?;
        registry::add(&shared);
        let driving: TaskFuture<()> = Box::pin(driver::drive(Arc::clone(&shared), sender, listener));
        runtime.spawn(driving);
        Ok(Self { shared })
    }

    /// Accepts one message and gives its token. The caller guarantees that messages of a JSON stream are valid JSON.
    ///
    /// # Errors
    /// See [`Refused`]. The message was not accepted then.
    // Called for every message, so it becomes a part of its caller, which is not built for size, as this crate is.
    #[inline(always)]
    pub fn append(&self, message: Message<'_>) -> std::result::Result<u64, Refused> {
        let mut state = self.shared.state.lock();
        let (token, wake) = accept(&mut state, message).inspect_err(|_| self.shared.driver_wakeup.notify_one())?;
        drop(state);
        if wake {
            self.shared.driver_wakeup.notify_one();
        }
        Ok(token)
    }

    /// Accepts one message like [`Producer::append`], and sends it without lingering. The outcome is the message's
    /// acknowledgement or the producer's error.
    ///
    /// # Errors
    /// See [`Refused`]. The message was not accepted then.
    pub fn append_acknowledged(
        &self,
        message: Message<'_>,
    ) -> std::result::Result<Accepted<u64, impl Future<Output = WaitOutcome> + use<>>, Refused> {
        let mut state = self.shared.state.lock();
        let (token, _) = accept(&mut state, message).inspect_err(|_| self.shared.driver_wakeup.notify_one())?;
        let receiver = state.waiter(WaitFor::Delivered(token + 1));
        // The message was accepted, so the producer has not failed. Flushing only ends the linger.
        let _flushing = state.machine.flush();
        drop(state);
        self.shared.driver_wakeup.notify_one();
        let shared = Arc::clone(&self.shared);
        let acknowledged = async move {
            receiver
                .await
                .unwrap_or_else(|_| Err(ProducerError::silent(&shared.name.url)))
        };
        Ok(Accepted {
            token,
            outcome: acknowledged,
        })
    }

    /// Sends all pending messages and waits until they are acknowledged. The future may be dropped at any time.
    ///
    /// # Errors
    /// The producer's error.
    pub fn flush(&self) -> impl Future<Output = std::result::Result<(), ProducerError>> + use<> {
        let shared = Arc::clone(&self.shared);
        async move { shared.flush().await }
    }

    /// Waits until buffer space has become free since `since`.
    ///
    /// # Errors
    /// The producer's error.
    pub fn wait_for_space(
        &self,
        since: SpaceGeneration,
    ) -> impl Future<Output = std::result::Result<(), ProducerError>> + use<> {
        let shared = Arc::clone(&self.shared);
        async move { shared.wait(WaitFor::Space(since)).await.map(|_| ()) }
    }

    /// Waits until the producer has ended. This does not end it.
    ///
    /// # Errors
    /// The producer's error.
    pub fn ended(&self) -> impl Future<Output = std::result::Result<(), ProducerError>> + use<> {
        let shared = Arc::clone(&self.shared);
        async move { shared.wait(WaitFor::Ended).await.map(|_| ()) }
    }

    /// Accepts no further messages, sends the pending ones and waits until they are acknowledged. May be called again.
    ///
    /// # Errors
    /// The producer's error.
    pub fn close(&self) -> impl Future<Output = std::result::Result<(), ProducerError>> + use<> {
        let shared = Arc::clone(&self.shared);
        async move { shared.close().await }
    }

    /// Like [`Producer::close`], but aborts the producer after `limit`. Messages that are not acknowledged then are
    /// undelivered.
    ///
    /// # Errors
    /// If the runtime cannot be started. The inner result has the producer's error.
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

    /// Accepts no further messages, sends the pending ones, and closes the stream with `last` as its last message. The
    /// first call gives the token of `last`. May be called again, with the same last message or none.
    ///
    /// # Errors
    /// [`Refused::Closed`] if the producer was closed by [`Producer::close`]. [`Refused::StreamClosing`] if the stream
    /// was closed with another last message or none.
    pub fn close_stream(
        &self,
        last: Option<&[u8]>,
    ) -> std::result::Result<Accepted<Option<u64>, impl Future<Output = CloseOutcome> + use<>>, Refused> {
        let mut state = self.shared.state.lock();
        let token = match state.machine.close_stream(last) {
            Ok(token) => token,
            // The wait below gives the producer's error.
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

    /// The last sequence number used. If none was used, one less than the first.
    pub fn seq(&self) -> i64 {
        self.shared.state.lock().machine.seq()
    }

    /// How many messages are not yet acknowledged.
    pub fn pending(&self) -> u64 {
        self.shared.state.lock().machine.pending()
    }

    /// How many bytes are not yet acknowledged.
    pub fn buffered(&self) -> usize {
        self.shared.state.lock().machine.buffered()
    }

    /// Gives a function that says whether the producer still has to send, close or report something. Until then it may
    /// use its listener and its endpoint's values and transport. In a forked child the function returns false.
    pub fn has_work(&self) -> impl Fn() -> bool + Send + Sync + use<> {
        let shared = ProcessBound::new(Arc::downgrade(&self.shared));
        move || {
            let shared = shared.get().and_then(Weak::upgrade);
            shared.is_some_and(|shared| shared.busy())
        }
    }

    /// Whether it was closed, so that it accepts no further messages.
    pub fn ending(&self) -> bool {
        self.shared.state.lock().machine.ending()
    }

    /// All messages with a lower token are acknowledged.
    pub fn delivered(&self) -> u64 {
        self.shared.state.lock().delivered
    }
}

/// Accepts one message. Gives its token, and whether the driver must be woken.
#[inline(always)]
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
