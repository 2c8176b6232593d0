//! One run: the clock, the network, the rival and the owner's script.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;

use super::client::{Client, End};
use super::plan::{Earlier, Plan};
use super::server::{EARLIER, Owner, RIVAL, Server};
use crate::producer::tests::{Said, Why, no_headers, not_sent, unanswered};
use crate::producer::{BodyKind, DeliveryOutcome, Lookup, SearchResult, Transmit, TransmitId};
use crate::request;

/// Microseconds that a request may take before the client gives it up.
const TIMEOUT: u64 = 60_000;

/// How a run ended, for counting.
pub struct Ended(pub String);

enum Happening {
    Script(Owner),
    Timer(Owner),
    Abort(Owner),
    AtServer {
        owner: Owner,
        request: Transmit,
        answered: bool,
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
    Gone,
    Pause(Owner, u64),
    EarlierArrives {
        seq: u64,
    },
    LookUp(Owner, Lookup),
    Seen(Owner, Seen),
}

enum Seen {
    Tail(Option<String>),
    Batch(SearchResult),
}

enum RequestEnd {
    Response(Said),
    Lost(request::RequestFailure),
}

pub struct Run {
    plan: Plan,
    rng: Rng,
    start: Instant,
    now: u64,
    order: u64,
    due: BinaryHeap<Reverse<(u64, u64)>>,
    happenings: std::collections::HashMap<u64, Happening>,
    server: Server,
    pub clients: Vec<Client>,
    paused_until: Vec<u64>,
    asked_to_end: Vec<bool>,
    rival_budget: u32,
}

impl Run {
    pub fn new(seed: u64) -> Run {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan::draw(&mut rng)
            .resumed(&mut Rng::with_seed(!seed))
            .rerun(&mut Rng::with_seed(seed ^ 0x5eed))
            .twinned(&mut Rng::with_seed(seed ^ 0x2222));
        Run::of(plan, rng)
    }

    pub fn of(plan: Plan, mut rng: Rng) -> Run {
        let used = plan
            .config
            .next_seq
            .and_then(|next| next.checked_sub(1))
            .map(|last| (plan.config.epoch, last));
        let server = Server {
            state: plan.held_epoch.map(|epoch| (epoch, rng.u64(..3))).or(used),
            max_body: plan.max_body,
            offset_on_duplicate: plan.offset_on_duplicate,
            ..Server::default()
        };
        let clients: Vec<_> = (0..plan.producers)
            .map(|owner| Client::new(owner, plan.config.clone(), plan.twins, rng.u64(..)))
            .collect();
        let mut run = Run {
            start: Instant::now(),
            now: 0,
            order: 0,
            due: BinaryHeap::new(),
            happenings: Default::default(),
            server,
            paused_until: vec![0; clients.len()],
            asked_to_end: vec![false; clients.len()],
            clients,
            rival_budget: 20,
            plan,
            rng,
        };
        run.set_the_stage();
        run
    }

    fn set_the_stage(&mut self) {
        for owner in 0..self.clients.len() {
            self.soon(50, Happening::Script(owner));
            for _ in 0..self.plan.pauses {
                let length = self.rng.u64(..200_000);
                self.soon(100_000, Happening::Pause(owner, length));
            }
        }
        if let Some(Earlier { stored, on_the_way }) = self.plan.earlier {
            for seq in 0..stored {
                let (epoch, first) = (self.plan.config.epoch, self.clients[0].message(seq, 0));
                let body = self.body(&[&first]);
                self.server.post(EARLIER, epoch, seq, &body, false);
            }
            for seq in stored..stored + on_the_way {
                self.soon(20_000, Happening::EarlierArrives { seq });
            }
        }
        for _ in 0..self.plan.rival_claims {
            self.soon(100_000, Happening::RivalClaims { epoch: None });
        }
        if self.plan.closed_by_other {
            self.soon(50_000, Happening::ClosedByOther);
        }
        if self.plan.gone {
            self.soon(50_000, Happening::Gone);
        }
    }

    fn at(&mut self, time: u64, happening: Happening) {
        self.order += 1;
        self.due.push(Reverse((time, self.order)));
        self.happenings.insert(self.order, happening);
    }

    fn soon(&mut self, within: u64, happening: Happening) {
        let time = self.now + self.rng.u64(0..=within);
        self.at(time, happening);
    }

    fn chance(&mut self, per_mille: u32) -> bool {
        self.rng.u32(..1000) < per_mille
    }

    fn instant(&self) -> Instant {
        self.start + Duration::from_micros(self.now)
    }

