//! One producer of a run: its owner's calls, and the checks of its machine.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use crate::error::Kind;
use crate::producer::{
    AppendError, BodyKind, DeliveryOutcome, ProducerConfig, ProducerEvent, ProducerFailure, ProducerMachine, Transmit,
    TransmitId, Undelivered,
};
use crate::retry::jitter::Jitter;
use crate::retry::outage::OutageEvent;

pub(super) struct ProducerClient {
    pub owner: usize,
    pub machine: ProducerMachine,
    config: ProducerConfig,
    /// The accepted messages by token.
    pub appended: Vec<Vec<u8>>,
    pub delivered: Vec<u64>,
    /// The tokens of messages that may be those of another run, as the machine reported.
    pub assumed: HashSet<u64>,
    /// How often the machine reported this because the stream could not be read.
    pub assumptions: u32,
    /// How often the machine reported this although it found an equal batch.
    pub found: u32,
    /// The number of first messages that equal those of another producer in the same epoch, if there is one.
    twins: Option<u64>,
    pub open: HashMap<TransmitId, (u64, u64)>,
    established: HashSet<u64>,
    pub waits_for_room: bool,
    pub end: Option<ProducerEnd>,
    pub stream_closed: bool,
    pub claims: u32,
    pub transmits: u64,
    pub batches: u64,
    gap: bool,
    /// Whether the producer got a 403, and whether a gap followed.
    pub fenced: bool,
    pub gap_after_403: bool,
    /// Whether a batch was delivered before the producer failed.
    succeeded: bool,
    /// Whether the last outage event was a beginning.
    in_outage: bool,
}

pub(super) enum ProducerEnd {
    Closed,
    Failed(ProducerFailure, Undelivered),
}

impl ProducerClient {
    pub(super) fn new(owner: usize, config: ProducerConfig, twins: Option<u64>, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let machine =
            ProducerMachine::new(config.clone(), Jitter::new(move || rng.f64())).expect("a valid configuration");
        Self {
            owner,
            machine,
            appended: Vec::new(),
            delivered: Vec::new(),
            assumed: HashSet::new(),
            assumptions: 0,
            found: 0,
            twins,
            open: HashMap::new(),
            established: HashSet::from_iter((config.next_seq.is_some_and(|seq| seq > 0)).then_some(config.epoch)),
            config,
            waits_for_room: false,
            end: None,
            stream_closed: false,
            claims: 0,
            transmits: 0,
            batches: 0,
            gap: false,
            fenced: false,
            gap_after_403: false,
            succeeded: false,
            in_outage: false,
        }
    }

