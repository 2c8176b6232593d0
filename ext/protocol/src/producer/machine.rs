//! [`ProducerMachine`]: its state, and the methods for its owner. `sending` makes the requests, and `outcome` handles
//! their ends. `settle` ends the producer or changes its epoch.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::mem;

use bytes::Bytes;

use super::batch::{Body, OpenBatch, ProducerBatch};
use super::claims::{Claims, Settling};
use super::config::{ConfigError, ProducerConfig};
use super::event::{ProducerEvent, ProducerFailure};
use super::lookup::TailState;
use super::transmit::{SentRequest, TransmitId};
use super::window::Window;
use crate::retry::jitter::Jitter;
use crate::retry::outage::Outages;

/// An accepted message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Identifies the message. Tokens count up from 0.
    pub token: u64,
    /// Whether the driver has to poll the machine: a batch was started or completed.
    pub wake: bool,
}

/// Why a message was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// There are `max_buffered_bytes` unacknowledged. Try again after [`ProducerEvent::Room`]. The driver has to poll
    /// the machine now, because the open batch is sent without waiting for more messages.
    Full,
    /// The message is empty. The protocol has no empty messages.
    Empty,
    /// The producer is closed.
    Closed,
    /// [`ProducerMachine::close_stream`] was called before with another last message or none.
    StreamClosing,
    /// The producer has failed. See [`ProducerMachine::failure`].
    Failed,
}

/// What the owner has requested to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    NotRequested,
    Producer,
    Stream,
}

/// What the machine is doing.
#[derive(Debug)]
pub(super) enum Phase {
    /// It sends.
    Running,
    /// It sends nothing, and waits for responses that decide the outcome of batches.
    Settling(Settling),
    /// It has ended, and everything is delivered.
    Closed,
    /// It has failed and reported the undelivered messages.
    Failed(ProducerFailure),
}

/// An idempotent producer without I/O. The [module](super) documents how to run it.
pub struct ProducerMachine {
    pub(super) config: ProducerConfig,
    pub(super) jitter: Jitter,
    pub(super) phase: Phase,
    pub(super) ending: Ending,
    /// The last message, if `close_stream` was called with one.
    last_message: Option<Bytes>,
    pub(super) epoch: u64,
    pub(super) next_seq: u64,
    /// Whether the server has acknowledged a batch of this epoch.
    pub(super) established: bool,
    pub(super) claims: Claims,
    pub(super) tail: TailState,
    /// The complete batches that are not reported as delivered, in append order.
    pub(super) queue: VecDeque<ProducerBatch>,
    /// The position of the first batch in the queue.
    pub(super) base: u64,
    /// The position of the first batch that has not been sent in this epoch.
    pub(super) unsent: u64,
    /// The number of batches in the queue that wait to be sent again.
    pub(super) awaiting_retry: usize,
    /// The number of disputed batches in the queue.
    pub(super) disputes: usize,
    /// The limit of requests in flight.
    pub(super) window: Window,
    /// A request failed and there was no progress since. Only the oldest batch is sent.
    pub(super) probing: bool,
    pub(super) outages: Outages,
    pub(super) open_batch: Option<OpenBatch>,
    pub(super) sent: HashMap<TransmitId, SentRequest>,
    pub(super) next_id: u64,
    /// The bytes that are accepted and not acknowledged.
    pub(super) buffered: usize,
    /// The number of messages that are accepted and not acknowledged.
    pub(super) pending: u64,
    pub(super) next_token: u64,
    /// Whether `append` has returned `Full` since the last `Room`.
    pub(super) full_reported: bool,
    /// The bytes and messages of the last batch. The next one is allocated with this capacity.
    last_size: (usize, usize),
    /// The memory of an acknowledged batch, for the next one.
    pub(super) spare: Vec<u8>,
    pub(super) events: VecDeque<ProducerEvent>,
}

impl fmt::Debug for ProducerMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducerMachine")
            .field("phase", &self.phase)
            .field("epoch", &self.epoch)
            .field("next_seq", &self.next_seq)
            .field("pending", &self.pending)
            .finish_non_exhaustive()
    }
}

