//! [`WorkerMachine`]: see the documentation of [`worker`](super).

use std::collections::VecDeque;
use std::time::Instant;

use super::claim::{BlockStep, Blocks, DueAck, GrantedClaim};
use super::config::WorkerConfig;
use super::failures::Failures;
use crate::error::{Error, Result};
use crate::request::{Request, ResponseTimeout};
use crate::retry::jitter::Jitter;
use crate::retry::outage::{OutageEvent, Outages};
use crate::retry::patience::Patience;
use crate::retry::tries::Tries;
use crate::subscriptions::{self, StreamAck, SubscriptionOperation};

/// Requests are sent again until the server responds.
const PATIENCE: Patience = Patience {
    without_limit: true,
    timeout: None,
};

/// A worker of one subscription. See [the module](super) for how to run it.
#[derive(Debug)]
pub struct WorkerMachine {
    pub(super) config: WorkerConfig,
    pub(super) jitter: Jitter,
    pub(super) state: WorkerState,
    pub(super) blocks: Blocks,
    pub(super) failures: Failures,
    /// The request in flight.
    pub(super) sent: Option<WorkerRequest>,
    /// The tries of the request that is in flight, or is to be sent again.
    pub(super) tries: Option<Tries>,
    /// When an ack or a release is sent again.
    pub(super) retry_at: Option<Instant>,
    /// The newest generation that a response has named.
    pub(super) known_generation: Option<u64>,
    /// The last wake that came after the last claim was sent.
    pub(super) wake: Option<Wake>,
    /// Whether the last claim was refused for its credentials, and is sent with new ones.
    pub(super) values_refreshed: bool,
    pub(super) stopping: bool,
    pub(super) outages: Outages,
    pub(super) events: VecDeque<WorkerEvent>,
}

#[derive(Debug)]
pub(super) enum WorkerState {
    /// It has no claim.
    Idle {
        /// When to claim.
        claim_at: Instant,
        /// Not even a wake makes it claim before.
        not_before: Instant,
    },
    Claimed(Box<GrantedClaim>),
    Ended(Option<Error>),
}

impl WorkerState {
    /// It claims at this time, woken or not.
    pub(super) fn idle_until(at: Instant) -> Self {
        Self::Idle {
            claim_at: at,
            not_before: at,
        }
    }
}

/// An event of the wake stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wake {
    /// Its generation, if the event names it.
    pub generation: Option<u64>,
}

#[derive(Debug)]
pub(super) struct WorkerRequest {
    pub kind: RequestKind,
    pub at: Instant,
}

#[derive(Clone, Debug)]
pub(super) enum RequestKind {
    Claim,
    Ack { acks: Vec<DueAck>, done: bool },
    Release,
}

impl RequestKind {
    /// Whether it ends the claim.
    pub(super) fn ends_claim(&self) -> bool {
        matches!(self, Self::Release | Self::Ack { done: true, .. })
    }
}

/// A stream for the application's block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// The generation of its claim.
    pub generation: u64,
    /// The stream's path.
    pub stream: String,
    /// The offset to read from.
    pub from: String,
}

/// What a thread does after a batch.
#[derive(Debug)]
pub enum BlockProgress {
    /// The ack is confirmed: run the block for the next batch.
    GoOn,
    /// The ack is confirmed, and the stream is finished in this claim.
    Finished,
    /// The batch is not acked. It will be handled again.
    Failed(Error),
}

/// Something to report.
#[derive(Debug)]
pub enum WorkerEvent {
    /// A claim was granted.
    Claimed {
        /// Its generation.
        generation: u64,
    },
    /// A claim has ended before the worker gave it back.
    Lost {
        /// Its generation.
        generation: u64,
        /// Why.
        error: Error,
    },
    /// An outage has begun or ended. The operation is that of the request.
    Outage(SubscriptionOperation, OutageEvent),
}

impl WorkerMachine {
    /// A worker that claims at once.
    pub fn new(config: WorkerConfig, jitter: Jitter, now: Instant) -> Self {
        Self {
            config,
            jitter,
            state: WorkerState::idle_until(now),
            blocks: Blocks::default(),
            failures: Failures::default(),
            sent: None,
            tries: None,
            retry_at: None,
            known_generation: None,
            wake: None,
            values_refreshed: false,
            stopping: false,
            outages: Outages::default(),
            events: VecDeque::new(),
        }
    }

