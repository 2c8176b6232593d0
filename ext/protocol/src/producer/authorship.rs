//! Whose batch does the server have? A server answers 204 to a batch that it has already, and another producer under the
//! same id and epoch may have stored it. Before the first batch of an epoch a producer learns where the stream ends. If a
//! batch is answered by 204 and [`ProducerMachine::author`] cannot tell whose it is, the batch is disputed: the stream is read
//! back from that end on. See "An epoch that others may use" in the module.

use std::time::Instant;

use super::batch::{BatchState, Body, ProducerBatch};
use super::claims::Settling;
use super::event::{ProducerEvent, ProducerFailure};
use super::lookup::{Lookup, TailState};
use super::machine::{Phase, ProducerMachine, SentRequest};
use super::response::BatchResponse;
use super::search::{SearchResult, WantedBatch};

/// How many batches that were answered as duplicates are kept, to tell them from one that is looked for.
const MOST_SINCE: usize = 16;

/// Who stored the batch that the server says it has.
enum Author {
    ThisProducer,
    Another,
    /// This one or another: reading back decides.
    Either,
}

impl ProducerMachine {
    /// The next thing to look up, if there is one.
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
            // The next one may be disputed too.
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

    /// How to look up the oldest batch. There is no way if it is not known where the stream ended, or if other batches
    /// that this producer has sent since would be taken for it.
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
        let others = known.since.iter().chain(later.map(|batch| &batch.body));
        (!wanted.resembles(others)).then(|| Lookup::Batch {
            from: known.offset.clone(),
            wanted,
        })
    }

    /// The stream ends at `tail`; `None` if that cannot be known.
    pub fn handle_tail(&mut self, tail: Option<String>) {
        if matches!(self.tail, TailState::Requested) {
            self.tail = tail.map_or(TailState::Unknown, TailState::at);
        }
    }

    /// What a search for a batch has come to.
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
            // An equal batch of another would be found too.
            SearchResult::Yes if *sent_once => self.assume(now, self.base, true),
            SearchResult::Yes => self.batch_stored(now, self.base, next_offset.clone(), true),
            SearchResult::No => self.stored_by_another(now, self.base),
            SearchResult::Unknown => self.lookup_failed(now, self.base),
        }
        self.settle(now);
    }

    /// The oldest batch is delivered. Keeps what is needed if a later one is disputed: where the stream ended, and what this
    /// producer has stored since.
    pub(super) fn remember(&mut self, next_offset: Option<&String>, duplicate: bool, body: Body) {
        if !self.others_may_write() {
            return;
        }
        if let (Some(offset), false) = (next_offset, duplicate) {
            self.tail = TailState::at(offset.clone());
        } else if let TailState::Known(known) = &mut self.tail {
            known.since.push(body);
            if known.since.len() > MOST_SINCE {
                self.tail = TailState::Unknown;
            }
        }
    }

    /// Whether another producer may write in the epoch: this one has claimed it, or started at number 0 without being told to.
    /// With [`ProducerConfig::next_seq`] the owner has said that the epoch is this producer's.
    pub(super) fn others_may_write(&self) -> bool {
        self.claims.any() || self.config.next_seq.is_none()
    }

    /// Whether the epoch may be another's altogether: no answer has said that this producer stored something in it.
    pub(super) fn epoch_may_be_anothers(&self) -> bool {
        !self.established && self.others_may_write()
    }

    /// Whether nothing may be sent for want of the tail.
    pub(super) fn tail_is_missing(&self) -> bool {
        self.epoch_may_be_anothers() && !self.tail.is_settled()
    }

    /// When the oldest batch may be tried again, if it waits for that.
    pub(super) fn next_try(&self) -> Option<Instant> {
        match self.queue.front()?.state {
            BatchState::BackOff(until) => Some(until),
            _ => None,
        }
    }

    /// A request has surely not reached the server, or was surely refused.
    pub(super) fn retry_tail_lookup(&mut self, outcome_unknown: bool) {
        if !outcome_unknown && self.epoch_may_be_anothers() && matches!(self.tail, TailState::Unknown) {
            self.tail = TailState::ToRequestAgain;
        }
    }

    /// Whether the tail is being asked for, or will be as soon as somebody looks.
    pub(super) fn tail_lookup_pending(&self) -> bool {
        self.tail_is_missing() && !matches!(self.tail, TailState::ToRequestAgain)
    }

    /// The server has the batch (200 or 204). Acknowledges it if it is known to be this producer's; otherwise the batch is
    /// disputed until reading back decides.
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

    /// Who stored the batch that the server says it has. The first line that applies counts:
    ///
    /// | answer | epoch | batch | author |
    /// | --- | --- | --- | --- |
    /// | 200 | any | any | this producer |
    /// | 204 | `next_seq` was given, and not claimed since | any | this producer: the owner repeats batches |
    /// | 204, `Producer-Seq` above all that was sent | any | any | another |
    /// | 204 | nothing is known to be stored by this producer | any | either |
    /// | 204 | this producer has stored something in it | only closes the stream | this producer: the first time is a 204 too |
    /// | 204 | the same | sent once | either |
    /// | 204 | the same | sent before, without an answer | this producer: a lost answer is the likely cause |
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

    /// The server has the batch at `number`, and it is not known who stored it: reading back decides.
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

    /// The batch at `number` is not known to be in the stream, or (`doubt`: false) known not to be.
    fn end_dispute(&mut self, position: u64, outcome_unknown: bool) {
        if let Some(batch) = self.queue.get_mut((position - self.base) as usize) {
            batch.state = BatchState::AwaitsEarlier;
            batch.outcome_unknown = outcome_unknown;
            self.disputes -= 1;
            self.awaiting_retry += 1;
        }
    }

    /// The server has a batch of another producer's under the number of this one, which is not stored.
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

    /// This producer and another write in one epoch, so its numbers prove nothing.
    fn two_writers(&mut self, now: Instant, position: u64) {
        self.end_dispute(position, true);
        self.claims.collided = true;
        let current_epoch = self.epoch;
        self.fail(now, ProducerFailure::StaleEpoch { current_epoch });
    }

    /// It cannot be looked up who stored the batch. In an epoch that the owner chose it is assumed to be this producer's, and so
    /// is a request that only closes; in a claimed epoch, others have claimed it too.
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

    /// The disputed batch counts as delivered, although it may be another's. `found`: an equal one is in the stream.
    fn assume(&mut self, now: Instant, position: u64, found: bool) {
        let Some(batch) = self.batch_at(position) else { return };
        let BatchState::Disputed { next_offset, .. } = &batch.state else {
            return;
        };
        let (next_offset, first, count) = (next_offset.clone(), batch.first, batch.count);
        let epoch_may_be_anothers = self.epoch_may_be_anothers();
        // That the stream is closed is all that a request asks for which only closes it.
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
            // The next batch travels alone too, and its answer is not trusted either.
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