impl ProducerMachine {
    /// A new producer. `jitter` randomizes its delays.
    ///
    /// # Errors
    /// If a setting is out of bounds.
    pub fn new(config: ProducerConfig, jitter: Jitter) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            jitter,
            phase: Phase::Running,
            ending: Ending::NotRequested,
            last_message: None,
            epoch: config.epoch,
            next_seq: config.next_seq.unwrap_or_default(),
            established: config.next_seq.is_some_and(|seq| seq > 0),
            claims: Claims::default(),
            tail: TailState::NotRequested,
            queue: VecDeque::new(),
            base: 0,
            unsent: 0,
            awaiting_retry: 0,
            disputes: 0,
            window: Window::new(config.max_in_flight),
            probing: false,
            outages: Outages::default(),
            open_batch: None,
            sent: HashMap::new(),
            next_id: 0,
            buffered: 0,
            pending: 0,
            next_token: 0,
            full_reported: false,
            last_size: (256, 16),
            spare: Vec::new(),
            events: VecDeque::new(),
            config,
        })
    }

    /// Accepts a copy of one message. For JSON bodies it has to be valid JSON in UTF-8. The caller guarantees that; the
    /// machine does not check it, and one invalid message would make the server reject the whole batch.
    ///
    /// # Errors
    /// See [`AppendError`]. The message is not accepted then.
    #[inline]
    pub fn append(&mut self, message: &[u8]) -> Result<Appended, AppendError> {
        let cost = self.admit_message(message.len())?;
        let mut wake = false;
        if self
            .open_batch
            .as_ref()
            .is_some_and(|open| !open.fits(message.len(), self.config.max_batch_bytes))
        {
            self.seal();
            wake = true;
        }
        let token = self.next_token;
        let (bytes, items) = self.last_size;
        let open = self.open_batch.get_or_insert_with(|| {
            wake = true;
            OpenBatch::new(
                self.config.body,
                token,
                mem::take(&mut self.spare),
                bytes.max(cost),
                items,
            )
        });
        let before = if open.len() == 0 { 0 } else { open.size() };
        open.push(message);
        self.buffered += open.size() - before;
        self.next_token += 1;
        self.pending += 1;
        if open.size() >= self.config.max_batch_bytes || open.len() >= self.config.max_batch_items {
            self.seal();
            wake = true;
        }
        Ok(Appended { token, wake })
    }

    /// Like [`ProducerMachine::append`], but the message is a batch of its own, and bytes are not copied. The message
    /// is dropped after its acknowledgement, or with the report of its failure.
    ///
    /// # Errors
    /// See [`AppendError`]. The message is not accepted then.
    pub fn append_shared(&mut self, message: Bytes) -> Result<Appended, AppendError> {
        self.admit_message(message.len())?;
        self.seal();
        let token = self.next_token;
        let batch = ProducerBatch::new(token, Body::shared(self.config.body, message), false);
        self.enqueue(batch);
        Ok(Appended { token, wake: true })
    }

    /// Sends the open batch without waiting for more messages. [`ProducerEvent::Delivered`] reports when it is in the
    /// stream.
    ///
    /// # Errors
    /// If the producer has failed.
    pub fn flush(&mut self) -> Result<(), ProducerFailure> {
        if let Some(failure) = self.failure() {
            return Err(failure.clone());
        }
        self.send_open_batch_now();
        Ok(())
    }

    /// Accepts no more messages, sends the remaining ones and ends with [`ProducerEvent::Closed`]. Another call has no
    /// effect.
    ///
    /// # Errors
    /// If the producer has failed.
    pub fn close(&mut self) -> Result<(), ProducerFailure> {
        if let Some(failure) = self.failure() {
            return Err(failure.clone());
        }
        if self.ending == Ending::NotRequested {
            self.ending = Ending::Producer;
            self.send_open_batch_now();
            self.end_if_drained();
        }
        Ok(())
    }

    /// Accepts no more messages, sends the remaining ones, and then closes the stream with `last` as the last message.
    /// Ends with [`ProducerEvent::StreamClosed`] and [`ProducerEvent::Closed`]. Returns the token of `last`. Another
    /// call with the same message or none has no effect.
    ///
    /// # Errors
    /// If the producer has failed, if `close` was called before, or if `close_stream` was called before with another
    /// message or none, and this call has one.
    pub fn close_stream(&mut self, last: Option<&[u8]>) -> Result<Option<u64>, AppendError> {
        let last = last.filter(|last| !last.is_empty());
        if self.ending == Ending::Stream && self.failure().is_none() {
            return match last {
                Some(last) if self.last_message.as_deref() != Some(last) => Err(AppendError::StreamClosing),
                _ => Ok(None),
            };
        }
        self.admit()?;
        self.last_message = last.map(Bytes::copy_from_slice);
        self.seal();
        let batch = ProducerBatch::new(self.next_token, Body::of(self.config.body, last), true);
        let token = last.map(|_| batch.first);
        self.enqueue(batch);
        self.ending = Ending::Stream;
        Ok(token)
    }

    /// The next event, if there is one.
    pub fn poll_event(&mut self) -> Option<ProducerEvent> {
        self.events.pop_front()
    }

    /// The current epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The last sequence number used in the epoch. If none was used, one less than the first one: -1 for a new epoch.
    pub fn seq(&self) -> i64 {
        self.next_seq as i64 - 1
    }

    /// The number of messages that are accepted and not acknowledged (after a failure: not delivered).
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// The number of bytes that are accepted and not acknowledged.
    pub fn buffered(&self) -> usize {
        self.buffered
    }

    /// Whether the owner has called `close` or `close_stream`.
    pub fn ending(&self) -> bool {
        self.ending != Ending::NotRequested
    }

    /// Why the producer has failed. [`ProducerEvent::Failed`] follows when the outcome of all messages is known. The
    /// failure is set by the call that passes in the fatal response, except for `StaleEpoch`: that one is set later,
    /// when no epoch can be claimed.
    pub fn failure(&self) -> Option<&ProducerFailure> {
        match &self.phase {
            Phase::Failed(failure) | Phase::Settling(Settling::Fail(failure)) => Some(failure),
            Phase::Running | Phase::Closed | Phase::Settling(Settling::Claim { .. }) => None,
        }
    }

    #[inline]
    fn admit(&self) -> Result<(), AppendError> {
        if self.failure().is_some() {
            return Err(AppendError::Failed);
        }
        match self.ending {
            Ending::NotRequested => Ok(()),
            Ending::Producer | Ending::Stream => Err(AppendError::Closed),
        }
    }

    /// Checks whether a message of `len` bytes may be appended now. Returns the most bytes that it adds to the buffer.
    #[inline]
    fn admit_message(&mut self, len: usize) -> Result<usize, AppendError> {
        self.admit()?;
        if len == 0 {
            return Err(AppendError::Empty);
        }
        let cost = self.config.body.cost(len);
        if self.buffered > 0 && self.buffered.saturating_add(cost) > self.config.max_buffered_bytes {
            self.full_reported = true;
            self.send_open_batch_now();
            return Err(AppendError::Full);
        }
        Ok(cost)
    }

    /// Adds a complete batch to the queue.
    fn enqueue(&mut self, batch: ProducerBatch) {
        self.next_token += batch.count;
        self.pending += batch.count;
        self.buffered += batch.body.bytes.len();
        self.queue.push_back(batch);
    }

    /// Lets the open batch be sent as soon as the window allows.
    fn send_open_batch_now(&mut self) {
        if let Some(open) = &mut self.open_batch {
            open.urgent = true;
        }
    }

    /// Completes the open batch.
    pub(super) fn seal(&mut self) {
        if let Some(open) = self.open_batch.take() {
            self.last_size = (open.size().min(self.config.max_batch_bytes), open.len());
            self.queue.push_back(ProducerBatch::new(open.first, open.seal(), false));
        }
    }
}
