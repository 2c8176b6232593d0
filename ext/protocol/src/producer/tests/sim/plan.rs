//! What happens in one simulated run, drawn from its seed.

use std::time::Duration;

use fastrand::Rng;

use crate::producer::{BodyKind, ClaimLimits, ProducerConfig};
use crate::retry::policy::RetryPolicy;

/// The probability of each fault for one request, in 1/1000.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    pub not_sent: u32,
    pub request_lost: u32,
    pub response_lost: u32,
    /// The request arrives long after its timeout.
    pub late: u32,
    pub doubled: u32,
    pub status_429: u32,
    pub status_5xx_before: u32,
    pub status_5xx_after: u32,
    pub headers: u32,
    /// A lookup fails.
    pub lookups: u32,
    /// A gateway responds instead of the server.
    pub gateway: u32,
}

/// An earlier run in the epoch in which this one starts.
#[derive(Clone, Debug)]
pub(super) struct EarlierRun {
    /// The number of its stored batches. Their messages equal this run's first ones.
    pub stored: u64,
    /// The number of its batches that are in flight when this run starts.
    pub in_flight: u64,
}

/// The settings of one run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub config: ProducerConfig,
    pub producers: usize,
    /// Two fresh producers run under one id and epoch at the same time. This number of their first messages is equal.
    pub twins: Option<u64>,
    pub messages: u64,
    pub message_bytes: usize,
    pub faults: Faults,
    /// The maximal time to the server or back, in microseconds.
    pub delay: u64,
    /// How often the rival claims the id by itself, and whether it also claims it after a producer was fenced.
    pub rival_claims: u32,
    pub rival_races: bool,
    /// The id's epoch at the start of the run.
    pub initial_epoch: Option<u64>,
    /// An earlier run under the same id.
    pub earlier: Option<EarlierRun>,
    pub closed_by_other: bool,
    pub gone: bool,
    pub max_body: usize,
    pub pauses: u32,
    pub flushes: bool,
    pub close_stream: Option<bool>,
    /// Abort this many microseconds after the last append.
    pub abort_after: Option<u64>,
    pub offset_on_duplicate: bool,
    pub forgets_receipts: bool,
    /// How often the server closes the current epoch.
    pub epoch_closes: u32,
    /// How often the server forgets the producer, and whether with the data, as if the stream was created again.
    pub forgets: u32,
    pub forgets_data: bool,
}

