//! Finds out which producer stored a batch that the server says it has. The response 204 means that the server has a
//! batch with this sequence number already. Another producer with the same id and epoch may have stored it.
//!
//! If [`ProducerMachine::author`] cannot decide, the batch is *disputed*: the stream is read back to search for it,
//! from its last known end. See "An epoch that others may use" in the module's documentation.

use std::time::Instant;

use super::batch::{BatchState, Body, ProducerBatch};
use super::claims::Settling;
use super::event::{ProducerEvent, ProducerFailure};
use super::lookup::{Lookup, TailState};
use super::machine::{Phase, ProducerMachine};
use super::response::BatchResponse;
use super::search::{SearchResult, WantedBatch};
use super::transmit::SentRequest;

/// The most bodies of duplicates to store. A search must not mistake one of them for the batch that it searches for.
const MAX_STORED_SINCE: usize = 16;

/// The producer that stored a batch.
enum Author {
    ThisProducer,
    Another,
    /// This one or another. A search decides.
    Either,
}

impl ProducerMachine {
    /// The next lookup, if there is one.
    pub fn poll_lookup(&mut self, now: Instant) -> Option<Lookup> {
        while self.sent.is_empty()
            && let Some(BatchState::Disputed { looked_up: false, .. }) = self.queue.front().map(|batch| &batch.state)
        {
            let lookup = self.lookup_of_front();
            if let (Some(_), Some(BatchState::Disputed { looked_up, .. })) =
                (&lookup, self.queue.front_mut().map(|batch| &mut batch.state))
            {
                *looked_up = true;
                return lookup;
            }
            // The next batch may be disputed too.
            self.lookup_failed(now, self.base);
            self.settle(now);
        }
        self.next_tail_lookup(now)
    }

    fn next_tail_lookup(&mut self, now: Instant) -> Option<Lookup> {
        let to_send = !self.queue.is_empty() || self.open_batch.is_some();
        if !to_send || !matches!(self.phase, Phase::Running) || !self.tail_is_missing() {
            return None;
        }
        let once = match &self.tail {
            TailState::NotRequested => false,
            TailState::ToRequestAgain if self.next_try().is_none_or(|at| now >= at) => true,
            _ => return None,
        };
        self.tail = TailState::Requested;
        Some(Lookup::Tail { once })
    }

    /// The lookup of the oldest batch. `None` if the end of the stream is unknown, or if the search would mistake other
    /// batches that this producer has sent since for this one.
    fn lookup_of_front(&self) -> Option<Lookup> {
        let (front, TailState::Known(known)) = (self.queue.front()?, &self.tail) else {
            return None;
        };
        let wanted = WantedBatch {
            kind: self.config.body,
            closes: front.closes,
            body: front.body.clone(),
        };
        let later = self.queue.iter().skip(1).filter(|batch| batch.seq.is_some());
        let others = known.stored_since.iter().chain(later.map(|batch| &batch.body));
        (!wanted.resembles(others)).then(|| Lookup::Batch {
            from: known.offset.clone(),
            wanted,
        })
    }

    /// The result of [`Lookup::Tail`]: the offset where the stream ends, or `None` if the lookup failed.
    pub fn handle_tail(&mut self, tail: Option<String>) {
        if matches!(self.tail, TailState::Requested) {
            self.tail = tail.map_or(TailState::Unknown, TailState::at);
        }
    }

    /// The result of [`Lookup::Batch`].
    pub fn handle_search_result(&mut self, now: Instant, found: SearchResult) {
        let Some(BatchState::Disputed {
            looked_up: true,
            next_offset,
            sent_once,
        }) = self.queue.front().map(|batch| &batch.state)
        else {
            return;
        };
        match found {
            // The search would find an equal batch of another producer too.
            SearchResult::Yes if *sent_once => self.assume(now, self.base, true),
            SearchResult::Yes => self.batch_stored(now, self.base, next_offset.clone(), true),
            SearchResult::No => self.stored_by_another(now, self.base),
            SearchResult::Unknown => self.lookup_failed(now, self.base),
        }
        self.settle(now);
    }

