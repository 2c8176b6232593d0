//! The machine itself: what it holds, what its owner asks of it, and what it hands out. What answers do to it is in
//! `outcome`, how it ends or changes its epoch in `settle`.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::batch::{BatchState, Body, OpenBatch, ProducerBatch};
use super::claims::{Claims, Settling};
use super::config::{ConfigError, MAX_NUMBER, ProducerConfig};
use super::event::{ProducerEvent, ProducerFailure};
use super::lookup::TailState;
use super::window::Window;

/// The most batches between the oldest that is not acknowledged and the newest that is sent: bounds what is kept of
/// batches that were acknowledged before an older one.
const WINDOW: u64 = 1024;

/// The longest time ahead that a timer is set to.
const FAR: Duration = Duration::from_secs(86_400 * 365);

/// Where the jitter of delays comes from: a number between 0 and 1 at each call.
pub type ProducerJitter = Box<dyn FnMut() -> f64 + Send>;

/// One request that was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransmitId(u64);

/// A request to send: a POST with the producer's headers and this body.
#[derive(Clone, Debug)]
pub struct Transmit {
    /// What to report its end under.
    pub id: TransmitId,
    /// `Producer-Epoch`.
    pub epoch: u64,
    /// `Producer-Seq`.
    pub seq: u64,
    /// The body; empty only where `closes` is set.
    pub body: Bytes,
    /// Whether `Stream-Closed: true` goes with it.
    pub closes: bool,
}

/// A message that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// What the message is called from now on: 0 for the first, then counting up.
    pub token: u64,
    /// Whether the driver has something to do (a batch was started or finished).
    pub wake: bool,
}

/// Why a message was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// `max_buffered_bytes` are waiting. Nothing was copied; [`ProducerEvent::Room`] tells when to try again. The driver has
    /// to look at the machine now: what waits for company goes out at once.
    Full,
    /// A message without bytes: there is no such thing in this protocol.
    Empty,
    /// The producer was closed.
    Closed,
    /// [`ProducerMachine::close_stream`] was called before, without this last message.
    StreamClosing,
    /// The producer has failed: see [`ProducerMachine::failure`].
    Failed,
}

/// How far the owner has asked the producer to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    NotRequested,
    Producer,
    Stream,
}

/// What the machine is doing.
#[derive(Debug)]
pub(super) enum Phase {
    /// Sending.
    Running,
    /// Not sending, waiting for answers that decide what became of what was sent.
    Settling(Settling),
    /// At its end, with all delivered.
    Closed,
    /// At its end, with the rest reported.
    Failed(ProducerFailure),
}

/// A request that is out.
#[derive(Debug)]
pub(super) struct SentRequest {
    /// The position of its batch since the beginning of the producer.
    pub position: u64,
    /// Its number in the epoch.
    pub seq: u64,
    /// The lowest number that was not acknowledged when it was sent: the server had all below it at that time.
    pub floor: u64,
}

/// An idempotent producer without IO. See the module for how to run it.
pub struct ProducerMachine {
    pub(super) config: ProducerConfig,
    pub(super) jitter: ProducerJitter,
    pub(super) phase: Phase,
    pub(super) ending: Ending,
    /// The last message, if the stream is to be closed with one.
    last: Option<Bytes>,
    pub(super) epoch: u64,
    pub(super) next_seq: u64,
    /// Whether the server has acknowledged this epoch.
    pub(super) established: bool,
    pub(super) claims: Claims,
    pub(super) tail: TailState,
    /// Complete batches that were not reported as delivered, in append order.
    pub(super) queue: VecDeque<ProducerBatch>,
    /// The position of the first of them since the beginning of the producer.
    pub(super) base: u64,
    /// The position of the first batch that was never sent in this epoch.
    pub(super) unsent: u64,
    /// How many batches of the queue wait to be sent again.
    pub(super) awaiting_retry: usize,
    /// How many batches of the queue are disputed.
    pub(super) disputes: usize,
    /// How many requests may be out at a time.
    pub(super) window: Window,
    /// A request failed and there was no progress since: only the oldest batch is tried.
    pub(super) probing: bool,
    pub(super) open_batch: Option<OpenBatch>,
    pub(super) sent: HashMap<TransmitId, SentRequest>,
    next_id: u64,
    pub(super) buffered: usize,
    pub(super) pending: u64,
    pub(super) next_token: u64,
    /// `Full` was answered since the last `Room`.
    pub(super) full_reported: bool,
    /// How much the last batch held: what the memory of the next is sized by.
    last_size: (usize, usize),
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
    /// A producer that has sent nothing yet. `jitter` spreads its delays.
    ///
    /// # Errors
    /// When a setting is outside its bounds.
    pub fn new(config: ProducerConfig, jitter: ProducerJitter) -> Result<ProducerMachine, ConfigError> {
        config.check()?;
        Ok(ProducerMachine {
            jitter,
            phase: Phase::Running,
            ending: Ending::NotRequested,
            last: None,
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
            open_batch: None,
            sent: HashMap::new(),
            next_id: 0,
            buffered: 0,
            pending: 0,
            next_token: 0,
            full_reported: false,
            last_size: (256, 16),
            events: VecDeque::new(),
            config,
        })
    }

