//! What the end of a request means for the claim, and when the next claim is due.

use std::time::{Duration, Instant};

use super::claim::{BlockStep, DueAck, GrantedClaim};
use super::machine::{RequestKind, Wake, WorkerEvent, WorkerMachine, WorkerRequest, WorkerState};
use crate::error::{Error, Kind, Operation};
use crate::request::{Context, Repeat, RequestFailure, Response};
use crate::retry::later;
use crate::retry::outage::OutageEvent;
use crate::retry::so_far::FailedTry;
use crate::retry::tries::RetryDecision;
use crate::subscriptions::{self, Claim};

/// A worker that waits for a wake claims after this time at the earliest, and after twice this time at the latest.
const WITHOUT_WAKE: Duration = Duration::from_secs(30);
/// The pause before the next claim if there was nothing to do in the last one but streams that are left alone.
const AFTER_NOTHING: Duration = Duration::from_secs(5);
/// The pause before the next claim if the last one was lost and nothing was acked in it.
const AFTER_LOSS: Duration = Duration::from_secs(1);

impl WorkerMachine {
    /// The request of [`WorkerMachine::poll_request`] has ended. `context` has the operation that was given with it.
    /// Returns the failed try if another one follows.
    pub fn handle_outcome(
        &mut self,
        now: Instant,
        context: &Context<'_>,
        outcome: Result<Response, RequestFailure>,
    ) -> Option<FailedTry> {
        let (sent, mut tries) = (self.sent.take()?, self.tries.take()?);
        let attempt = tries.attempt();
        let may_be_done = match &outcome {
            Ok(response) => response.status.is_server_error(),
            Err(failure) => matches!(failure, RequestFailure::ResponseLost(_)),
        };
        if let WorkerState::Claimed(claim) = &mut self.state {
            claim.end_in_doubt |= sent.kind.ends_claim() && may_be_done;
        }
        let policy = self.config.retry.clone();
        let context = Context {
            policy: &policy,
            ..*context
        };
        match tries.handle_outcome(now, &context, Repeat::Safe, outcome, self.jitter.next()) {
            RetryDecision::RetryAfter { delay, error } => {
                // The thread that waited for the response was interrupted: that says nothing of the server.
                let failed = (!matches!(error.kind(), Kind::Abandoned)).then(|| FailedTry {
                    attempt,
                    delay,
                    reason: error.detail().to_owned(),
                });
                if let Some(failed) = &failed {
                    self.outages.failed(sent.at);
                    let began = self.outages.retried(&failed.reason);
                    self.report_outage(&context, began);
                }
                self.tries = Some(tries);
                self.retry(now, &sent, later(now, delay), error);
                return failed;
            }
            RetryDecision::Done(Err(error)) => self.request_failed(now, &sent, error),
            RetryDecision::Done(Ok(response)) => {
                let ended = self.outages.succeeded(now);
                self.report_outage(&context, ended);
                self.handle_response(now, sent, response, &context);
            }
        }
        None
    }

    fn report_outage(&mut self, context: &Context<'_>, event: Option<OutageEvent>) {
        if let (Some(event), Operation::Subscription(operation)) = (event, context.about.operation) {
            self.events.push_back(WorkerEvent::Outage(operation, event));
        }
    }

    /// The try has failed, and another one may succeed.
    fn retry(&mut self, now: Instant, sent: &WorkerRequest, at: Instant, error: Error) {
        match &self.state {
            _ if matches!(sent.kind, RequestKind::Claim) => {
                self.state = WorkerState::idle_until(at);
            }
            // The claim ends by itself now.
            WorkerState::Claimed(claim) if self.stopping && claim.valid_until() <= at => self.lose(now, error),
            _ => self.retry_at = Some(at),
        }
    }

    fn handle_response(&mut self, now: Instant, sent: WorkerRequest, response: Response, context: &Context<'_>) {
        let outcome = match sent.kind {
            RequestKind::Claim => subscriptions::claimed(response, context).map(|claim| match claim {
                Some(claim) => self.granted(now, sent.at, claim),
                None => self.not_granted(now, None),
            }),
            RequestKind::Ack { ref acks, done } => {
                let next_wake = subscriptions::acked(response, context);
                next_wake.map(|next_wake| self.acked(now, sent.at, acks, done.then_some(next_wake)))
            }
            RequestKind::Release => subscriptions::done(response, context).map(|()| self.claim_ended(now, false)),
        };
        if let Err(error) = outcome {
            self.request_failed(now, &sent, error);
        }
    }

