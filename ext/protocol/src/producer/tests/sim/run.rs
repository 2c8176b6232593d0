//! One run: the clock, the events, the rival and the owner's script.

mod checks;
mod network;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;

use super::client::ProducerClient;
use super::plan::{EarlierRun, Plan};
use super::server::{EARLIER, Owner, ProducerServer, RIVAL};
use crate::producer::tests::SimulatedResponse;
use crate::producer::{BodyKind, Lookup, SearchResult, Transmit, TransmitId};
use crate::request;

/// The request timeout in microseconds.
const TIMEOUT: u64 = 60_000;

/// The kind of a run's end, to count runs.
pub(super) struct EndLabel(pub String);

enum SimulationEvent {
    Script(Owner),
    Timer(Owner),
    Abort(Owner),
    AtServer {
        owner: Owner,
        request: Transmit,
        responds: bool,
    },
    AtClient {
        owner: Owner,
        id: TransmitId,
        end: RequestEnd,
    },
    RivalClaims {
        epoch: Option<u64>,
    },
    RivalContinues {
        epoch: u64,
        seq: u64,
    },
    ClosedByOther,
    EpochCloses,
    Forgets,
    Gone,
    Pause(Owner, u64),
    EarlierArrives {
        seq: u64,
    },
    LookUp(Owner, Lookup),
    LookupEnded(Owner, LookupResult),
}

enum LookupResult {
    Tail(Option<String>),
    Batch(SearchResult),
}

enum RequestEnd {
    Response(SimulatedResponse),
    Lost(request::RequestFailure),
}

pub(super) struct ProducerRun {
    plan: Plan,
    rng: Rng,
    start: Instant,
    now: u64,
    order: u64,
    due: BinaryHeap<Reverse<(u64, u64)>>,
    events: std::collections::HashMap<u64, SimulationEvent>,
    server: ProducerServer,
    pub clients: Vec<ProducerClient>,
    paused_until: Vec<u64>,
    end_requested: Vec<bool>,
    rival_budget: u32,
}