    /// Accepts one message: valid JSON in UTF-8 where the body is JSON, any bytes elsewhere. The machine copies it and
    /// does not look into it: the owner has checked it, so that no message can spoil a batch.
    ///
    /// # Errors
    /// See [`AppendError`]; nothing was accepted then.
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
            OpenBatch::new(self.config.body, token, bytes.max(cost), items)
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

    /// Accepts one message, as [`ProducerMachine::append`] does, as a batch of its own. Bytes are sent from where they are, without
    /// a copy; what the message refers to is dropped when it is acknowledged, or with the report of its failure.
    ///
    /// # Errors
    /// See [`AppendError`]; nothing was accepted then.
    pub fn append_shared(&mut self, message: Bytes) -> Result<Appended, AppendError> {
        self.admit_message(message.len())?;
        self.seal();
        let token = self.next_token;
        let batch = ProducerBatch::new(token, Body::shared(self.config.body, message), false);
        self.enqueue(batch);
        Ok(Appended { token, wake: true })
    }

    /// Has all that was appended so far sent at once. [`ProducerEvent::Delivered`] tells when it is in the stream.
    ///
    /// # Errors
    /// When the producer has failed.
    pub fn flush(&mut self) -> Result<(), ProducerFailure> {
        if let Some(failure) = self.failure() {
            return Err(failure.clone());
        }
        self.send_open_batch_now();
        Ok(())
    }

    /// Accepts nothing more, sends what is left and ends with [`ProducerEvent::Closed`]. Asking again changes nothing.
    ///
    /// # Errors
    /// When the producer has failed.
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

    /// Accepts nothing more, sends what is left and then a request that closes the stream, with `last` as its data:
    /// [`ProducerEvent::StreamClosed`], then [`ProducerEvent::Closed`]. Answers the token of `last`. Asking again, with the same data or
    /// none, changes nothing.
    ///
    /// # Errors
    /// When the producer has failed, or was closed without the stream, or with other data (or none) where there are some now.
    pub fn close_stream(&mut self, last: Option<&[u8]>) -> Result<Option<u64>, AppendError> {
        let last = last.filter(|last| !last.is_empty());
        if self.ending == Ending::Stream && self.failure().is_none() {
            return match last {
                Some(last) if self.last.as_deref() != Some(last) => Err(AppendError::StreamClosing),
                _ => Ok(None),
            };
        }
        self.admit()?;
        self.last = last.map(Bytes::copy_from_slice);
        self.seal();
        let batch = ProducerBatch::new(self.next_token, Body::of(self.config.body, last), true);
        let token = last.map(|_| batch.first);
        self.enqueue(batch);
        self.ending = Ending::Stream;
        Ok(token)
    }