    pub fn go(&mut self) {
        let mut steps = 0;
        while let Some(Reverse((time, order))) = self.due.pop() {
            steps += 1;
            assert!(steps < 500_000, "no end in sight: {:?}", self.plan);
            let happening = self.happenings.remove(&order).expect("what is due");
            self.now = time;
            self.happen(happening);
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
            client.verify(&self.landed(client.owner), self.plan.must_succeed());
        }
        self.nothing_in_excess();
    }

    fn happen(&mut self, happening: Happening) {
        let owner = match &happening {
            Happening::Script(owner)
            | Happening::Timer(owner)
            | Happening::Seen(owner, _)
            | Happening::AtClient { owner, .. } => Some(*owner),
            _ => None,
        };
        if let Some(until) = owner
            .map(|owner| self.paused_until[owner])
            .filter(|until| *until > self.now)
        {
            return self.at(until, happening);
        }
        match happening {
            Happening::Script(owner) => self.script(owner),
            Happening::Timer(owner) => self.pump(owner),
            Happening::Abort(owner) => {
                let now = self.instant();
                self.clients[owner].machine.abort(now);
                self.pump(owner);
            }
            Happening::AtServer {
                owner,
                request,
                answered,
            } => self.at_server(owner, request, answered),
            Happening::AtClient { owner, id, end } => self.at_client(owner, id, end),
            Happening::RivalClaims { epoch } => {
                let epoch = epoch.unwrap_or_else(|| self.server.state.map_or(1, |(epoch, _)| epoch + 1));
                self.rival(epoch, 0);
            }
            Happening::RivalGoesOn { epoch, seq } => self.rival(epoch, seq),
            Happening::EarlierArrives { seq } => {
                let body = self.body(&[match self.plan.config.body {
                    BodyKind::Json => b"\"earlier\"",
                    BodyKind::Bytes => b"<earlier>",
                }]);
                self.server.post(EARLIER, self.plan.config.epoch, seq, &body, false);
            }
            Happening::LookUp(owner, lookup) => self.look_up(owner, &lookup),
            Happening::Seen(owner, seen) => self.seen(owner, seen),
            Happening::ClosedByOther => self.server.closed = self.server.closed.or(Some(None)),
            Happening::Gone => self.server.gone = true,
            Happening::Pause(owner, length) => {
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
        if all && !self.asked_to_end[owner] && self.clients[owner].end.is_none() {
            self.asked_to_end[owner] = true;
            let (close, size) = (self.plan.close_stream, self.plan.message_bytes);
            self.clients[owner].ask_to_end(close, size);
            if let Some(patience) = self.plan.abort_after {
                self.at(self.now + patience, Happening::Abort(owner));
            }
        }
        if !all && !self.clients[owner].waits_for_room {
            self.soon(2_000, Happening::Script(owner));
        }
        self.pump(owner);
    }

    /// What a driver does after every call.
    fn pump(&mut self, owner: Owner) {
        let now = self.instant();
        if let Some(lookup) = self.clients[owner].machine.poll_lookup(now) {
            self.soon(self.plan.delay, Happening::LookUp(owner, lookup));
        }
        for transmit in self.clients[owner].transmits(now) {
            self.send(owner, transmit);
        }
        let waited = self.clients[owner].waits_for_room;
        self.clients[owner].events();
        if waited && !self.clients[owner].waits_for_room {
            self.soon(10, Happening::Script(owner));
        }
        if let Some(timeout) = self.clients[owner].machine.poll_timeout() {
            // A little late, as timers are.
            let time = timeout.duration_since(self.start).as_micros() as u64 + 1;
            self.at(time, Happening::Timer(owner));
        }
    }

    fn look_up(&mut self, owner: Owner, lookup: &Lookup) {
        let fails = self.chance(self.plan.faults.lookups);
        let seen = match lookup {
            Lookup::Tail { .. } => Seen::Tail(self.server.tail().filter(|_| !fails)),
            Lookup::Batch { .. } if fails || self.server.gone => Seen::Batch(SearchResult::Unknown),
            Lookup::Batch { from, wanted } => {
                let pieces = self.rng.usize(1..50);
                Seen::Batch(self.server.look_for(wanted, from, pieces))
            }
        };
        self.soon(self.plan.delay, Happening::Seen(owner, seen));
    }

    fn seen(&mut self, owner: Owner, seen: Seen) {
        let now = self.instant();
        let machine = &mut self.clients[owner].machine;
        match seen {
            Seen::Tail(tail) => machine.handle_tail(tail),
            Seen::Batch(found) => machine.handle_search_result(now, found),
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
        let end = |end| Happening::AtClient { owner, id, end };
        if self.chance(faults.headers) {
            return self.soon(100, end(RequestEnd::Lost(no_headers())));
        }
        if self.chance(faults.not_sent) {
            return self.soon(1_000, end(RequestEnd::Lost(not_sent())));
        }
        self.at(self.now + TIMEOUT, end(RequestEnd::Lost(unanswered())));
        if self.chance(faults.request_lost) {
            if self.rng.bool() {
                self.soon(10_000, end(RequestEnd::Lost(unanswered())));
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
                Happening::AtServer {
                    owner,
                    request: request.clone(),
                    answered: false,
                },
            );
        }
        self.at(
            arrival,
            Happening::AtServer {
                owner,
                request,
                answered: !late,
            },
        );
    }

    fn at_server(&mut self, owner: Owner, request: Transmit, answered: bool) {
        let faults = self.plan.faults.clone();
        let id = request.id;
        let retry_after = (self.rng.u32(..4) == 0).then(|| Duration::from_millis(self.rng.u64(..30)));
        let answer = if self.chance(faults.status_429) {
            self.server.overloaded(429, retry_after)
        } else if self.chance(faults.status_5xx_before) {
            self.server.overloaded(503, retry_after)
        } else {
            let answer = self
                .server
                .post(owner, request.epoch, request.seq, &request.body, request.closes);
            if self.chance(faults.status_5xx_after) {
                self.server.overloaded(502, None)
            } else {
                answer
            }
        };
        // A copy that comes later: of a request that was taken, or whose answer nobody saw.
        let lost = !answered || self.chance(faults.answer_lost);
        if (lost || matches!(answer.status, 200 | 204)) && self.chance(faults.doubled) {
            self.soon(
                5 * self.plan.delay,
                Happening::AtServer {
                    owner,
                    request,
                    answered: false,
                },
            );
        }
        if let (403, Some(epoch), true) = (answer.status, answer.producer_epoch, self.plan.rival_races)
            && self.rng.bool()
        {
            self.soon(3 * self.plan.delay, Happening::RivalClaims { epoch: Some(epoch + 1) });
        }
        if !answered {
            return;
        }
        if lost {
            if self.rng.bool() {
                self.soon(
                    10_000,
                    Happening::AtClient {
                        owner,
                        id,
                        end: RequestEnd::Lost(unanswered()),
                    },
                );
            }
            return;
        }
        self.soon(
            self.plan.delay,
            Happening::AtClient {
                owner,
                id,
                end: RequestEnd::Response(answer),
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
            RequestEnd::Response(answer) => {
                if matches!(answer.status, 200 | 204) {
                    client.saw_success(epoch);
                }
                client.machine.handle_response(now, id, answer.answer());
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
            self.soon(5_000, Happening::RivalGoesOn { epoch, seq: seq + 1 });
        }
    }

    /// The messages of one owner, in the order in which they came to the stream.
    fn landed(&self, owner: Owner) -> Vec<Vec<u8>> {
        let mine = self.server.log.iter().filter(|(by, _)| *by == owner);
        mine.flat_map(|(_, body)| match self.plan.config.body {
            BodyKind::Bytes => body.split_inclusive(|byte| *byte == b'>').map(<[u8]>::to_vec).collect(),
            BodyKind::Json if body.is_empty() => Vec::new(),
            BodyKind::Json => elements(body),
        })
        .collect()
    }

    /// Where requests merely overtake one another, none goes out more than twice.
    fn nothing_in_excess(&self) {
        let faults = &self.plan.faults;
        let losses = faults.not_sent + faults.request_lost + faults.answer_lost + faults.late + faults.status_429;
        let calm = losses + faults.status_5xx_before + faults.status_5xx_after == 0;
        if calm && self.plan.must_succeed() && self.plan.pauses == 0 && self.plan.held_epoch.is_none() {
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

    pub fn ends(&self) -> Vec<Ended> {
        let mut ends = Vec::new();
        for client in &self.clients {
            let first = ends.len();
            match &client.end {
                Some(End::Closed) => ends.push(
                    if client.stream_closed {
                        "stream closed"
                    } else {
                        "closed"
                    }
                    .to_owned(),
                ),
                Some(End::Failed(failure, undelivered)) => {
                    let name = format!("{:?}", Why::from(failure));
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
        ends.into_iter().map(Ended).collect()
    }
}

/// The elements of a JSON array, as they were written. (No string in it has brackets or commas.)
pub fn elements(body: &[u8]) -> Vec<Vec<u8>> {
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