impl ProducerRun {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan::draw(&mut rng)
            .resumed(&mut Rng::with_seed(!seed))
            .rerun(&mut Rng::with_seed(seed ^ 0x5eed))
            .twinned(&mut Rng::with_seed(seed ^ 0x2222))
            .replicated(&mut Rng::with_seed(seed ^ 0x3333))
            .timed(&mut Rng::with_seed(seed ^ 0x7777))
            .forgetful(&mut Rng::with_seed(seed ^ 0x8888));
        Self::of(plan, rng)
    }

    pub(super) fn of(plan: Plan, mut rng: Rng) -> Self {
        let used = plan
            .config
            .next_seq
            .and_then(|next| next.checked_sub(1))
            .map(|last| (plan.config.epoch, last));
        let server = ProducerServer {
            state: plan.initial_epoch.map(|epoch| (epoch, rng.u64(..3))).or(used),
            max_body: plan.max_body,
            offset_on_duplicate: plan.offset_on_duplicate,
            forgets_receipts: plan.forgets_receipts,
            ..ProducerServer::default()
        };
        let clients: Vec<_> = (0..plan.producers)
            .map(|owner| ProducerClient::new(owner, plan.config.clone(), plan.twins, rng.u64(..)))
            .collect();
        let mut run = Self {
            start: Instant::now(),
            now: 0,
            order: 0,
            due: BinaryHeap::new(),
            events: Default::default(),
            server,
            paused_until: vec![0; clients.len()],
            end_requested: vec![false; clients.len()],
            clients,
            rival_budget: 20,
            plan,
            rng,
        };
        run.schedule_initial_events();
        run
    }

    fn schedule_initial_events(&mut self) {
        for owner in 0..self.clients.len() {
            self.soon(50, SimulationEvent::Script(owner));
            for _ in 0..self.plan.pauses {
                let length = self.rng.u64(..200_000);
                self.soon(100_000, SimulationEvent::Pause(owner, length));
            }
        }
        if let Some(EarlierRun { stored, in_flight }) = self.plan.earlier {
            for seq in 0..stored {
                let (epoch, first) = (self.plan.config.epoch, self.clients[0].message(seq, 0));
                let body = self.body(&[&first]);
                self.server.post(EARLIER, epoch, seq, &body, false);
            }
            for seq in stored..stored + in_flight {
                self.soon(20_000, SimulationEvent::EarlierArrives { seq });
            }
        }
        for _ in 0..self.plan.rival_claims {
            self.soon(100_000, SimulationEvent::RivalClaims { epoch: None });
        }
        for _ in 0..self.plan.epoch_closes {
            self.soon(100_000, SimulationEvent::EpochCloses);
        }
        for _ in 0..self.plan.forgets {
            self.soon(100_000, SimulationEvent::Forgets);
        }
        if self.plan.closed_by_other {
            self.soon(50_000, SimulationEvent::ClosedByOther);
        }
        if self.plan.gone {
            self.soon(50_000, SimulationEvent::Gone);
        }
    }

    fn at(&mut self, time: u64, event: SimulationEvent) {
        self.order += 1;
        self.due.push(Reverse((time, self.order)));
        self.events.insert(self.order, event);
    }

    fn soon(&mut self, within: u64, event: SimulationEvent) {
        let time = self.now + self.rng.u64(0..=within);
        self.at(time, event);
    }

    fn chance(&mut self, per_mille: u32) -> bool {
        self.rng.u32(..1000) < per_mille
    }

    fn instant(&self) -> Instant {
        self.start + Duration::from_micros(self.now)
    }

    pub(super) fn run(&mut self) {
        let mut steps = 0;
        while let Some(Reverse((time, order))) = self.due.pop() {
            steps += 1;
            assert!(steps < 500_000, "no end in sight: {:?}", self.plan);
            let event = self.events.remove(&order).expect("what is due");
            self.now = time;
            self.handle(event);
        }
        self.check();
    }

    fn handle(&mut self, event: SimulationEvent) {
        let owner = match &event {
            SimulationEvent::Script(owner)
            | SimulationEvent::Timer(owner)
            | SimulationEvent::LookupEnded(owner, _)
            | SimulationEvent::AtClient { owner, .. } => Some(*owner),
            _ => None,
        };
        if let Some(until) = owner
            .map(|owner| self.paused_until[owner])
            .filter(|until| *until > self.now)
        {
            return self.at(until, event);
        }
        match event {
            SimulationEvent::Script(owner) => self.script(owner),
            SimulationEvent::Timer(owner) => self.pump(owner),
            SimulationEvent::Abort(owner) => {
                let now = self.instant();
                self.clients[owner].machine.abort(now);
                self.pump(owner);
            }
            SimulationEvent::AtServer {
                owner,
                request,
                responds,
            } => self.at_server(owner, request, responds),
            SimulationEvent::AtClient { owner, id, end } => self.at_client(owner, id, end),
            // A server that has forgotten the epochs would let the rival use the producer's.
            SimulationEvent::RivalClaims { epoch: None } if self.server.forgotten > 0 => {}
            SimulationEvent::RivalClaims { epoch } => {
                let epoch = epoch.unwrap_or_else(|| self.server.state.map_or(1, |(epoch, _)| epoch + 1));
                self.rival(epoch, 0);
            }
            SimulationEvent::RivalContinues { epoch, seq } => self.rival(epoch, seq),
            SimulationEvent::EarlierArrives { seq } => {
                let body = self.body(&[match self.plan.config.body {
                    BodyKind::Json => b"\"earlier\"",
                    BodyKind::Bytes => b"<earlier>",
                }]);
                self.server.post(EARLIER, self.plan.config.epoch, seq, &body, false);
            }
            SimulationEvent::LookUp(owner, lookup) => self.look_up(owner, &lookup),
            SimulationEvent::LookupEnded(owner, lookup_result) => self.lookup_result(owner, lookup_result),
            SimulationEvent::ClosedByOther => self.server.closed = self.server.closed.or(Some(None)),
            SimulationEvent::EpochCloses => self.server.epoch_closed = self.server.state.is_some(),
            SimulationEvent::Forgets => self.forget(),
            SimulationEvent::Gone => self.server.gone = true,
            SimulationEvent::Pause(owner, length) => {
                self.paused_until[owner] = self.paused_until[owner].max(self.now + length);
            }
        }
    }

    /// The server forgets the producer. If that happens before the first batch of an epoch is acknowledged, or if a
    /// copy of that batch arrives afterwards, the batch is stored twice (docs/reliability.md). So neither is simulated.
    fn forget(&mut self) {
        if !self.clients.iter().all(|client| client.machine.established) {
            return;
        }
        for event in self.events.values_mut() {
            if let SimulationEvent::AtServer { owner, request, .. } = event
                && request.seq == 0
            {
                *event = SimulationEvent::Timer(*owner);
            }
        }
        self.server.forget(self.plan.forgets_data);
    }

    /// The owner's next step: some appends, sometimes a flush, and after the last append the end.
    fn script(&mut self, owner: Owner) {
        let messages = self.plan.messages;
        for _ in 0..self.rng.u32(1..20) {
            let client = &mut self.clients[owner];
            if client.appended.len() as u64 >= messages || client.waits_for_room || client.end.is_some() {
                break;
            }
            let size = self.rng.usize(0..=self.plan.message_bytes);
            if !client.append(size) {
                break;
            }
        }
        if self.plan.flushes && self.rng.u32(..3) == 0 && self.clients[owner].end.is_none() {
            self.clients[owner].flush();
        }
        let all =
            self.clients[owner].appended.len() as u64 >= messages || self.clients[owner].machine.failure().is_some();
        if all && !self.end_requested[owner] && self.clients[owner].end.is_none() {
            self.end_requested[owner] = true;
            let (close, size) = (self.plan.close_stream, self.plan.message_bytes);
            self.clients[owner].request_end(close, size);
            if let Some(delay) = self.plan.abort_after {
                self.at(self.now + delay, SimulationEvent::Abort(owner));
            }
        }
        if !all && !self.clients[owner].waits_for_room {
            self.soon(2_000, SimulationEvent::Script(owner));
        }
        self.pump(owner);
    }

    /// What a driver does after every call: polls the machine and sends requests.
    fn pump(&mut self, owner: Owner) {
        let now = self.instant();
        if let Some(lookup) = self.clients[owner].machine.poll_lookup(now) {
            self.soon(self.plan.delay, SimulationEvent::LookUp(owner, lookup));
        }
        for transmit in self.clients[owner].transmits(now) {
            self.send(owner, transmit);
        }
        let waited = self.clients[owner].waits_for_room;
        self.clients[owner].events();
        if waited && !self.clients[owner].waits_for_room {
            self.soon(10, SimulationEvent::Script(owner));
        }
        if let Some(timeout) = self.clients[owner].machine.poll_timeout() {
            // Timers fire slightly late.
            let time = timeout.duration_since(self.start).as_micros() as u64 + 1;
            self.at(time, SimulationEvent::Timer(owner));
        }
    }

    /// The request body with these messages.
    fn body(&self, messages: &[&[u8]]) -> Bytes {
        match self.plan.config.body {
            BodyKind::Bytes => messages.concat().into(),
            BodyKind::Json => [&b"["[..], &messages.join(&b','), b"]"].concat().into(),
        }
    }

    /// The rival appends a batch. It continues while its batches are stored.
    fn rival(&mut self, epoch: u64, seq: u64) {
        let body = match self.plan.config.body {
            BodyKind::Json => "[0]",
            BodyKind::Bytes => "<rival>",
        };
        let status = self
            .server
            .post(RIVAL, epoch, seq, &Bytes::from_static(body.as_bytes()), false)
            .status;
        if status == 200 && self.rival_budget > 0 {
            self.rival_budget -= 1;
            self.soon(5_000, SimulationEvent::RivalContinues { epoch, seq: seq + 1 });
        }
    }
}
