//! The end of a request: acknowledges its batch, schedules a retry, or fails the producer.

use std::mem;
use std::time::{Duration, Instant};

use super::batch::{BatchState, Body, ProducerBatch};
use super::claims::Settling;
use super::event::{Delivery, ProducerEvent, ProducerFailure};
use super::machine::{Ending, Phase, ProducerMachine};
use super::response::{BatchResponse, Verdict, without_response};
use super::transmit::{SentRequest, TransmitId};
use crate::error::Error;
use crate::request;
use crate::retry::later;
use crate::retry::patience::Patience;
use crate::retry::so_far::{FailedTry, TriesSoFar};

impl ProducerMachine {
    /// A response arrived. It is ignored if its request is not in flight any more.
    pub fn handle_response(&mut self, now: Instant, id: TransmitId, response: BatchResponse) {
        let Some(sent) = self.sent.remove(&id) else { return };
        match response.verdict(sent.seq) {
            Verdict::Stored { duplicate } => self.stored_or_disputed(now, &sent, response, duplicate),
            verdict => self.batch_not_stored(now, &sent, verdict),
        }
        self.settle(now);
    }

    /// A request ended without a response. [`RequestFailure::Final`](request::RequestFailure::Final) fails the
    /// producer: the request was not sent, and will not be.
    pub fn handle_failure(&mut self, now: Instant, id: TransmitId, failure: request::RequestFailure) {
        let Some(sent) = self.sent.remove(&id) else { return };
        self.batch_not_stored(now, &sent, without_response(failure));
        self.settle(now);
    }

    /// The batch of a request in flight. It remains in the queue until the request has ended.
    pub(super) fn batch(&mut self, sent: &SentRequest) -> Option<&mut ProducerBatch> {
        self.queue.get_mut(sent.position.checked_sub(self.base)? as usize)
    }

    /// The batch at `position` is in the stream.
    pub(super) fn batch_stored(&mut self, now: Instant, position: u64, next_offset: Option<String>, duplicate: bool) {
        self.acknowledge(position, next_offset, duplicate);
        self.established = true;
        self.probing = false;
        let ended = self.outages.succeeded(now);
        self.events.extend(ended.map(ProducerEvent::Outage));
        self.window.accepted();
        if self.awaiting_retry > 0 {
            let waiting = self
                .queue
                .iter_mut()
                .filter(|batch| batch.awaits_retry())
                .take(self.awaiting_retry);
            waiting.for_each(|batch| batch.retries.reset());
        }
        self.claims.acknowledged(now, &self.config.claims);
        self.report();
    }

    fn batch_not_stored(&mut self, now: Instant, sent: &SentRequest, verdict: Verdict) {
        match verdict {
            Verdict::Stored { .. } => {}
            Verdict::Fenced { current_epoch, error } => {
                self.await_retry(sent, BatchState::AwaitsEarlier, false);
                self.fenced(now, current_epoch, error);
            }
            Verdict::Gap { expected, error } => {
                self.await_retry(sent, BatchState::AwaitsEarlier, false);
                self.window.overtaken(sent.position, self.unsent);
                // If the server lacks a batch that it had acknowledged before this request was sent, it has lost data.
                // Otherwise the requests overtook one another, and the batch is sent again after all earlier ones.
                if expected.map_or(sent.floor == sent.seq, |expected| expected < sent.floor) {
                    self.fail(now, ProducerFailure::Request(error));
                }
            }
            Verdict::Retry {
                error,
                retry_after,
                may_be_stored,
            } => self.schedule_retry(now, sent, error, retry_after, may_be_stored),
            Verdict::Fatal { error, may_be_stored } => {
                self.await_retry(sent, BatchState::AwaitsEarlier, may_be_stored);
                self.fail_after_tries(now, sent, error);
            }
        }
    }

    fn schedule_retry(
        &mut self,
        now: Instant,
        sent: &SentRequest,
        error: Error,
        retry_after: Option<Duration>,
        may_be_stored: bool,
    ) {
        let running = matches!(self.phase, Phase::Running);
        let delay = if running {
            self.retry_delay(now, sent, retry_after)
        } else {
            Some(Duration::ZERO)
        };
        let state = delay.map_or(BatchState::AwaitsEarlier, |delay| {
            BatchState::BackOff(later(now, delay))
        });
        self.await_retry(sent, state, may_be_stored);
        let outcome_unknown = self.batch(sent).is_some_and(|batch| batch.outcome_unknown);
        self.retry_tail_lookup(outcome_unknown);
        self.probing = true;
        self.outages.failed(now);
        let Some(delay) = delay else {
            return self.fail_after_tries(now, sent, error);
        };
        if running {
            let began = self.outages.retried(error.detail());
            self.events.extend(began.map(ProducerEvent::Outage));
            let attempt = self.batch(sent).map_or(1, |batch| batch.attempts);
            let reason = error.into_detail();
            self.events
                .push_back(ProducerEvent::Retry(FailedTry { attempt, delay, reason }));
        }
    }