    /// The next request to send, while there is one that may go out at `now`.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        if let Some(open) = &mut self.open_batch {
            let linger = self.config.linger.min(FAR);
            open.due.get_or_insert_with(|| now + linger);
        }
        let position = self.next_to_send(now)?;
        let seq = match self.seq_of(position) {
            Ok(seq) => seq,
            Err(failure) => {
                self.fail(now, failure);
                return None;
            }
        };
        let floor = self.queue.front().and_then(|front| front.seq).unwrap_or(seq);
        let batch = self.queue.get_mut((position - self.base) as usize)?;
        if batch.awaits_retry() {
            self.awaiting_retry -= 1;
        } else {
            self.unsent = position + 1;
        }
        batch.seq = Some(seq);
        batch.state = BatchState::InFlight;
        batch.attempts = batch.attempts.saturating_add(1);
        let id = TransmitId(self.next_id);
        self.next_id += 1;
        self.sent.insert(id, SentRequest { position, seq, floor });
        Some(Transmit {
            id,
            epoch: self.epoch,
            seq,
            body: batch.body.bytes.clone(),
            closes: batch.closes,
        })
    }

    /// When to call `poll_transmit` again although nothing else happened; `None` for never.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !matches!(self.phase, Phase::Running) || self.tail_lookup_pending() {
            return None;
        }
        match self.queue.front().map(|batch| &batch.state) {
            Some(BatchState::BackOff(until)) => return Some(*until),
            Some(BatchState::Disputed { .. }) => return None,
            _ => {}
        }
        let idle = self.may_send_new() && self.unsent == self.base + self.queue.len() as u64;
        self.open_batch.as_ref().filter(|_| idle).and_then(|open| open.due)
    }

    /// The next thing to tell.
    pub fn poll_event(&mut self) -> Option<ProducerEvent> {
        self.events.pop_front()
    }

    /// The epoch in use.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The last number used in the epoch; one less than the first where none was, so -1 for a new epoch.
    pub fn seq(&self) -> i64 {
        self.next_seq as i64 - 1
    }

    /// How many messages are accepted and not acknowledged (after a failure: not delivered).
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// How many bytes are accepted and not acknowledged.
    pub fn buffered(&self) -> usize {
        self.buffered
    }

    /// Whether the owner has asked for the end.
    pub fn ending(&self) -> bool {
        self.ending != Ending::NotRequested
    }

    /// Why the producer accepts nothing more, from the moment it is known; [`ProducerEvent::Failed`] follows when the outcome of
    /// all messages is. It turns from `None` to `Some` within the call that brought the fatal answer (which is then
    /// the one to quote), or for `StaleEpoch` later, when nothing can be claimed.
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

    /// Whether a message of `len` bytes may be appended now, and the most that it can add to what is buffered.
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

    /// Takes a batch that is complete from the start.
    fn enqueue(&mut self, batch: ProducerBatch) {
        self.next_token += batch.count;
        self.pending += batch.count;
        self.buffered += batch.body.bytes.len();
        self.queue.push_back(batch);
    }

    /// What is being filled goes out as soon as there is room.
    fn send_open_batch_now(&mut self) {
        if let Some(open) = &mut self.open_batch {
            open.urgent = true;
        }
    }

    /// Completes what is being filled.
    pub(super) fn seal(&mut self) {
        if let Some(open) = self.open_batch.take() {
            self.last_size = (open.size().min(self.config.max_batch_bytes), open.len());
            self.queue.push_back(ProducerBatch::new(open.first, open.seal(), false));
        }
    }

    /// Whether a batch that was never sent may go out.
    fn may_send_new(&self) -> bool {
        self.sent.len() < self.window.size()
            && self.awaiting_retry == 0
            && self.disputes == 0
            && !self.probing
            && (self.established || self.sent.is_empty())
            && self.unsent - self.base < WINDOW
    }

    /// The position of the batch to send now. One that is sent again goes when all before it are acknowledged, and
    /// nothing new goes while one waits for that: it would only be refused.
    fn next_to_send(&mut self, now: Instant) -> Option<u64> {
        if !matches!(self.phase, Phase::Running) || self.tail_is_missing() {
            return None;
        }
        match self.queue.front().map(|batch| &batch.state) {
            Some(BatchState::Disputed { .. }) => return None,
            Some(BatchState::AwaitsEarlier) => return Some(self.base),
            Some(BatchState::BackOff(until)) => return (now >= *until).then_some(self.base),
            _ => {}
        }
        if !self.may_send_new() {
            return None;
        }
        if self.unsent == self.base + self.queue.len() as u64 {
            let open = self.open_batch.as_ref()?;
            if !open.urgent && open.due.is_none_or(|due| now < due) {
                return None;
            }
            self.seal();
        }
        let batch = self.queue.get((self.unsent - self.base) as usize)?;
        // The request that closes the stream travels when all else is in.
        (!batch.closes || self.unsent == self.base).then_some(self.unsent)
    }

    /// The number of a batch in the epoch, given on its first request.
    fn seq_of(&mut self, position: u64) -> Result<u64, ProducerFailure> {
        let batch = self.queue.get((position - self.base) as usize);
        if let Some(seq) = batch.and_then(|batch| batch.seq) {
            return Ok(seq);
        }
        let seq = self.next_seq;
        if seq > MAX_NUMBER {
            return Err(ProducerFailure::NumbersExhausted);
        }
        self.next_seq += 1;
        Ok(seq)
    }
}
