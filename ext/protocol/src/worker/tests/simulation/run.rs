//! One run: events are appended, workers work, the network and the workers fail for a while, and then they do not.

mod checks;

use std::collections::BTreeMap;
use std::time::Instant;

use fastrand::Rng;

use super::client::{Span, ThreadStep, WorkerProcess};
use super::network::Network;
use super::server::{Millis, SubscriptionServer, events_before, offset};
use crate::worker::{BlockProgress, WorkerEvent};

/// Until then events are appended and things fail.
const FAULTS_END: Millis = 90_000;
/// All events are handled by then.
const HANDLED: Millis = FAULTS_END + 240_000;
/// All workers have stopped by then.
const END: Millis = HANDLED + 60_000;

/// How often things fail, in per mille of the occasions.
pub(super) struct WorkerFaults {
    pub network: u32,
    kills: u32,
    pauses: u32,
    blocks: u32,
    removals: u32,
    lost_wakes: u32,
}

pub(super) struct WorkerRun {
    pub rng: Rng,
    pub start: Instant,
    pub now: Millis,
    pub server: SubscriptionServer,
    pub network: Network,
    pub workers: Vec<WorkerProcess>,
    pub faults: WorkerFaults,
    /// Whether nothing fails.
    calm: bool,
    /// Since when nobody claims, although something is pending and a worker has a free thread.
    neglected_since: Option<Millis>,
    next_append: Millis,
    next_fault: Millis,
    next_name: u64,
    /// How often each event was handled.
    handled: BTreeMap<(String, usize), u32>,
    /// How often an event may be handled again.
    pub repetitions: u32,
    pub requests: u64,
    pub counts: BTreeMap<&'static str, u64>,
}

