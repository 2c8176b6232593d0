//! [`GrantedClaim`]: a granted claim, and the streams in it. [`Blocks`]: the streams whose blocks run.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::subscriptions::{Claim, ClaimedStream, Lease, StreamAck};

/// A claim of this worker.
#[derive(Debug)]
pub(super) struct GrantedClaim {
    pub lease: Lease,
    pub lease_ttl: Duration,
    /// When its request was sent.
    claimed_at: Instant,
    /// When the lease began, at the earliest: when the last request was sent that has begun or prolonged it.
    lease_began: Instant,
    /// Streams that no block has got yet.
    pub waiting: VecDeque<ClaimedStream>,
    /// Whether the end has begun: [`GrantedClaim::is_ending`] was true, or a request that ends the claim was sent. Only
    /// a refused ack takes it back.
    pub end_begun: bool,
    /// Whether a request that ends the claim has no known outcome, so that the server may have carried it out.
    pub end_in_doubt: bool,
    /// Whether an ack of a new offset was confirmed.
    pub has_progressed: bool,
    /// Whether a pending stream is left for a later claim: its block failed, or it is in the pause after failures.
    pub left_pending: bool,
    /// Whether acks are sent one by one, because the server has refused several at once.
    pub acks_one_by_one: bool,
}

impl GrantedClaim {
    /// The claim whose request was sent at `sent`. `waiting` has the streams to hand out. `left_pending`: there are
    /// others that are pending.
    pub(super) fn new(claim: Claim, sent: Instant, waiting: VecDeque<ClaimedStream>, left_pending: bool) -> Self {
        Self {
            lease: claim.lease,
            lease_ttl: claim.lease_ttl,
            claimed_at: sent,
            lease_began: sent,
            waiting,
            end_begun: false,
            end_in_doubt: false,
            has_progressed: false,
            left_pending,
            acks_one_by_one: false,
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.lease.generation
    }

    /// A request that prolongs the lease was sent at `sent` and succeeded.
    pub(super) fn prolong(&mut self, sent: Instant) {
        self.lease_began = sent;
    }

    /// The lease lasts at least until then.
    pub(super) fn valid_until(&self) -> Instant {
        self.lease_began + self.lease_ttl
    }

    /// When to prolong the lease.
    pub(super) fn prolong_at(&self) -> Instant {
        self.lease_began + self.lease_ttl / 3
    }

    /// When it begins to end, however often the lease was prolonged, so that the next claim has the streams that became
    /// pending meanwhile.
    pub(super) fn end_begins_at(&self) -> Instant {
        self.claimed_at + self.lease_ttl
    }

    /// Whether no further block begins in it. It cannot end before its blocks return. So as long as a block runs that
    /// began in time, others begin as well.
    pub(super) fn is_ending(&self, now: Instant, blocks: &Blocks) -> bool {
        let end_begins_at = self.end_begins_at();
        let is_time = now >= end_begins_at && !blocks.any_runs_from_before(end_begins_at, self.generation());
        self.end_begun || is_time
    }

    /// Whether a block may begin now.
    pub(super) fn allows_begin(&self, now: Instant, blocks: &Blocks) -> bool {
        now < self.valid_until() && !self.is_ending(now, blocks)
    }

    /// Whether streams of it are still pending when it ends, as far as this worker knows.
    pub(super) fn leaves_pending(&self) -> bool {
        self.left_pending || !self.waiting.is_empty()
    }
}

/// The streams whose blocks run. A stream may remain here although its claim was lost.
#[derive(Debug, Default)]
pub(super) struct Blocks(BTreeMap<String, RunningBlock>);

/// A stream whose block runs.
#[derive(Debug)]
pub(super) struct RunningBlock {
    /// The generation of its claim.
    pub generation: u64,
    /// Where its stream ended when it was claimed.
    tail_offset: String,
    /// Up to where it is acked.
    acked_offset: String,
    /// When it began with its present batch.
    pub batch_began: Instant,
    pub step: BlockStep,
}

/// Where a block is.
#[derive(Debug)]
pub(super) enum BlockStep {
    /// It runs.
    Running,
    /// It has returned; this is to be acked.
    Handled {
        offset: String,
        /// Whether the stream had no more data.
        up_to_date: bool,
    },
    /// The ack is confirmed. Whether another batch follows in this claim.
    Acked { goes_on: bool },
    /// The ack was refused.
    Refused(Error),
    /// The claim was lost.
    Lost(Error),
}

/// An ack that is due.
#[derive(Clone, Debug)]
pub(super) struct DueAck {
    pub ack: StreamAck,
    /// Whether the stream is finished after it.
    pub is_last: bool,
}

impl Blocks {
    pub(super) fn begin(&mut self, now: Instant, generation: u64, stream: &ClaimedStream) {
        let block = RunningBlock {
            generation,
            tail_offset: stream.tail_offset.clone(),
            acked_offset: stream.acked_offset.clone(),
            batch_began: now,
            step: BlockStep::Running,
        };
        self.0.insert(stream.path.clone(), block);
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    pub(super) fn get_mut(&mut self, path: &str) -> Option<&mut RunningBlock> {
        self.0.get_mut(path)
    }

    pub(super) fn remove(&mut self, path: &str) -> Option<RunningBlock> {
        self.0.remove(path)
    }

    pub(super) fn remove_if(&mut self, generation: u64, path: &str) -> Option<RunningBlock> {
        self.0.get(path).filter(|block| block.generation == generation)?;
        self.0.remove(path)
    }

    /// Whether a block of this claim runs, or is to run again.
    pub(super) fn any_running(&self, generation: u64) -> bool {
        self.0.values().any(|block| {
            let runs = matches!(block.step, BlockStep::Running | BlockStep::Acked { goes_on: true });
            runs && block.generation == generation
        })
    }

    /// Whether a block of this claim runs that began with its batch before `time`.
    fn any_runs_from_before(&self, time: Instant, generation: u64) -> bool {
        let runs = |block: &RunningBlock| matches!(block.step, BlockStep::Running) && block.batch_began < time;
        self.0
            .values()
            .any(|block| block.generation == generation && runs(block))
    }

    /// The acks of this claim that are due.
    pub(super) fn due_acks(&self, generation: u64, is_ending: bool) -> Vec<DueAck> {
        let due = self.0.iter().filter_map(|(path, block)| match &block.step {
            BlockStep::Handled { offset, up_to_date } if block.generation == generation => Some(DueAck {
                ack: StreamAck {
                    stream: path.clone(),
                    offset: offset.clone(),
                },
                // Offsets compare byte by byte (PROTOCOL.md 8).
                is_last: is_ending || *up_to_date || *offset >= block.tail_offset,
            }),
            _ => None,
        });
        due.collect()
    }

    /// Acks were confirmed. Returns whether one of them was for something new.
    pub(super) fn confirm(&mut self, acks: &[DueAck]) -> bool {
        let mut progressed = false;
        for DueAck { ack, is_last } in acks {
            let Some(block) = self.0.get_mut(&ack.stream) else {
                continue;
            };
            progressed |= ack.offset != block.acked_offset;
            block.acked_offset.clone_from(&ack.offset);
            block.step = BlockStep::Acked { goes_on: !is_last };
        }
        progressed
    }

    /// The claim of this generation was lost. A batch whose ack was confirmed before is not concerned.
    pub(super) fn lose(&mut self, generation: u64, error: &Error) {
        for block in self.0.values_mut().filter(|block| block.generation == generation) {
            match block.step {
                BlockStep::Running | BlockStep::Handled { .. } => block.step = BlockStep::Lost(error.clone()),
                BlockStep::Acked { .. } => block.step = BlockStep::Acked { goes_on: false },
                BlockStep::Refused(_) | BlockStep::Lost(_) => {}
            }
        }
    }
}
