//! One run: the clock, the network, the rival and the owner's script.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;

use super::client::{ProducerClient, ProducerEnd};
use super::plan::{EarlierRun, Plan};
use super::server::{EARLIER, Owner, ProducerServer, RIVAL};
use crate::producer::tests::{FailureReason, SimulatedResponse, no_headers, not_sent, response_lost};
use crate::producer::{BodyKind, DeliveryOutcome, Lookup, SearchResult, Transmit, TransmitId};
use crate::request;

/// Microseconds that a request may take before the client gives it up.
const TIMEOUT: u64 = 60_000;

/// How a run ended, for counting.
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
    RivalGoesOn {
        epoch: u64,
        seq: u64,
    },
    ClosedByOther,
    EpochCloses,
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
            .replicated(&mut Rng::with_seed(seed ^ 0x3333));
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
        if let Some(EarlierRun { stored, on_the_way }) = self.plan.earlier {
            for seq in 0..stored {
                let (epoch, first) = (self.plan.config.epoch, self.clients[0].message(seq, 0));
                let body = self.body(&[&first]);
                self.server.post(EARLIER, epoch, seq, &body, false);
            }
            for seq in stored..stored + on_the_way {
                self.soon(20_000, SimulationEvent::EarlierArrives { seq });
            }
        }
        for _ in 0..self.plan.rival_claims {
            self.soon(100_000, SimulationEvent::RivalClaims { epoch: None });
        }
        for _ in 0..self.plan.epoch_closes {
            self.soon(100_000, SimulationEvent::EpochCloses);
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
        for client in &self.clients {
            let readable = self.plan.faults.lookups == 0 && !self.plan.gone;
            // An equal batch that was sent later makes a lookup useless too.
            assert!(
                client.assumptions == 0 || !readable || self.plan.twins.is_some(),
                "assumed without need"
            );
            let closed = self.server.closed.is_some();
            let assumed = client.assumptions + client.found > 0;
            assert!(closed || !client.stream_closed || assumed, "not closed");
            client.verify(&self.stored(client.owner), self.plan.must_succeed());
        }
        self.check_request_count();
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
            SimulationEvent::RivalClaims { epoch } => {
                let epoch = epoch.unwrap_or_else(|| self.server.state.map_or(1, |(epoch, _)| epoch + 1));
                self.rival(epoch, 0);
            }
            SimulationEvent::RivalGoesOn { epoch, seq } => self.rival(epoch, seq),
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
            SimulationEvent::Gone => self.server.gone = true,
            SimulationEvent::Pause(owner, length) => {
                self.paused_until[owner] = self.paused_until[owner].max(self.now + length);
            }
        }
    }

    /// The owner's next step: a few appends, now and then a flush, in the end the end.
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

    /// What a driver does after every call.
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
            // A little late, as timers are.
            let time = timeout.duration_since(self.start).as_micros() as u64 + 1;
            self.at(time, SimulationEvent::Timer(owner));
        }
    }

    fn look_up(&mut self, owner: Owner, lookup: &Lookup) {
        let fails = self.chance(self.plan.faults.lookups);
        let lookup_result = match lookup {
            Lookup::Tail { .. } => LookupResult::Tail(self.server.tail().filter(|_| !fails)),
            Lookup::Batch { .. } if fails || self.server.gone => LookupResult::Batch(SearchResult::Unknown),
            Lookup::Batch { from, wanted } => {
                let pieces = self.rng.usize(1..50);
                LookupResult::Batch(self.server.look_for(wanted, from, pieces))
            }
        };
        self.soon(self.plan.delay, SimulationEvent::LookupEnded(owner, lookup_result));
    }

    fn lookup_result(&mut self, owner: Owner, lookup_result: LookupResult) {
        let now = self.instant();
        let machine = &mut self.clients[owner].machine;
        match lookup_result {
            LookupResult::Tail(tail) => machine.handle_tail(tail),
            LookupResult::Batch(found) => machine.handle_search_result(now, found),
        }
        self.pump(owner);
    }

    /// Messages as a request has them.
    fn body(&self, messages: &[&[u8]]) -> Bytes {
        match self.plan.config.body {
            BodyKind::Bytes => messages.concat().into(),
            BodyKind::Json => [&b"["[..], &messages.join(&b','), b"]"].concat().into(),
        }
    }

    fn send(&mut self, owner: Owner, request: Transmit) {
        let id = request.id;
        let faults = self.plan.faults.clone();
        let delay = self.plan.delay;
        let end = |end| SimulationEvent::AtClient { owner, id, end };
        if self.chance(faults.headers) {
            return self.soon(100, end(RequestEnd::Lost(no_headers())));
        }
        if self.chance(faults.not_sent) {
            return self.soon(1_000, end(RequestEnd::Lost(not_sent())));
        }
        self.at(self.now + TIMEOUT, end(RequestEnd::Lost(response_lost())));
        if self.chance(faults.request_lost) {
            if self.rng.bool() {
                self.soon(10_000, end(RequestEnd::Lost(response_lost())));
            }
            return;
        }
        let late = self.chance(faults.late);
        let (least, most) = if late { (TIMEOUT, 5 * TIMEOUT) } else { (0, delay) };
        let arrival = self.now + self.rng.u64(least..=most);
        // A copy that comes first is one that a proxy hides. It takes away what a refusal proves (see the module), so it
        // is only simulated where nothing needs to be proven. (If the tail was not to be had before, that a request was refused
        // proves that it is early enough to ask for the tail again.)
        if self.plan.must_succeed() && faults.lookups == 0 && self.chance(faults.doubled) {
            let first = self.now + self.rng.u64(0..=delay);
            self.at(
                first,
                SimulationEvent::AtServer {
                    owner,
                    request: request.clone(),
                    responds: false,
                },
            );
        }
        self.at(
            arrival,
            SimulationEvent::AtServer {
                owner,
                request,
                responds: !late,
            },
        );
    }

    fn at_server(&mut self, owner: Owner, request: Transmit, responds: bool) {
        let faults = self.plan.faults.clone();
        let id = request.id;
        let retry_after = (self.rng.u32(..4) == 0).then(|| Duration::from_millis(self.rng.u64(..30)));
        let response = if self.chance(faults.status_429) {
            ProducerServer::overloaded(429, retry_after)
        } else if self.chance(faults.status_5xx_before) {
            ProducerServer::overloaded(503, retry_after)
        } else {
            let response = self
                .server
                .post(owner, request.epoch, request.seq, &request.body, request.closes);
            if self.chance(faults.status_5xx_after) {
                ProducerServer::overloaded(502, None)
            } else {
                response
            }
        };
        // A copy that comes later: of a request that was taken, or whose answer nobody saw.
        let lost = !responds || self.chance(faults.response_lost);
        if (lost || matches!(response.status, 200 | 204)) && self.chance(faults.doubled) {
            self.soon(
                5 * self.plan.delay,
                SimulationEvent::AtServer {
                    owner,
                    request,
                    responds: false,
                },
            );
        }
        if let (403, Some(epoch), true) = (response.status, response.producer_epoch, self.plan.rival_races)
            && self.rng.bool()
        {
            self.soon(
                3 * self.plan.delay,
                SimulationEvent::RivalClaims { epoch: Some(epoch + 1) },
            );
        }
        if !responds {
            return;
        }
        if lost {
            if self.rng.bool() {
                self.soon(
                    10_000,
                    SimulationEvent::AtClient {
                        owner,
                        id,
                        end: RequestEnd::Lost(response_lost()),
                    },
                );
            }
            return;
        }
        self.soon(
            self.plan.delay,
            SimulationEvent::AtClient {
                owner,
                id,
                end: RequestEnd::Response(response),
            },
        );
    }

    fn at_client(&mut self, owner: Owner, id: TransmitId, end: RequestEnd) {
        let now = self.instant();
        let client = &mut self.clients[owner];
        let Some((epoch, _)) = client.open.remove(&id) else {
            return;
        };
        match end {
            RequestEnd::Response(response) => {
                if matches!(response.status, 200 | 204) {
                    client.saw_success(epoch);
                }
                client.machine.handle_response(now, id, response.to_batch_response());
            }
            RequestEnd::Lost(failure) => client.machine.handle_failure(now, id, failure),
        }
        self.pump(owner);
    }

    /// A claimant that believes its answers: it stops when it is told that it is not first.
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
            self.soon(5_000, SimulationEvent::RivalGoesOn { epoch, seq: seq + 1 });
        }
    }

    /// The messages of one owner, in the order in which they came to the stream.
    fn stored(&self, owner: Owner) -> Vec<Vec<u8>> {
        let mine = self.server.log.iter().filter(|(by, _)| *by == owner);
        mine.flat_map(|(_, body)| match self.plan.config.body {
            BodyKind::Bytes => body.split_inclusive(|byte| *byte == b'>').map(<[u8]>::to_vec).collect(),
            BodyKind::Json if body.is_empty() => Vec::new(),
            BodyKind::Json => elements(body),
        })
        .collect()
    }

    /// Where requests merely overtake one another, none goes out more than twice.
    fn check_request_count(&self) {
        let faults = &self.plan.faults;
        let losses = faults.not_sent + faults.request_lost + faults.response_lost + faults.late + faults.status_429;
        let calm = losses + faults.status_5xx_before + faults.status_5xx_after == 0;
        if calm && self.plan.must_succeed() && self.plan.pauses == 0 && self.plan.initial_epoch.is_none() {
            for client in self.clients.iter().filter(|_| self.plan.earlier.is_none()) {
                assert!(
                    client.transmits <= 2 * client.batches,
                    "{} for {}",
                    client.transmits,
                    client.batches
                );
            }
        }
    }

    pub(super) fn ends(&self) -> Vec<EndLabel> {
        let mut ends = Vec::new();
        for client in &self.clients {
            let first = ends.len();
            match &client.end {
                Some(ProducerEnd::Closed) => ends.push(
                    if client.stream_closed {
                        "stream closed"
                    } else {
                        "closed"
                    }
                    .to_owned(),
                ),
                Some(ProducerEnd::Failed(failure, undelivered)) => {
                    let name = format!("{:?}", FailureReason::from(failure));
                    ends.push(name.split([' ', '(', '{']).next().unwrap_or_default().to_owned());
                    if undelivered
                        .messages()
                        .any(|message| message.outcome == DeliveryOutcome::Unknown)
                    {
                        ends.push("unknown".to_owned());
                    }
                }
                None => ends.push("none".to_owned()),
            }
            ends.extend((0..client.claims).map(|_| "claimed".to_owned()));
            ends.extend((client.assumptions > 0).then(|| "assumed".to_owned()));
            ends.extend((client.found > 0).then(|| "found".to_owned()));
            ends.extend(self.plan.twins.map(|_| format!("twin {}", ends[first])));
            ends.extend((client.transmits > client.batches).then(|| "sent again".to_owned()));
        }
        ends.into_iter().map(EndLabel).collect()
    }
}

/// The elements of a JSON array, as they were written. (No string in it has brackets or commas.)
pub(super) fn elements(body: &[u8]) -> Vec<Vec<u8>> {
    assert!(body.starts_with(b"[") && body.ends_with(b"]"));
    let mut depth = 0;
    let inner = &body[1..body.len() - 1];
    inner
        .split(|byte| {
            match byte {
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth -= 1,
                _ => {}
            }
            *byte == b',' && depth == 0
        })
        .map(<[u8]>::to_vec)
        .collect()
}