    /// The delay before a batch is sent again. `None` if it is not: the policy allows no further retry, or
    /// `delivery_timeout` has passed. The last retry is made when it passes.
    fn retry_delay(&mut self, now: Instant, sent: &SentRequest, retry_after: Option<Duration>) -> Option<Duration> {
        let jitter = self.jitter.next();
        let patience = Patience {
            without_limit: self.config.patient && self.outages.has_succeeded(),
            timeout: self.config.delivery_timeout,
        };
        let batch = self.queue.get_mut((sent.position - self.base) as usize)?;
        let elapsed = now.saturating_duration_since(batch.first_try.unwrap_or(now));
        patience.next_delay(&mut batch.retries, &self.config.retry, elapsed, retry_after, jitter)
    }

    /// Fails the producer with the error of the last request for a batch.
    fn fail_after_tries(&mut self, now: Instant, sent: &SentRequest, error: Error) {
        let tries = self.batch(sent).map(|batch| TriesSoFar {
            attempts: batch.attempts,
            elapsed: now.saturating_duration_since(batch.first_try.unwrap_or(now)),
            // What becomes of all batches decides later.
            in_doubt: false,
        });
        let error = error.after_tries(tries.unwrap_or_default());
        self.fail(now, ProducerFailure::Request(error));
    }

    /// The request of a batch has ended, and the batch is not known to be in the stream.
    pub(super) fn await_retry(&mut self, sent: &SentRequest, state: BatchState, may_be_stored: bool) {
        let Some(batch) = self.batch(sent) else { return };
        batch.state = state;
        batch.outcome_unknown |= may_be_stored;
        self.awaiting_retry += 1;
    }

    /// Marks a batch as stored. `report` reports it when all earlier ones are stored too.
    pub(super) fn acknowledge(&mut self, position: u64, next_offset: Option<String>, duplicate: bool) {
        let may_be_compared = self.others_may_write();
        let Some(batch) = self.queue.get_mut((position - self.base) as usize) else {
            return;
        };
        if batch.awaits_retry() {
            self.awaiting_retry -= 1;
        }
        if batch.disputed() {
            self.disputes -= 1;
        }
        batch.state = BatchState::Acknowledged { next_offset, duplicate };
        self.buffered -= batch.body.bytes.len();
        // A lookup of an earlier batch may have to distinguish that batch from this one, so the body is stored until
        // then.
        let body = match may_be_compared {
            true => Body::default(),
            false => mem::take(&mut batch.body),
        };
        self.pending -= batch.count;
        self.reuse(body);
        if self.full_reported {
            self.full_reported = false;
            self.events.push_back(ProducerEvent::Room);
        }
    }

    /// Keeps the memory of a body that is not needed any more for the next batch, until there is nothing more to send.
    /// The allocator would return it to the system, and appends would wait for new pages.
    pub(super) fn reuse(&mut self, body: Body) {
        if self.pending == 0 {
            self.spare = Vec::new();
        } else if let Ok(mut buffer) = body.bytes.try_into_mut()
            // Not that of a message which is far larger than a batch.
            && buffer.capacity() <= self.config.max_batch_bytes.saturating_mul(2)
        {
            buffer.clear();
            self.spare = buffer.into();
        }
    }

    /// Reports the deliveries that the acknowledgements allow, and the end of the producer.
    pub(super) fn report(&mut self) {
        while self.queue.front().is_some_and(ProducerBatch::acknowledged) {
            let Some(batch) = self.queue.pop_front() else { break };
            self.base += 1;
            self.unsent = self.unsent.max(self.base);
            self.report_delivery(batch);
        }
        self.end_if_drained();
    }

    /// Reports one delivery.
    pub(super) fn report_delivery(&mut self, batch: ProducerBatch) {
        let BatchState::Acknowledged { next_offset, duplicate } = batch.state else {
            return;
        };
        self.remember(next_offset.as_ref(), duplicate, batch.body);
        let final_offset = next_offset.clone();
        self.events.push_back(ProducerEvent::Delivered(Delivery {
            first: batch.first,
            count: batch.count,
            next_offset,
            duplicate,
            epoch: self.epoch,
            seq: batch.seq.unwrap_or_default(),
            attempts: batch.attempts,
            bytes: batch.bytes,
            first_try: batch.first_try,
        }));
        if batch.closes {
            self.events.push_back(ProducerEvent::StreamClosed { final_offset });
        }
    }

    /// Ends the producer if the owner has called `close` and nothing remains to be sent.
    pub(super) fn end_if_drained(&mut self) {
        let drained = self.queue.is_empty() && self.open_batch.is_none();
        if drained && self.ending != Ending::NotRequested && !matches!(self.phase, Phase::Closed | Phase::Failed(_)) {
            self.phase = Phase::Closed;
            self.events.push_back(ProducerEvent::Closed);
        }
    }

    /// A response says that the id has a newer epoch, or that this one is closed: a replicated server that has lost
    /// data closes the epochs of that time.
    fn fenced(&mut self, now: Instant, current_epoch: u64, error: Error) {
        match &mut self.phase {
            Phase::Running if self.config.auto_claim && current_epoch >= self.epoch => {
                self.phase = Phase::Settling(Settling::Claim {
                    current_epoch,
                    response: Some(error),
                });
            }
            Phase::Settling(Settling::Claim {
                current_epoch: known,
                response,
            }) => {
                if response.is_none() || current_epoch > *known {
                    *response = Some(error);
                }
                *known = current_epoch.max(*known);
            }
            _ => self.fail(now, ProducerFailure::Request(error)),
        }
    }
}