    /// The oldest batch is delivered. If a later one is disputed, its lookup needs the end of the stream and the bodies
    /// that this producer has stored after it.
    pub(super) fn remember(&mut self, next_offset: Option<&String>, duplicate: bool, body: Body) {
        if !self.others_may_write() {
            return;
        }
        if let (Some(offset), false) = (next_offset, duplicate) {
            self.tail = TailState::at(offset.clone());
            self.reuse(body);
        } else if let TailState::Known(known) = &mut self.tail {
            known.stored_since.push(body);
            if known.stored_since.len() > MAX_STORED_SINCE {
                self.tail = TailState::Unknown;
            }
        }
    }

    /// Whether another producer may write in the epoch: this one has claimed the epoch, or the owner has not set
    /// [`next_seq`](super::ProducerConfig::next_seq), which says that the epoch is this producer's.
    pub(super) fn others_may_write(&self) -> bool {
        self.claims.any() || self.config.next_seq.is_none()
    }

    /// Whether the epoch may be another producer's: no response says that this one has stored anything in it.
    pub(super) fn epoch_may_be_anothers(&self) -> bool {
        !self.established && self.others_may_write()
    }

    /// Whether sending has to wait for [`Lookup::Tail`].
    pub(super) fn tail_is_missing(&self) -> bool {
        self.epoch_may_be_anothers() && !self.tail.is_settled()
    }

    /// When the oldest batch may be sent again, if it is backing off.
    pub(super) fn next_try(&self) -> Option<Instant> {
        match self.queue.front()?.state {
            BatchState::BackOff(until) => Some(until),
            _ => None,
        }
    }

    /// A request has ended and its batch is not stored. If that is certain, a failed lookup of the tail may be repeated
    /// before the batch is sent again.
    pub(super) fn retry_tail_lookup(&mut self, outcome_unknown: bool) {
        if !outcome_unknown && self.epoch_may_be_anothers() && matches!(self.tail, TailState::Unknown) {
            self.tail = TailState::ToRequestAgain;
        }
    }

    /// Whether the lookup of the tail is in flight, or will be after the next `poll_lookup`.
    pub(super) fn tail_lookup_pending(&self) -> bool {
        self.tail_is_missing() && !matches!(self.tail, TailState::ToRequestAgain)
    }

    /// The server has a batch with this number (200 or 204). If this producer stored it, acknowledges it. If another
    /// one did, handles that at once. If it is unknown who did, marks the batch as disputed: a lookup decides.
    pub(super) fn stored_or_disputed(
        &mut self,
        now: Instant,
        sent: &SentRequest,
        response: BatchResponse,
        duplicate: bool,
    ) {
        match self.author(sent, &response, duplicate) {
            Author::ThisProducer => self.batch_stored(now, sent.position, response.next_offset, duplicate),
            Author::Another => {
                self.dispute(sent.position, response.next_offset);
                self.stored_by_another(now, sent.position);
            }
            Author::Either => {
                self.dispute(sent.position, response.next_offset);
                if !matches!(self.tail, TailState::Known(_)) {
                    self.lookup_failed(now, sent.position);
                }
            }
        }
    }

    /// The producer that stored the batch. The first row that applies counts:
    ///
    /// | response | epoch | batch | author |
    /// | --- | --- | --- | --- |
    /// | 200 | any | any | this producer |
    /// | 204 | `next_seq` was set, and no claim since | any | this producer: the owner sends batches again |
    /// | 204, `Producer-Seq` higher than all that were sent | any | any | another |
    /// | 204 | this producer is not known to have stored anything in it | any | either |
    /// | 204 | this producer has stored something in it | only closes the stream | this producer: the first response is a 204 too |
    /// | 204 | the same | sent once | either |
    /// | 204 | the same | sent before, without a response | this producer: a lost response is the likely cause |
    fn author(&mut self, sent: &SentRequest, response: &BatchResponse, duplicate: bool) -> Author {
        if !duplicate || !self.others_may_write() {
            return Author::ThisProducer;
        }
        if response.producer_seq.is_some_and(|seq| seq >= self.next_seq) {
            return Author::Another;
        }
        if self.epoch_may_be_anothers() {
            return Author::Either;
        }
        match self.batch(sent) {
            Some(batch) if batch.count > 0 && !batch.outcome_unknown => Author::Either,
            _ => Author::ThisProducer,
        }
    }

