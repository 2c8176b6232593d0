//! Which batch is sent next, and when.

use std::time::Instant;

use super::batch::BatchState;
use super::config::MAX_NUMBER;
use super::event::ProducerFailure;
use super::machine::{Phase, ProducerMachine};
use super::transmit::{SentRequest, Transmit, TransmitId};
use crate::retry::later;

/// The most batches from the oldest unacknowledged one to the newest one sent. Limits the memory for batches that were
/// acknowledged before an older one.
const MAX_BATCHES_AHEAD: u64 = 1024;

impl ProducerMachine {
    /// The next request to send at `now`, if there is one.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        if let Some(open) = &mut self.open_batch {
            open.due.get_or_insert_with(|| later(now, self.config.linger));
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
        batch.first_try.get_or_insert(now);
        let id = TransmitId(self.next_id);
        self.next_id += 1;
        self.sent.insert(id, SentRequest { position, seq, floor });
        Some(Transmit {
            id,
            epoch: self.epoch,
            seq,
            body: batch.body.bytes.clone(),
            closes: batch.closes,
            attempt: batch.attempts,
        })
    }

    /// When to poll again if nothing else happens before. `None` means never.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !matches!(self.phase, Phase::Running) || self.tail_lookup_pending() {
            return None;
        }
        match self.queue.front().map(|batch| &batch.state) {
            Some(BatchState::BackOff(until)) => return Some(*until),
            Some(BatchState::Disputed { .. }) => return None,
            _ => {}
        }
        let open = self.open_batch.as_ref()?;
        open.due.filter(|_| self.may_send_new() && self.all_were_sent())
    }

    /// Whether an unsent batch may be sent.
    fn may_send_new(&self) -> bool {
        self.sent.len() < self.window.size()
            && self.awaiting_retry == 0
            && self.disputes == 0
            && !self.probing
            && (self.established || self.sent.is_empty())
            && self.unsent - self.base < MAX_BATCHES_AHEAD
    }

    /// Whether every complete batch was sent in this epoch.
    fn all_were_sent(&self) -> bool {
        self.unsent == self.base + self.queue.len() as u64
    }

    /// The position of the batch to send now. A batch is sent again when all earlier ones are acknowledged. Meanwhile
    /// no unsent batch is sent, because the server would reject it.
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
        if self.all_were_sent() {
            let open = self.open_batch.as_ref()?;
            if !open.urgent && open.due.is_none_or(|due| now < due) {
                return None;
            }
            self.seal();
        }
        let batch = self.queue.get((self.unsent - self.base) as usize)?;
        // The request that closes the stream is sent when all batches are acknowledged.
        (!batch.closes || self.unsent == self.base).then_some(self.unsent)
    }

    /// The sequence number of a batch, assigned with its first request.
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
