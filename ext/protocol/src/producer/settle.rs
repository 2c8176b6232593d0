//! The end of an epoch or of the producer. The outcome of every batch is determined first. Then the producer claims the
//! next epoch, or reports its failure.

use std::time::Instant;

use super::batch::{BatchState, ProducerBatch};
use super::claims::Settling;
use super::config::MAX_NUMBER;
use super::event::{DeliveryOutcome, ProducerEvent, ProducerFailure, SentBatch, Undelivered, UndeliveredBatch};
use super::lookup::TailState;
use super::machine::{Phase, ProducerMachine};

/// What is known about a batch at the end of its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BatchOutcome {
    Stored,
    NotStored,
    /// Its request is in flight, and the response decides.
    Undecided,
    Unknown,
}

impl ProducerMachine {
    /// Fails the producer at once and reports everything that is not acknowledged. The outcome of a batch in flight is
    /// `Unknown`, unless the order of sequence numbers proves it. Later responses are ignored. The driver drops those
    /// requests.
    pub fn abort(&mut self, now: Instant) {
        self.fail(now, ProducerFailure::Aborted);
        if let Phase::Settling(Settling::Fail(failure)) = &self.phase {
            let failure = failure.clone();
            self.finish(failure);
        }
    }

    /// Fails the producer: it sends and accepts nothing more. Only the first failure counts.
    pub(super) fn fail(&mut self, now: Instant, failure: ProducerFailure) {
        match self.phase {
            Phase::Closed | Phase::Failed(_) | Phase::Settling(Settling::Fail(_)) => return,
            Phase::Running | Phase::Settling(Settling::Claim { .. }) => {}
        }
        self.phase = Phase::Settling(Settling::Fail(failure));
        self.report_room();
        self.settle(now);
    }

    /// A caller that waits for room tries again and gets the failure.
    fn report_room(&mut self) {
        if std::mem::take(&mut self.full_reported) {
            self.events.push_back(ProducerEvent::Room);
        }
    }

    /// Continues when the outcome of all requests in flight is known.
    pub(super) fn settle(&mut self, now: Instant) {
        match &self.phase {
            Phase::Settling(Settling::Claim {
                current_epoch,
                response,
            }) if self.sent.is_empty() => {
                let current_epoch = *current_epoch;
                let stale = ProducerFailure::StaleEpoch { current_epoch };
                let stale = response.clone().map_or(stale, ProducerFailure::Request);
                self.claim_or_fail(now, current_epoch, stale);
            }
            Phase::Settling(Settling::Fail(failure)) if !self.outcomes().contains(&BatchOutcome::Undecided) => {
                let failure = failure.clone();
                self.finish(failure);
            }
            _ => {}
        }
    }

    /// The outcome of each batch. Servers accept sequence numbers in order, so every batch before an accepted one is
    /// stored, and no batch after one that is not stored is stored. Neither holds if another producer may have used
    /// these sequence numbers too.
    ///
    /// The order of the tests matters, because each one assumes that those before it have failed. A batch before an
    /// accepted one is stored, whatever its own state. Then a batch that no request may have stored is not, and with it
    /// none after it, in flight or not. Only then can a response that has yet to come decide.
    fn outcomes(&self) -> Vec<BatchOutcome> {
        let in_order = !self.claims.collided && self.disputes == 0;
        let last_accepted = match in_order {
            true => self.queue.iter().rposition(ProducerBatch::acknowledged),
            false => None,
        };
        let mut earlier_is_missing = false;
        let outcome = |(index, batch): (usize, &ProducerBatch)| {
            let may_be_stored = batch.may_be_stored();
            let before_accepted = last_accepted.is_some_and(|accepted| index < accepted);
            if batch.acknowledged() || (before_accepted && may_be_stored) {
                return BatchOutcome::Stored;
            }
            earlier_is_missing |= in_order && !may_be_stored;
            if earlier_is_missing || !may_be_stored {
                BatchOutcome::NotStored
            } else if matches!(batch.state, BatchState::InFlight) {
                BatchOutcome::Undecided
            } else {
                BatchOutcome::Unknown
            }
        };
        self.queue.iter().enumerate().map(outcome).collect()
    }