impl Plan {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let initial_epoch = (rng.u32(..4) == 0).then(|| rng.u64(3..9));
        let producers = if initial_epoch.is_some() && rng.u32(..4) == 0 {
            2
        } else {
            1
        };
        let rivals = rng.u32(..4) == 0;
        let mut one_in = |n: u32| rng.u32(..n) == 0;
        let fatal = one_in(5);
        let (closed_by_other, gone, small, header) = (
            fatal && one_in(3),
            fatal && one_in(3),
            fatal && one_in(3),
            fatal && one_in(3),
        );
        let calm = one_in(5);
        let few_retries = one_in(6);
        let auto_claim = if initial_epoch.is_some() { !one_in(4) } else { one_in(2) };
        let mut up_to = |most: u32| if calm || rng.bool() { 0 } else { rng.u32(..most) };
        let faults = Faults {
            not_sent: up_to(200),
            request_lost: up_to(150),
            response_lost: up_to(200),
            late: up_to(100),
            doubled: up_to(200),
            status_429: up_to(150),
            status_5xx_before: up_to(150),
            status_5xx_after: up_to(150),
            headers: if header { 10 } else { 0 },
            lookups: 0,
            gateway: 0,
        };
        let retry = RetryPolicy {
            max_retries: if few_retries { rng.u32(..3) } else { 60 },
            initial_delay: Duration::from_millis(1),
            max_delay: Duration::from_millis(40),
            multiplier: 2.0,
            ..RetryPolicy::for_tests()
        };
        let message_bytes = rng.usize(0..60);
        let max_batch_bytes = *rng.choice(&[1, 20, 100, 500, 5_000]).unwrap_or(&100);
        let config = ProducerConfig {
            body: if rng.bool() { BodyKind::Json } else { BodyKind::Bytes },
            epoch: if initial_epoch.is_some() { rng.u64(0..3) } else { 0 },
            next_seq: None,
            auto_claim,
            claims: ClaimLimits {
                max_claims: rng.u32(0..4),
                stable_for: Duration::from_millis(rng.u64(0..100)),
                stable_batches: rng.u32(1..20),
            },
            max_batch_bytes,
            max_batch_items: *rng.choice(&[1, 3, 50, usize::MAX]).unwrap_or(&1),
            linger: Duration::from_millis(*rng.choice(&[0, 0, 1, 5, 1_000]).unwrap_or(&0)),
            max_in_flight: rng.usize(1..9),
            max_buffered_bytes: *rng.choice(&[1, 300, 3_000, 64 << 20]).unwrap_or(&1),
            retry,
            patient: false,
            delivery_timeout: None,
        };
        Self {
            producers,
            twins: None,
            messages: rng.u64(1..=*rng.clone().choice(&[5, 60, 200]).unwrap_or(&5)),
            message_bytes,
            faults,
            delay: *rng.choice(&[0, 10, 1_000, 10_000]).unwrap_or(&0),
            rival_claims: if rivals { rng.u32(1..6) } else { 0 },
            rival_races: rivals && rng.bool(),
            initial_epoch,
            earlier: None,
            closed_by_other,
            gone,
            max_body: if small { rng.usize(10..2_000) } else { usize::MAX },
            pauses: rng.u32(..3),
            flushes: rng.bool(),
            close_stream: if rng.bool() { Some(rng.bool()) } else { None },
            abort_after: (rng.u32(..10) == 0).then(|| rng.u64(..100_000)),
            offset_on_duplicate: rng.bool(),
            forgets_receipts: false,
            epoch_closes: 0,
            forgets: 0,
            forgets_data: false,
            config,
        }
    }

    /// The plan, sometimes with a producer that continues in an earlier one's epoch by `next_seq`.
    pub(super) fn resumed(mut self, rng: &mut Rng) -> Self {
        if self.initial_epoch.is_none() && rng.u32(..6) == 0 {
            self.config.epoch = rng.u64(..4);
            self.config.next_seq = Some(rng.u64(1..9));
        }
        self
    }

    /// The plan, sometimes in an epoch that an earlier run used, with lookups that fail, or with a `next_seq` of 0.
    pub(super) fn rerun(mut self, rng: &mut Rng) -> Self {
        if self.config.next_seq.is_some() {
            return self;
        }
        if rng.u32(..4) == 0 {
            self.faults.lookups = rng.u32(1..700);
        }
        if self.initial_epoch.is_none() && rng.u32(..3) == 0 {
            self.config.epoch = rng.u64(..4);
            self.config.auto_claim = rng.u32(..4) > 0;
            let stored = rng.u64(..4);
            self.earlier = Some(EarlierRun {
                stored,
                // A run has only its first request in flight until it is acknowledged. After a batch that was only
                // assumed to be this run's, late batches cannot be distinguished from this run's.
                in_flight: match stored {
                    0 => 1,
                    _ if self.faults.lookups > 0 => 0,
                    _ => rng.u64(..4),
                },
            });
        } else if rng.u32(..8) == 0 {
            self.config.next_seq = Some(0);
        }
        self
    }

    /// The plan, sometimes with two fresh producers that start at the same time. While a response is lost or
    /// outstanding, a producer can draw conclusions from its sequence numbers only if no other one uses its epoch. So
    /// these runs lose no response, have no other reasons to fail, and do not abort.
    pub(super) fn twinned(mut self, rng: &mut Rng) -> Self {
        let plain = self.initial_epoch.is_none() && self.earlier.is_none() && self.config.next_seq.is_none();
        if !plain || rng.u32(..3) > 0 {
            return self;
        }
        self.producers = 2;
        self.twins = Some(rng.u64(..=self.messages));
        self.faults = Faults {
            not_sent: self.faults.not_sent,
            status_429: self.faults.status_429,
            doubled: self.faults.doubled,
            lookups: self.faults.lookups,
            ..Faults::default()
        };
        self.config.retry.max_retries = 60;
        (self.rival_claims, self.rival_races, self.pauses, self.abort_after) = (0, false, 0, None);
        (self.gone, self.closed_by_other, self.max_body) = (false, false, usize::MAX);
        // The response to a request that only closes is the same if it closes nothing.
        self.close_stream = self.close_stream.filter(|with_data| *with_data);
        self
    }

    /// The plan, sometimes with a replicated server, which forgets offsets, and closes epochs when it recovers.
    pub(super) fn replicated(mut self, rng: &mut Rng) -> Self {
        self.forgets_receipts = rng.bool();
        if self.twins.is_none() && rng.u32(..5) == 0 {
            self.epoch_closes = rng.u32(1..4);
        }
        self
    }

    /// The same, in some runs with a patient producer, or with a delivery timeout.
    pub(super) fn timed(mut self, rng: &mut Rng) -> Self {
        if self.twins.is_some() {
            return self;
        }
        if rng.u32(..4) == 0 {
            self.config.patient = true;
            self.config.retry.max_retries = rng.u32(..3);
        }
        if rng.u32(..5) == 0 {
            self.config.delivery_timeout = Some(Duration::from_millis(rng.u64(1..200)));
        }
        self
    }

    /// The plan, sometimes with a server that forgets, or behind a gateway.
    pub(super) fn forgetful(mut self, rng: &mut Rng) -> Self {
        if self.twins.is_none() && self.earlier.is_none() && self.producers == 1 && rng.u32(..4) == 0 {
            self.forgets = rng.u32(..3);
            self.forgets_data = rng.bool();
            self.faults.gateway = [0, 20][rng.usize(..2)];
        }
        self
    }

    fn may_claim(&self) -> bool {
        self.config.auto_claim && self.config.claims.max_claims > 0
    }

    /// Whether another writer may claim the id, or the server may close its epoch, during the run.
    pub(super) fn contested(&self) -> bool {
        self.rival_claims > 0 || self.rival_races || self.producers > 1 || self.epoch_closes > 0
    }

    /// Whether the run has no reason to fail.
    pub(super) fn must_succeed(&self) -> bool {
        let faults = &self.faults;
        // After a pause, a timeout may be handled before a response that arrived in time.
        let claims_in_doubt = self.pauses > 0
            || faults.request_lost
                + faults.response_lost
                + faults.late
                + faults.status_5xx_before
                + faults.status_5xx_after
                > 0;
        // The outcome of the first request is looked up, and in a claimed epoch that of any doubled one.
        let looked_up = self.config.next_seq.is_none() && self.faults.lookups == 0;
        let claim = match self.initial_epoch {
            Some(_) => self.may_claim() && (looked_up || !claims_in_doubt && faults.doubled == 0),
            None if self.earlier.is_some() => self.may_claim() && looked_up,
            None => true,
        };
        !self.contested()
            && claim
            && !self.closed_by_other
            && !self.gone
            && self.max_body == usize::MAX
            && faults.headers + faults.gateway + self.forgets == 0
            && self.config.retry.max_retries > 50
            && self.config.delivery_timeout.is_none()
            && self.abort_after.is_none()
    }
}
