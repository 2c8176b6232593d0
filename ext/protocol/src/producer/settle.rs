//! How an epoch or the producer ends: what became of every batch is worked out before anything is claimed or reported.

use std::time::Instant;

use super::batch::{BatchState, ProducerBatch};
use super::claims::Settling;
use super::config::MAX_NUMBER;
use super::event::{DeliveryOutcome, ProducerEvent, ProducerFailure, Undelivered, UndeliveredBatch};
use super::lookup::TailState;
use super::machine::{Phase, ProducerMachine};

/// What is known of a batch when its epoch is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BatchOutcome {
    Stored,
    NotStored,
    /// Its request is out, and the answer decides.
    Undecided,
    Unknown,
}

impl ProducerMachine {
    /// Gives up: reports at once what is not acknowledged. What is in flight is `Unknown` (unless the order of numbers
    /// rules it out); answers that still come are ignored, and the driver drops those requests.
    pub fn abort(&mut self, now: Instant) {
        self.fail(now, ProducerFailure::Aborted);
        if let Phase::Settling(Settling::Fail(failure)) = &self.phase {
            let failure = failure.clone();
            self.finish(failure);
        }
    }

    /// Nothing more is sent or accepted. The first failure counts.
    pub(super) fn fail(&mut self, now: Instant, failure: ProducerFailure) {
        match self.phase {
            Phase::Closed | Phase::Failed(_) | Phase::Settling(Settling::Fail(_)) => return,
            Phase::Running | Phase::Settling(Settling::Claim { .. }) => {}
        }
        self.phase = Phase::Settling(Settling::Fail(failure));
        self.report_room();
        self.settle(now);
    }

    /// Whoever waits for room learns of the failure by trying again.
    fn report_room(&mut self) {
        if std::mem::take(&mut self.full_reported) {
            self.events.push_back(ProducerEvent::Room);
        }
    }

    /// Goes on when the answers that were waited for are in.
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

    /// What is known of each batch, by the two rules of the order of numbers: what is below an accepted one landed,
    /// what is above one that did not land did not either.
    fn outcomes(&self) -> Vec<BatchOutcome> {
        // Another may have used these numbers too.
        let shared = self.claims.collided || self.disputes > 0;
        let proven = if shared {
            None
        } else {
            self.queue.iter().rposition(ProducerBatch::acknowledged)
        };
        let mut absent = false;
        let outcome = |(index, batch): (usize, &ProducerBatch)| {
            let below_accepted = proven.is_some_and(|proven| index < proven);
            if batch.acknowledged() || (below_accepted && batch.may_be_stored()) {
                return BatchOutcome::Stored;
            }
            absent |= !batch.may_be_stored() && !shared;
            match batch.state {
                _ if absent || !batch.may_be_stored() => BatchOutcome::NotStored,
                BatchState::InFlight => BatchOutcome::Undecided,
                _ => BatchOutcome::Unknown,
            }
        };
        self.queue.iter().enumerate().map(outcome).collect()
    }

    /// Acknowledges what is proven to have landed, and reports it.
    fn acknowledge_proven(&mut self, outcomes: &[BatchOutcome]) {
        for (index, outcome) in outcomes.iter().enumerate() {
            if *outcome == BatchOutcome::Stored && !self.queue.get(index).is_some_and(ProducerBatch::acknowledged) {
                self.acknowledge(self.base + index as u64, None, true);
            }
        }
        self.report();
    }

    /// All requests of the epoch are over: takes the id back if that can be done without a doubt, or else fails as `stale`
    /// has it.
    fn claim_or_fail(&mut self, now: Instant, current_epoch: u64, stale: ProducerFailure) {
        if self.queue.front().is_some_and(ProducerBatch::disputed) {
            return;
        }
        let outcomes = self.outcomes();
        let outcome_unknown = outcomes.contains(&BatchOutcome::Unknown);
        // Only the first batch of the epoch was sent, and the epoch is over: what is in the stream by now stays the answer.
        if outcome_unknown && self.epoch_may_be_anothers() && matches!(self.tail, TailState::Known(_)) {
            return self.dispute(self.base, None);
        }
        let fought = self.claims.in_a_row >= self.config.claims.max_claims;
        if outcome_unknown || fought || current_epoch >= MAX_NUMBER {
            return self.finish(stale);
        }
        self.acknowledge_proven(&outcomes);
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        if self.queue.iter().any(ProducerBatch::acknowledged) {
            // The server accepted a number above one that it refused: nothing it says can be built on.
            return self.finish(stale);
        }
        let from = std::mem::replace(&mut self.epoch, current_epoch + 1);
        self.next_seq = 0;
        self.established = false;
        self.probing = false;
        self.awaiting_retry = 0;
        self.disputes = 0;
        // Others may have written since the tail was last known.
        self.tail = TailState::NotRequested;
        self.unsent = self.base;
        self.queue.iter_mut().for_each(ProducerBatch::renew);
        self.claims.claim(now);
        self.phase = Phase::Running;
        self.events.push_back(ProducerEvent::Claimed { from, to: self.epoch });
    }

    /// Reports every batch: delivered, or not and why. Where all turns out to be delivered and the owner has asked for
    /// the end, the end is a good one.
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