    /// The server has the batch at `position`, and it is not known who stored it. A lookup decides.
    pub(super) fn dispute(&mut self, position: u64, next_offset: Option<String>) {
        let Some(batch) = self.queue.get_mut((position - self.base) as usize) else {
            return;
        };
        if batch.awaits_retry() {
            self.awaiting_retry -= 1;
        }
        self.disputes += 1;
        batch.state = BatchState::Disputed {
            looked_up: false,
            next_offset,
            sent_once: !batch.outcome_unknown,
        };
        batch.outcome_unknown = true;
    }

    /// The batch at `position` may be in the stream or not, or (`outcome_unknown`: false) it is not.
    fn end_dispute(&mut self, position: u64, outcome_unknown: bool) {
        if let Some(batch) = self.queue.get_mut((position - self.base) as usize) {
            batch.state = BatchState::AwaitsEarlier;
            batch.outcome_unknown = outcome_unknown;
            self.disputes -= 1;
            self.awaiting_retry += 1;
        }
    }

    /// Another producer has stored a batch under the sequence number of this one, which is not stored.
    fn stored_by_another(&mut self, now: Instant, position: u64) {
        let epoch = self.epoch;
        if !self.epoch_may_be_anothers() {
            return self.two_writers(now, position);
        }
        self.end_dispute(position, false);
        match self.phase {
            Phase::Running if self.config.auto_claim => {
                self.phase = Phase::Settling(Settling::Claim {
                    current_epoch: epoch,
                    response: None,
                });
            }
            Phase::Running => self.fail(now, ProducerFailure::EpochReused { epoch }),
            _ => {}
        }
    }

    /// This producer and another one write in the same epoch, so sequence numbers prove nothing. Fails the producer.
    fn two_writers(&mut self, now: Instant, position: u64) {
        self.end_dispute(position, true);
        self.claims.collided = true;
        let current_epoch = self.epoch;
        self.fail(now, ProducerFailure::StaleEpoch { current_epoch });
    }

    /// A lookup cannot decide who stored the batch. In an epoch that the owner chose, the batch is assumed to be this
    /// producer's; so is a batch that only closes the stream. In a claimed epoch, another producer may have claimed it
    /// too.
    fn lookup_failed(&mut self, now: Instant, position: u64) {
        let epoch_may_be_anothers = self.epoch_may_be_anothers();
        if epoch_may_be_anothers {
            self.tail = TailState::Unknown;
        }
        if epoch_may_be_anothers && !matches!(self.phase, Phase::Running) {
            self.end_dispute(position, true);
        } else if self.claims.any() && self.batch_at(position).is_some_and(|batch| batch.count > 0) {
            self.two_writers(now, position);
        } else {
            self.assume(now, position, false);
        }
    }

    /// Counts the disputed batch as delivered, although another producer may have stored it. `found`: an equal batch is
    /// in the stream.
    fn assume(&mut self, now: Instant, position: u64, found: bool) {
        let Some(batch) = self.batch_at(position) else { return };
        let BatchState::Disputed { next_offset, .. } = &batch.state else {
            return;
        };
        let (next_offset, first, count) = (next_offset.clone(), batch.first, batch.count);
        let epoch_may_be_anothers = self.epoch_may_be_anothers();
        // A batch without messages only closes the stream, and the stream is closed.
        let certain = found && count == 0;
        if !certain {
            self.claims.collided = true;
            let epoch = self.epoch;
            self.events.push_back(ProducerEvent::Assumed {
                first,
                count,
                epoch,
                found,
            });
        }
        self.batch_stored(now, position, next_offset, true);
        if epoch_may_be_anothers && !certain {
            // The next batch is sent alone too, and may be disputed too.
            self.established = false;
            if !found {
                self.tail = TailState::NotRequested;
            }
        }
    }

    fn batch_at(&self, position: u64) -> Option<&ProducerBatch> {
        self.queue.get(position.checked_sub(self.base)? as usize)
    }
}