    /// Gives the claim back when the running blocks have returned, and then ends. No further block begins.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Whether it has ended: with an error if it cannot go on. Blocks of lost claims may still run.
    pub fn poll_end(&self) -> Option<Result<()>> {
        match &self.state {
            WorkerState::Ended(error) => Some(error.clone().map_or(Ok(()), Err)),
            _ => None,
        }
    }

    /// The next event to report.
    pub fn poll_event(&mut self) -> Option<WorkerEvent> {
        self.events.pop_front()
    }

    /// When to poll again without a change; `None`: not before a change.
    pub fn poll_timeout(&self, now: Instant, has_capacity: bool) -> Option<Instant> {
        match &self.state {
            _ if self.sent.is_some() => None,
            WorkerState::Idle { .. } if self.stopping => Some(now),
            WorkerState::Idle { claim_at, .. } => has_capacity.then_some(*claim_at),
            WorkerState::Claimed(claim) => {
                let end_begins_at = Some(claim.end_begins_at()).filter(|at| now < *at && !claim.waiting.is_empty());
                let next = self.retry_at.unwrap_or_else(|| claim.prolong_at());
                Some(end_begins_at.map_or(next, |at| at.min(next)))
            }
            WorkerState::Ended(_) => None,
        }
    }

    /// When it claims, if a thread is free then to run blocks; not in the future while it claims. `None`: it has a
    /// claim, or ends.
    pub fn poll_claim(&self) -> Option<Instant> {
        match &self.state {
            WorkerState::Idle { claim_at, .. } => Some(*claim_at).filter(|_| !self.stopping),
            _ => None,
        }
    }

    /// The request to send now. `has_capacity`: whether a thread is free to run blocks. Without one, the worker leaves
    /// the subscription to others.
    pub fn poll_request(&mut self, now: Instant, has_capacity: bool) -> Option<(SubscriptionOperation, Request)> {
        if self.sent.is_some() {
            return None;
        }
        let kind = self.next_request(now, has_capacity)?;
        let (operation, request) = self.request_of(&kind)?;
        self.tries
            .get_or_insert_with(|| Tries::new(now, false).with_patience(PATIENCE));
        if let WorkerState::Claimed(claim) = &mut self.state {
            // What it names as handled is all that there will be.
            claim.end_begun |= kind.ends_claim();
        }
        if matches!(kind, RequestKind::Claim) {
            self.wake = None;
        }
        self.sent = Some(WorkerRequest { kind, at: now });
        Some((operation, request))
    }

    /// The number of the try that is being made. The first one is 1.
    pub fn attempt(&self) -> u32 {
        self.tries.as_ref().map_or(1, Tries::attempt)
    }

    fn next_request(&mut self, now: Instant, has_capacity: bool) -> Option<RequestKind> {
        let claim = match &mut self.state {
            WorkerState::Idle { .. } if self.stopping => {
                self.state = WorkerState::Ended(None);
                return None;
            }
            WorkerState::Idle { claim_at, .. } => {
                return (has_capacity && *claim_at <= now).then_some(RequestKind::Claim);
            }
            WorkerState::Ended(_) => return None,
            WorkerState::Claimed(claim) => claim,
        };
        if self.retry_at.is_some_and(|at| now < at) {
            return None;
        }
        // There may be nothing to send again: a block whose thread was killed is not acked.
        self.retry_at = None;
        claim.end_begun |= self.stopping || claim.is_ending(now, &self.blocks);
        let mut acks = self.blocks.due_acks(claim.generation(), claim.end_begun);
        let all_finished = acks.iter().all(|ack| ack.is_last)
            && !self.blocks.any_running(claim.generation())
            && (claim.end_begun || claim.waiting.is_empty());
        let done = all_finished && !(claim.acks_one_by_one && acks.len() > 1);
        if claim.acks_one_by_one {
            acks.truncate(1);
        }
        match acks.is_empty() {
            true if done => Some(RequestKind::Release),
            true => (claim.prolong_at() <= now).then_some(RequestKind::Ack { acks, done }),
            false => Some(RequestKind::Ack { acks, done }),
        }
    }