    /// The request has failed, and another try would fail as well.
    fn request_failed(&mut self, now: Instant, sent: &WorkerRequest, error: Error) {
        let claim = match (&sent.kind, &mut self.state, error.kind()) {
            (RequestKind::Claim, _, Kind::AlreadyClaimed { generation, .. }) => {
                return self.not_granted(now, *generation);
            }
            (RequestKind::Claim, _, Kind::Unauthorized | Kind::Forbidden)
                if self.config.fresh_values && !self.values_refreshed =>
            {
                self.values_refreshed = true;
                self.state = WorkerState::idle_until(now);
                return;
            }
            (RequestKind::Claim, ..) => {
                self.state = WorkerState::Ended((!self.stopping).then_some(error));
                return;
            }
            (_, WorkerState::Claimed(claim), _) => claim,
            _ => return,
        };
        match (&sent.kind, error.kind()) {
            // The lease has not run out. So the first try of the same request has ended the claim.
            (kind, Kind::Fenced) if kind.ends_claim() && claim.end_in_doubt && now < claim.valid_until() => {
                if let RequestKind::Ack { acks, .. } = kind {
                    claim.has_progressed |= self.blocks.confirm(acks);
                }
                self.claim_ended(now, false);
            }
            (RequestKind::Ack { acks, .. }, Kind::InvalidAck) if !acks.is_empty() => {
                claim.end_begun = false;
                match acks.as_slice() {
                    [only] => {
                        claim.left_pending = true;
                        self.failures.add(now, &only.ack.stream, self.jitter.next());
                        if let Some(block) = self.blocks.get_mut(&only.ack.stream) {
                            block.step = BlockStep::Refused(error);
                        }
                    }
                    _ => claim.acks_one_by_one = true,
                }
            }
            _ => self.lose(now, error),
        }
    }

    fn granted(&mut self, now: Instant, sent: Instant, claim: Claim) {
        let generation = claim.lease.generation;
        self.known_generation = Some(generation);
        self.values_refreshed = false;
        // A wake that was on its way was for this claim, or for an earlier one.
        if self
            .wake
            .and_then(|wake| wake.generation)
            .is_some_and(|woken| woken <= generation)
        {
            self.wake = None;
        }
        let failures = &mut self.failures;
        failures.retain(claim.streams.iter().map(|stream| stream.path.as_str()));
        let pending = claim.streams.iter().filter(|stream| stream.has_pending);
        let (waiting, paused): (Vec<_>, Vec<_>) =
            pending.cloned().partition(|stream| failures.allow(now, &stream.path));
        let claim = GrantedClaim::new(claim, sent, waiting.into(), !paused.is_empty());
        self.state = WorkerState::Claimed(Box::new(claim));
        self.events.push_back(WorkerEvent::Claimed { generation });
    }

    /// Nothing is pending, or the worker of this generation has the claim.
    fn not_granted(&mut self, now: Instant, holder: Option<u64>) {
        self.known_generation = holder.or(self.known_generation);
        self.values_refreshed = false;
        let is_news = |wake: Wake| wake.generation.is_none() || wake.generation != holder;
        self.state = match self.wake.is_some_and(is_news) {
            true => WorkerState::idle_until(now),
            false => self.waiting_for_wake(now),
        };
    }

    fn waiting_for_wake(&mut self, now: Instant) -> WorkerState {
        WorkerState::Idle {
            claim_at: now + WITHOUT_WAKE.mul_f64(1.0 + self.jitter.next().clamp(0.0, 1.0)),
            not_before: now,
        }
    }

    /// Acks are confirmed. `end`: they have ended the claim; whether something is pending.
    fn acked(&mut self, now: Instant, sent: Instant, acks: &[DueAck], end: Option<bool>) {
        let progressed = self.blocks.confirm(acks);
        for due in acks {
            self.failures.remove(&due.ack.stream);
        }
        let WorkerState::Claimed(claim) = &mut self.state else {
            return;
        };
        claim.has_progressed |= progressed;
        match end {
            Some(next_wake) => self.claim_ended(now, next_wake),
            None => claim.prolong(sent),
        }
    }

    /// The claim has ended as it should. `is_pending`: the server says that there is more to do.
    fn claim_ended(&mut self, now: Instant, is_pending: bool) {
        let WorkerState::Claimed(claim) = &self.state else {
            return;
        };
        let is_pending = is_pending || claim.leaves_pending();
        let claim_at = match claim.has_progressed || !is_pending {
            true => now,
            false => {
                let end = self.failures.first_end(now).unwrap_or(now + AFTER_NOTHING);
                end.min(now + AFTER_NOTHING)
            }
        };
        self.tries = None;
        self.retry_at = None;
        self.state = if self.stopping {
            WorkerState::Ended(None)
        } else if is_pending || self.wake.is_some() {
            WorkerState::idle_until(claim_at)
        } else {
            self.waiting_for_wake(now)
        };
    }

    /// The claim has ended before it was given back.
    fn lose(&mut self, now: Instant, error: Error) {
        let WorkerState::Claimed(claim) = &self.state else {
            return;
        };
        let generation = claim.generation();
        let claim_at = if claim.has_progressed { now } else { now + AFTER_LOSS };
        self.blocks.lose(generation, &error);
        self.tries = None;
        self.retry_at = None;
        self.state = match self.stopping {
            true => WorkerState::Ended(None),
            false => WorkerState::idle_until(claim_at),
        };
        self.events.push_back(WorkerEvent::Lost { generation, error });
    }
}