impl WorkerRun {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let calm = rng.u32(..5) == 0;
        let mut draw = |chances: [u32; 3]| if calm { 0 } else { chances[rng.usize(..3)] };
        let faults = WorkerFaults {
            network: draw([0, 50, 300]),
            kills: draw([0, 0, 200]),
            pauses: draw([0, 100, 300]),
            blocks: draw([0, 20, 200]),
            removals: draw([0, 0, 100]),
            lost_wakes: draw([0, 0, 200]),
        };
        let lease_ttl = [1_000, 3_000, 30_000][rng.usize(..3)];
        let mut run = Self {
            start: Instant::now(),
            now: 0,
            server: SubscriptionServer::new(rng.usize(1..8), lease_ttl, rng.u32(..4) > 0),
            network: Network::default(),
            workers: Vec::new(),
            faults,
            calm,
            neglected_since: None,
            next_append: 0,
            next_fault: rng.u64(..5_000),
            next_name: 0,
            handled: BTreeMap::new(),
            repetitions: 0,
            requests: 0,
            counts: BTreeMap::new(),
            rng,
        };
        for _ in 0..run.rng.usize(1..5) {
            let worker = run.new_worker();
            run.workers.push(worker);
        }
        run
    }

    fn new_worker(&mut self) -> WorkerProcess {
        self.next_name += 1;
        let name = format!("w{}", self.next_name);
        let mut worker = WorkerProcess::new(name, self.start, self.now, &mut self.rng);
        worker.wakes_seen = self.server.wakes.len();
        worker
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn is_faulty(&self) -> bool {
        self.now < FAULTS_END
    }

    /// Whether something that fails so often fails now.
    pub(super) fn fails(&mut self, per_mille: u32) -> bool {
        self.is_faulty() && self.rng.u32(..1_000) < per_mille
    }

    /// Runs to the end, and returns how often each event happened.
    pub(super) fn run(mut self) -> BTreeMap<&'static str, u64> {
        while self.now < HANDLED && !(self.now >= FAULTS_END && self.all_handled()) {
            self.step();
        }
        assert!(self.all_handled(), "events are not handled: {}", self.state());
        self.check_repetitions();
        for worker in &mut self.workers {
            worker.stopped = true;
            worker.machine.stop();
        }
        while self.now < END && !self.all_ended() {
            self.step();
        }
        for worker in &self.workers {
            assert!(
                matches!(worker.machine.poll_end(), Some(Ok(()))),
                "{:?}",
                worker.machine.poll_end()
            );
        }
        assert!(self.all_ended(), "a worker has not stopped");
        // The server may have a claim whose worker was killed, or did not learn of it.
        if self.server.holder.is_some() {
            let is_known = |worker: &WorkerProcess| {
                worker
                    .lease
                    .is_some_and(|(generation, _)| generation == self.server.generation)
            };
            assert!(!self.workers.iter().any(is_known), "a claim was not given back");
        }
        self.counts
    }

    /// The state for messages.
    fn state(&self) -> String {
        let workers = self.workers.iter();
        let workers: Vec<_> = workers
            .map(|worker| format!("{:#?} {:?}", worker.machine, worker.threads))
            .collect();
        format!("now {} {:#?} {}", self.now, self.server, workers.join("\n"))
    }

    fn all_handled(&self) -> bool {
        !self.server.streams.iter().any(super::server::Stream::is_pending)
    }

    fn all_ended(&self) -> bool {
        let is_free = |thread: &ThreadStep| *thread == ThreadStep::Free;
        let has_ended =
            |worker: &WorkerProcess| worker.machine.poll_end().is_some() && worker.threads.iter().all(is_free);
        self.workers.iter().all(has_ended)
    }

    /// Goes on to the next moment at which something happens.
    fn step(&mut self) {
        let workers = self.workers.iter().filter_map(|worker| worker.next_time(self.now));
        let next = workers
            .chain(self.server.next_time())
            .chain(self.network.next_time())
            .chain(self.is_faulty().then(|| self.next_append.min(self.next_fault)))
            .chain([self.now + 60_000])
            .min()
            .unwrap_or(self.now);
        self.now = self.now.max(next) + self.rng.u64(..3);
        self.server.expire(self.now);
        for worker in &mut self.workers {
            worker.go_on(self.now);
        }
        if self.is_faulty() && self.next_append <= self.now {
            self.append();
        }
        if self.is_faulty() && self.next_fault <= self.now {
            self.next_fault = self.now + self.rng.u64(1..5_000);
            self.fail();
        }
        self.deliver();
        for index in 0..self.workers.len() {
            if self.workers[index].paused_until <= self.now {
                self.run_worker(index);
            }
        }
        self.check_neglect();
    }

    fn append(&mut self) {
        self.next_append = self.now + [10, 1_000, 20_000][self.rng.usize(..3)];
        let (index, events) = (self.rng.usize(..self.server.streams.len()), self.rng.usize(1..20));
        self.server.append(index, events);
    }

    /// Something goes wrong in a process, or a stream is removed.
    fn fail(&mut self) {
        let index = self.rng.usize(..self.workers.len());
        if self.fails(self.faults.kills) {
            self.count("killed");
            self.repetitions += 1;
            let worker = self.new_worker();
            self.workers[index] = worker;
        }
        if self.workers[index].paused_until <= self.now && self.fails(self.faults.pauses) {
            let pause = self.rng.u64(..self.server.lease_ttl * 3);
            if pause > self.server.lease_ttl {
                self.count("paused for longer than a lease");
            }
            self.repetitions += 1;
            let worker = &mut self.workers[index];
            worker.paused_until = self.now + pause;
            match self.rng.u32(..4) {
                // The machine was suspended, and its clock too.
                0 => worker.clock_step = -(pause as i64),
                // The clock jumps ahead.
                1 => worker.clock_step = self.rng.i64(0..20_000),
                _ => {}
            }
        }
        if self.fails(self.faults.removals) {
            let index = self.rng.usize(..self.server.streams.len());
            self.server.streams[index].removed = true;
            self.count("removed");
        }
    }

    fn run_worker(&mut self, index: usize) {
        self.see_wakes(index);
        for thread in 0..self.workers[index].threads.len() {
            self.run_thread(index, thread);
        }
        let worker = &mut self.workers[index];
        let (time, has_capacity) = (worker.time(self.now), worker.has_capacity());
        if let Some((operation, request)) = worker.machine.poll_request(time, has_capacity) {
            self.send(index, operation, request);
        }
        while let Some(event) = self.workers[index].machine.poll_event() {
            match event {
                WorkerEvent::Claimed { .. } => self.count("claimed"),
                WorkerEvent::Lost { .. } => {
                    self.repetitions += 1;
                    self.count("lost");
                }
                WorkerEvent::Outage(..) => self.count("outage"),
            }
        }
        assert!(
            !matches!(self.workers[index].machine.poll_end(), Some(Err(_))),
            "{:?}",
            self.workers[index].machine.poll_end()
        );
    }

    fn see_wakes(&mut self, index: usize) {
        let worker = &self.workers[index];
        match worker.next_wakes {
            None if worker.wakes_seen < self.server.wakes.len() => {
                let delay = [1, 50, 3_000][self.rng.usize(..3)];
                self.workers[index].next_wakes = Some(self.now + self.rng.u64(..delay));
            }
            Some(at) if at <= self.now => {
                let newest = self.server.wakes.last().copied();
                let is_lost = self.fails(self.faults.lost_wakes);
                let worker = &mut self.workers[index];
                worker.next_wakes = None;
                worker.wakes_seen = self.server.wakes.len();
                match is_lost {
                    true => self.count("lost wake"),
                    false => {
                        let time = worker.time(self.now);
                        worker.machine.handle_wake(time, newest);
                    }
                }
            }
            _ => {}
        }
    }

    fn run_thread(&mut self, index: usize, thread: usize) {
        let now = self.now;
        let worker = &mut self.workers[index];
        let time = worker.time(now);
        match worker.threads[thread].clone() {
            ThreadStep::Free => {
                let Some(work) = worker.machine.poll_work(time) else {
                    return;
                };
                worker.check_begin(now, work.generation);
                let is_taken = |thread: &ThreadStep| thread.span().is_some_and(|span| span.path == work.stream);
                assert!(!worker.threads.iter().any(is_taken), "{} has two blocks", work.stream);
                let from = events_before(&work.from);
                self.read(index, thread, work.generation, work.stream, from);
            }
            ThreadStep::Reads(span) if span.until <= now => {
                if self.fails(self.faults.blocks / 4) {
                    return self.fail_block(index, thread, &span);
                }
                let long = if self.is_faulty() {
                    self.server.lease_ttl * 2
                } else {
                    500
                };
                let longest = [5, 500, long][self.rng.usize(..3)];
                let until = now + self.rng.u64(..longest);
                self.workers[index].threads[thread] = ThreadStep::Runs(Span { until, ..span });
            }
            ThreadStep::Runs(span) if span.until <= now => {
                if self.fails(self.faults.blocks) {
                    return self.fail_block(index, thread, &span);
                }
                self.mark_handled(&span);
                let worker = &mut self.workers[index];
                worker
                    .machine
                    .handle_batch(&span.path, &offset(span.to), span.up_to_date);
                worker.threads[thread] = ThreadStep::Waits(span);
            }
            ThreadStep::Waits(span) => match worker.machine.poll_progress(time, &span.path) {
                None => {}
                Some(BlockProgress::GoOn) => {
                    worker.check_begin(now, span.generation);
                    self.read(index, thread, span.generation, span.path, span.to);
                }
                Some(BlockProgress::Finished) => worker.threads[thread] = ThreadStep::Free,
                Some(BlockProgress::Failed(_)) => {
                    worker.threads[thread] = ThreadStep::Free;
                    self.repetitions += 1;
                    self.count("failed ack");
                }
            },
            ThreadStep::Reads(_) | ThreadStep::Runs(_) => {}
        }
    }

    fn read(&mut self, index: usize, thread: usize, generation: u64, path: String, from: usize) {
        let end = self.server.stream(&path).events;
        let to = end.min(from + self.rng.usize(1..15));
        let span = Span {
            generation,
            path,
            from,
            to,
            up_to_date: to == end,
            until: self.now + self.rng.u64(..20),
        };
        self.workers[index].threads[thread] = ThreadStep::Reads(span);
    }

    fn fail_block(&mut self, index: usize, thread: usize, span: &Span) {
        self.count("failed block");
        self.repetitions += 1;
        let worker = &mut self.workers[index];
        let time = worker.time(self.now);
        worker.machine.handle_failure(time, span.generation, &span.path);
        worker.threads[thread] = ThreadStep::Free;
    }
}