    /// The message that this producer appends under this token.
    pub(super) fn message(&self, token: u64, size: usize) -> Vec<u8> {
        let equal = self.twins.is_some_and(|equal| token < equal);
        let (owner, filler) = match equal {
            true => (0, String::new()),
            false => (self.owner, "x".repeat(size)),
        };
        match (self.config.body, token % 3) {
            (BodyKind::Bytes, _) => format!("<{owner}:{token}:{filler}>"),
            (BodyKind::Json, 0) => format!(r#"{{"owner":{owner},"n":{token},"x":"{filler}"}}"#),
            (BodyKind::Json, 1) => format!(r#"[{owner},{token},"{filler}"]"#),
            (BodyKind::Json, _) => format!(r#""{owner} {token} {filler}""#),
        }
        .into_bytes()
    }

    /// Appends the next message. Returns whether the machine accepted it.
    pub(super) fn append(&mut self, size: usize) -> bool {
        let message = self.message(self.appended.len() as u64, size);
        let buffered = self.machine.buffered();
        match self.machine.append(&message) {
            Ok(appended) => {
                assert_eq!(appended.token, self.appended.len() as u64);
                let limit = self.config.max_buffered_bytes;
                assert!(
                    buffered == 0 || self.machine.buffered() <= limit,
                    "more is buffered than allowed"
                );
                self.appended.push(message);
                true
            }
            Err(AppendError::Full) => {
                self.waits_for_room = true;
                false
            }
            Err(AppendError::Failed) => {
                assert!(self.machine.failure().is_some());
                false
            }
            Err(error) => panic!("append: {error:?}"),
        }
    }

    pub(super) fn flush(&mut self) {
        if self.machine.flush().is_err() {
            assert!(self.machine.failure().is_some());
        }
    }

    pub(super) fn request_end(&mut self, close_stream: Option<bool>, size: usize) {
        match close_stream {
            None => drop(self.machine.close()),
            Some(with_data) => {
                let message = self.message(self.appended.len() as u64, size);
                if let Ok(token) = self.machine.close_stream(with_data.then_some(&message[..])) {
                    assert_eq!(token.is_some(), with_data);
                    self.appended.extend(token.map(|_| message));
                }
            }
        }
    }

    /// All requests that may be sent now.
    pub(super) fn transmits(&mut self, now: Instant) -> Vec<Transmit> {
        let mut transmits = Vec::new();
        while let Some(transmit) = self.machine.poll_transmit(now) {
            let Transmit { id, epoch, seq, .. } = transmit;
            let known = self.established.contains(&epoch);
            assert!(
                self.open.is_empty() || (known && seq > 0),
                "the first request of epoch {epoch} is not the only one in flight"
            );
            assert!(
                self.open.values().all(|out| *out != (epoch, seq)),
                "sent twice at the same time"
            );
            assert!(self.open.insert(id, (epoch, seq)).is_none());
            assert!(self.open.len() <= self.config.max_in_flight, "too many in flight");
            self.transmits += 1;
            transmits.push(transmit);
        }
        if let Some(timeout) = self.machine.poll_timeout() {
            assert!(timeout > now, "a timer in the past");
        }
        transmits
    }

    /// Records that a request of this epoch succeeded.
    pub(super) fn saw_success(&mut self, epoch: u64) {
        self.established.insert(epoch);
    }

    pub(super) fn events(&mut self) {
        while let Some(event) = self.machine.poll_event() {
            assert!(self.end.is_none(), "an event after the end: {event:?}");
            match event {
                ProducerEvent::Delivered(delivery) => {
                    self.batches += 1;
                    self.succeeded |= self.machine.failure().is_none();
                    let next = self.delivered.last().map_or(0, |last| last + 1);
                    assert!(delivery.count == 0 || delivery.first >= next, "delivered out of order");
                    // A batch can be stored without its predecessor only if another producer may use the epoch.
                    self.gap |= delivery.count > 0 && delivery.first > next;
                    assert!(
                        !self.gap || self.claims > 0 || self.assumptions + self.found > 0 || self.twins.is_some(),
                        "delivered with a gap"
                    );
                    self.delivered.extend(delivery.first..delivery.first + delivery.count);
                }
                ProducerEvent::Assumed {
                    first,
                    count,
                    epoch,
                    found,
                } => {
                    let owners = epoch == self.config.epoch && self.config.next_seq.is_none();
                    assert!(count == 0 || found || (owners && self.claims == 0));
                    self.found += u32::from(found);
                    self.assumptions += u32::from(!found);
                    self.assumed.extend(first..first + count);
                }
                ProducerEvent::Room => {
                    assert!(self.waits_for_room);
                    self.waits_for_room = false;
                }
                ProducerEvent::Claimed { from, to } => {
                    assert!(to > from && self.config.auto_claim);
                    self.claims += 1;
                }
                ProducerEvent::Retry(failed) => assert!(failed.attempt > 0 && !failed.delay.is_zero()),
                ProducerEvent::Outage(event) => {
                    let begins = matches!(event, OutageEvent::Began { .. });
                    assert_ne!(begins, self.in_outage, "outages must begin and end one after another");
                    self.in_outage = begins;
                }
                ProducerEvent::StreamClosed { .. } => self.stream_closed = true,
                ProducerEvent::Closed => self.end = Some(ProducerEnd::Closed),
                ProducerEvent::Failed { failure, undelivered } => {
                    self.end = Some(ProducerEnd::Failed(failure, undelivered));
                }
            }
        }
    }

    /// A producer that gave up has used all retries, or the time for them.
    fn check_retries(&self, failure: &ProducerFailure) {
        let ProducerFailure::Request(error) = failure else {
            return;
        };
        if !error.worth_another_try() && !matches!(error.kind(), Kind::Connection | Kind::Timeout) {
            return;
        }
        let tries = error.attempts().expect("the number of tries");
        let is_late = self
            .config
            .delivery_timeout
            .is_some_and(|timeout| error.elapsed() >= Some(timeout));
        let is_patient = self.config.patient && self.succeeded;
        let is_exhausted = !is_patient && tries > self.config.retry.max_retries;
        assert!(is_late || is_exhausted, "gave up too soon: {error:?}");
    }

    /// The tokens of the messages that one stream has.
    fn tokens(&self, stored: &[Vec<u8>]) -> Vec<u64> {
        let token = |message| self.appended.iter().position(|appended| appended == message);
        let tokens: Vec<u64> = stored
            .iter()
            .map(|message| token(message).expect("the server stored something that was not appended") as u64)
            .collect();
        assert!(tokens.is_sorted_by(|a, b| a < b), "out of order or twice: {tokens:?}");
        tokens
    }

    /// Checks the outcomes of all messages against those that the server stored in each of the streams at the URL.
    pub(super) fn verify(&self, streams: &[Vec<Vec<u8>>], must_succeed: bool) {
        let stored: HashSet<u64> = streams.iter().flat_map(|stored| self.tokens(stored)).collect();
        let all = self.appended.len() as u64;
        for token in &self.delivered {
            assert!(
                stored.contains(token) || self.assumed.contains(token),
                "{token} was reported as delivered and is not stored"
            );
        }
        match self.end.as_ref().expect("the producer came to an end") {
            ProducerEnd::Closed => {
                assert_eq!(self.delivered, (0..all).collect::<Vec<_>>());
                assert_eq!((self.machine.pending(), self.machine.buffered()), (0, 0));
            }
            ProducerEnd::Failed(failure, undelivered) => {
                assert!(!must_succeed, "failed without a reason: {failure:?}");
                self.check_retries(failure);
                if matches!(failure, ProducerFailure::EpochReused { .. }) {
                    assert!(stored.is_subset(&self.assumed) && !undelivered.any_unknown() && !self.config.auto_claim);
                }
                let mut reported = self.delivered.clone();
                for message in undelivered.messages() {
                    let token = message.token;
                    assert_eq!(message.data, self.appended[token as usize], "other data returned");
                    let wrong = stored.contains(&token) && message.outcome == DeliveryOutcome::NotDelivered;
                    assert!(!wrong, "{token} is stored, and {failure:?} says that it is not");
                    reported.push(token);
                }
                assert_eq!(undelivered.len() as u64, self.machine.pending());
                reported.sort_unstable();
                assert_eq!(
                    reported,
                    (0..all).collect::<Vec<_>>(),
                    "not every message has exactly one outcome"
                );
            }
        }
    }
}