    fn request_of(&self, kind: &RequestKind) -> Option<(SubscriptionOperation, Request)> {
        let claim = match (&self.state, kind) {
            (_, RequestKind::Claim) => {
                let request = subscriptions::claim(&self.config.name);
                return Some((SubscriptionOperation::Claim, request));
            }
            (WorkerState::Claimed(claim), _) => claim,
            _ => return None,
        };
        let (operation, mut request) = match kind {
            RequestKind::Ack { acks, done } => {
                let acks: Vec<StreamAck> = acks.iter().map(|due| due.ack.clone()).collect();
                let request = subscriptions::ack(&claim.lease, &acks, *done);
                (SubscriptionOperation::Ack, request)
            }
            _ => (SubscriptionOperation::Release, subscriptions::release(&claim.lease)),
        };
        // So that there is time for another try before the lease runs out.
        request.response_timeout = ResponseTimeout::AtMost(claim.lease_ttl / 3);
        Some((operation, request))
    }

    /// An event of the wake stream says that the subscription has something pending.
    pub fn handle_wake(&mut self, now: Instant, generation: Option<u64>) {
        if generation.is_some() && generation == self.known_generation {
            return;
        }
        self.wake = Some(Wake { generation });
        if let WorkerState::Idle { claim_at, not_before } = &mut self.state
            && self.sent.is_none()
        {
            *claim_at = (*claim_at).min(now.max(*not_before));
        }
    }

    /// A stream to read and to run the block for; `None` if there is none now.
    pub fn poll_work(&mut self, now: Instant) -> Option<Work> {
        let WorkerState::Claimed(claim) = &mut self.state else {
            return None;
        };
        let blocks = &mut self.blocks;
        if self.stopping || !claim.allows_begin(now, blocks) {
            return None;
        }
        let index = claim.waiting.iter().position(|stream| !blocks.has(&stream.path))?;
        let stream = claim.waiting.remove(index)?;
        blocks.begin(now, claim.generation(), &stream);
        Some(Work {
            generation: claim.generation(),
            stream: stream.path,
            from: stream.acked_offset,
        })
    }

    /// The block has returned for a batch of this stream, which ends at `offset`. `up_to_date`: the stream had no more
    /// data then.
    pub fn handle_batch(&mut self, stream: &str, offset: &str, up_to_date: bool) {
        if let Some(block) = self.blocks.get_mut(stream)
            && matches!(block.step, BlockStep::Running)
        {
            block.step = BlockStep::Handled {
                offset: offset.to_owned(),
                up_to_date,
            };
        }
    }

    /// What follows a batch of this stream; `None` if that is not known yet.
    pub fn poll_progress(&mut self, now: Instant, stream: &str) -> Option<BlockProgress> {
        let may_begin = match &self.state {
            WorkerState::Claimed(claim) => !self.stopping && claim.allows_begin(now, &self.blocks),
            _ => false,
        };
        let block = self.blocks.get_mut(stream)?;
        if let BlockStep::Acked { goes_on } = &mut block.step {
            *goes_on &= may_begin;
        }
        match &block.step {
            BlockStep::Running | BlockStep::Handled { .. } => None,
            BlockStep::Acked { goes_on: true } => {
                (block.step, block.batch_began) = (BlockStep::Running, now);
                Some(BlockProgress::GoOn)
            }
            BlockStep::Acked { goes_on: false } => {
                self.blocks.remove(stream);
                Some(BlockProgress::Finished)
            }
            BlockStep::Refused(error) | BlockStep::Lost(error) => {
                let error = error.clone();
                self.blocks.remove(stream);
                Some(BlockProgress::Failed(error))
            }
        }
    }

    /// The block for this stream failed, or its data could not be read. `generation` is that of its [`Work`]. Has no
    /// effect if the stream is not that block's any more.
    pub fn handle_failure(&mut self, now: Instant, generation: u64, stream: &str) {
        let Some(block) = self.blocks.remove_if(generation, stream) else {
            return;
        };
        self.failures.add(now, stream, self.jitter.next());
        if let WorkerState::Claimed(claim) = &mut self.state {
            claim.left_pending |= claim.generation() == block.generation;
        }
    }
}