    /// Acknowledges and reports the batches that are proven to be stored.
    fn acknowledge_proven(&mut self, outcomes: &[BatchOutcome]) {
        for (index, outcome) in outcomes.iter().enumerate() {
            if *outcome == BatchOutcome::Stored && !self.queue.get(index).is_some_and(ProducerBatch::acknowledged) {
                self.acknowledge(self.base + index as u64, None, true);
            }
        }
        self.report();
    }

    /// All requests of the epoch have ended. Claims the next epoch if the outcome of every batch is known. Otherwise
    /// fails with `stale`.
    fn claim_or_fail(&mut self, now: Instant, current_epoch: u64, stale: ProducerFailure) {
        if self.queue.front().is_some_and(ProducerBatch::disputed) {
            return;
        }
        let outcomes = self.outcomes();
        let outcome_unknown = outcomes.contains(&BatchOutcome::Unknown);
        // Only the first batch of the epoch was sent, and the server accepts nothing of this epoch any more. So a
        // lookup now decides.
        if outcome_unknown && self.epoch_may_be_anothers() && matches!(self.tail, TailState::Known(_)) {
            return self.dispute(self.base, None);
        }
        let too_many_claims = self.claims.claims_in_a_row >= self.config.claims.max_claims;
        if outcome_unknown || too_many_claims || current_epoch >= MAX_NUMBER {
            return self.finish(stale);
        }
        self.acknowledge_proven(&outcomes);
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        if self.queue.iter().any(ProducerBatch::acknowledged) {
            // The server accepted a sequence number above a rejected one, so its responses prove nothing.
            return self.finish(stale);
        }
        let from = std::mem::replace(&mut self.epoch, current_epoch + 1);
        self.next_seq = 0;
        self.established = false;
        self.probing = false;
        self.awaiting_retry = 0;
        self.disputes = 0;
        // Other producers may have written since the last lookup.
        self.tail = TailState::NotRequested;
        self.unsent = self.base;
        self.queue.iter_mut().for_each(ProducerBatch::renew);
        self.claims.claim(now);
        self.phase = Phase::Running;
        self.events.push_back(ProducerEvent::Claimed { from, to: self.epoch });
    }

    /// Reports every batch as delivered or undelivered, and ends the producer. If all are delivered and the owner has
    /// called `close`, the producer ends without a failure.
    fn finish(&mut self, failure: ProducerFailure) {
        let outcomes = self.outcomes();
        self.acknowledge_proven(&outcomes);
        self.sent.clear();
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        self.phase = Phase::Failed(failure.clone());
        let reported = outcomes.len() - self.queue.len();
        self.seal();
        self.report_room();
        let mut batches = Vec::new();
        for (index, batch) in std::mem::take(&mut self.queue).into_iter().enumerate() {
            let outcome = match outcomes.get(reported + index) {
                Some(BatchOutcome::Stored) => {
                    self.report_delivery(batch);
                    continue;
                }
                Some(BatchOutcome::Undecided | BatchOutcome::Unknown) => DeliveryOutcome::Unknown,
                Some(BatchOutcome::NotStored) | None => DeliveryOutcome::NotDelivered,
            };
            batches.push(UndeliveredBatch {
                kind: self.config.body,
                first: batch.first,
                sent: sent(&batch),
                body: batch.body,
                outcome,
            });
        }
        self.awaiting_retry = 0;
        self.events.push_back(ProducerEvent::Failed {
            failure,
            undelivered: Undelivered { batches },
        });
    }
}

/// The requests of a batch, if there were any in this epoch.
fn sent(batch: &ProducerBatch) -> Option<SentBatch> {
    (batch.attempts > 0).then(|| SentBatch {
        count: batch.count,
        bytes: batch.bytes,
        seq: batch.seq.unwrap_or_default(),
        attempts: batch.attempts,
        first_try: batch.first_try,
    })
}
