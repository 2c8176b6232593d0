//! What the end of a request does to the machine.

use std::time::{Duration, Instant};

use super::batch::{BatchState, Body, ProducerBatch};
use super::claims::Settling;
use super::event::{Delivery, ProducerEvent, ProducerFailure};
use super::machine::{Ending, Phase, ProducerMachine, SentRequest, TransmitId};
use super::response::{BatchResponse, Verdict, without_answer};
use crate::error::Error;
use crate::request;

impl ProducerMachine {
    /// An answer came. One to a request that is not out any more is ignored.
    pub fn handle_response(&mut self, now: Instant, id: TransmitId, answer: BatchResponse) {
        let Some(sent) = self.sent.remove(&id) else { return };
        match answer.verdict(sent.seq) {
            Verdict::Landed { duplicate } => self.landed_or_disputed(now, &sent, answer, duplicate),
            verdict => self.not_landed(now, &sent, verdict),
        }
        self.settle(now);
    }

    /// A request ended without an answer. `Final` fails the producer: the request was not sent, and will not be.
    pub fn handle_failure(&mut self, now: Instant, id: TransmitId, failure: request::RequestFailure) {
        let Some(sent) = self.sent.remove(&id) else { return };
        self.not_landed(now, &sent, without_answer(failure));
        self.settle(now);
    }

    /// The batch of a request that is out; nothing else is done with its entry until the answer.
    pub(super) fn batch(&mut self, sent: &SentRequest) -> Option<&mut ProducerBatch> {
        self.queue.get_mut(sent.number.checked_sub(self.base)? as usize)
    }

    /// The batch at `number` is in the stream.
    pub(super) fn landed_at(&mut self, now: Instant, number: u64, next_offset: Option<String>, duplicate: bool) {
        self.acknowledge(number, next_offset, duplicate);
        self.established = true;
        self.probing = false;
        self.window.passed();
        if self.held > 0 {
            let held = self.queue.iter_mut().filter(|batch| batch.held()).take(self.held);
            held.for_each(|batch| batch.retries.reset());
        }
        self.claims.acknowledged(now, &self.config.claims);
        self.report();
    }

    fn not_landed(&mut self, now: Instant, sent: &SentRequest, verdict: Verdict) {
        match verdict {
            Verdict::Landed { .. } => {}
            Verdict::Fenced { current_epoch, error } => {
                self.hold(sent, BatchState::Parked, false);
                self.fenced(now, current_epoch, error);
            }
            Verdict::Gap { expected, error } => {
                self.hold(sent, BatchState::Parked, false);
                self.window.overtaken(sent.number, self.unsent);
                // The server lacked what it had acknowledged before this request was sent; else the requests merely
                // overtook one another, and by the time the batch is sent again all before it are acknowledged.
                if expected.map_or(sent.floor == sent.seq, |expected| expected < sent.floor) {
                    self.fail(now, ProducerFailure::Request(error));
                }
            }
            Verdict::Again {
                error,
                asked,
                may_have_landed,
            } => self.again(now, sent, error, asked, may_have_landed),
            Verdict::Fatal {
                failure,
                may_have_landed,
            } => {
                self.hold(sent, BatchState::Parked, may_have_landed);
                self.fail(now, failure);
            }
        }
    }

    fn again(
        &mut self,
        now: Instant,
        sent: &SentRequest,
        error: Error,
        asked: Option<Duration>,
        may_have_landed: bool,
    ) {
        let jitter = (self.jitter)();
        let running = matches!(self.phase, Phase::Running);
        let Some(batch) = self.queue.get_mut((sent.number - self.base) as usize) else {
            return;
        };
        let policy = &self.config.retry;
        let delay = if running {
            batch.retries.next_delay(policy, asked, jitter)
        } else {
            Some(Duration::ZERO)
        };
        let until = delay.and_then(|delay| now.checked_add(delay));
        self.hold(
            sent,
            until.map_or(BatchState::Parked, BatchState::BackOff),
            may_have_landed,
        );
        let doubt = self.batch(sent).is_some_and(|batch| batch.doubt);
        self.ask_again(doubt);
        self.probing = true;
        if until.is_none() {
            self.fail(now, ProducerFailure::Request(error));
        }
    }

    /// The request of a batch is over and it is not known to be in the stream.
    pub(super) fn hold(&mut self, sent: &SentRequest, state: BatchState, may_have_landed: bool) {
        let Some(batch) = self.batch(sent) else { return };
        batch.state = state;
        batch.doubt |= may_have_landed;
        self.held += 1;
    }

    /// Marks a batch as being in the stream and drops its bytes. `report` tells, when those before it are too.
    pub(super) fn acknowledge(&mut self, number: u64, next_offset: Option<String>, duplicate: bool) {
        let may_be_compared = self.others_may_write();
        let Some(batch) = self.queue.get_mut((number - self.base) as usize) else {
            return;
        };
        if batch.held() {
            self.held -= 1;
        }
        if batch.disputed() {
            self.disputes -= 1;
        }
        batch.state = BatchState::Acknowledged { next_offset, duplicate };
        self.buffered -= batch.body.bytes.len();
        // It may be needed to tell this batch from a disputed one, until its turn has come.
        if !may_be_compared {
            batch.body = Body::default();
        }
        self.pending -= batch.count;
        if self.starved {
            self.starved = false;
            self.events.push_back(ProducerEvent::Room);
        }
    }

    /// Tells of the deliveries and the end that acknowledgements have brought about.
    pub(super) fn report(&mut self) {
        while self.queue.front().is_some_and(ProducerBatch::acknowledged) {
            let Some(batch) = self.queue.pop_front() else { break };
            self.base += 1;
            self.unsent = self.unsent.max(self.base);
            self.tell_delivered(batch);
        }
        self.end_if_drained();
    }

    /// Tells of one delivery.
    pub(super) fn tell_delivered(&mut self, batch: ProducerBatch) {
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
        }));
        if batch.closes {
            self.events.push_back(ProducerEvent::StreamClosed { final_offset });
        }
    }

    /// Ends the producer if it was asked to and nothing is left.
    pub(super) fn end_if_drained(&mut self) {
        let drained = self.queue.is_empty() && self.filling.is_none();
        if drained && self.ending != Ending::NotRequested && !matches!(self.phase, Phase::Closed | Phase::Failed(_)) {
            self.phase = Phase::Closed;
            self.events.push_back(ProducerEvent::Closed);
        }
    }

    /// The id belongs to a newer epoch, as a response says.
    fn fenced(&mut self, now: Instant, current_epoch: u64, error: Error) {
        match &mut self.phase {
            Phase::Running if self.config.auto_claim && current_epoch > self.epoch => {
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
