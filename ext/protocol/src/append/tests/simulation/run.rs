//! One run: threads append and abandon their appends, tasks continue in a random order.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::client::{ApplicationCode, Call, Id, SimulatedCaller, Task, TaskStep, TaskWork, Thread, append, ids};
use super::server::AppendServer;
use crate::append::{Append, Arrival, Caller, Group, Leader};
use crate::request::Request;
use crate::retry::policy::RetryPolicy;
use crate::retry::tries::Tries;

pub(super) struct AppendRun {
    pub(super) rng: Rng,
    pub(super) now: Instant,
    pub(super) group: Group<SimulatedCaller>,
    pub(super) server: AppendServer,
    pub(super) policy: RetryPolicy,
    pub(super) threads: Vec<Thread>,
    pub(super) tasks: Vec<Task>,
    pub(super) calls: Vec<Rc<Call>>,
    /// Whether the handle has `exactly_once`.
    pub(super) once: bool,
    /// The appends that were in a request.
    pub(super) sent: HashSet<Id>,
    /// Whether there are value callables.
    pub(super) values: bool,
    /// Whether the transport is an in-memory one.
    pub(super) in_memory: bool,
    /// Of 1000 steps, in how many a caller abandons its append, and in how many an interrupt makes a leader's thread
    /// run other code.
    abandons: u32,
    pub(super) interrupts: u32,
    /// Of 1000 steps, in how many everything hangs for a long time.
    hangs: u32,
    /// Of 1000 steps, in how many another writer writes, or the stream is deleted and created again.
    others: u32,
}

impl AppendRun {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let threads = (0..rng.usize(1..20)).map(|_| Thread::new(rng.u32(1..8))).collect();
        let (once, patient) = (rng.bool(), rng.bool());
        Self {
            now: Instant::now(),
            group: match once {
                true => Group::exactly_once(seed.into(), patient),
                false => Group::default(),
            },
            once,
            sent: HashSet::new(),
            server: AppendServer::new(&mut rng),
            policy: RetryPolicy {
                max_retries: 2,
                initial_delay: Duration::from_millis(1),
                ..RetryPolicy::for_tests()
            },
            threads,
            tasks: Vec::new(),
            calls: Vec::new(),
            values: rng.u32(..3) == 0,
            in_memory: rng.u32(..5) == 0,
            abandons: [0, 10, 60][rng.usize(..3)],
            interrupts: [0, 0, 40][rng.usize(..3)],
            hangs: [0, 0, 20][rng.usize(..3)],
            others: [0, 0, 5][rng.usize(..3)],
            rng,
        }
    }

    /// Runs to the end, and returns how often each event happened.
    pub(super) fn run(mut self) -> BTreeMap<&'static str, u64> {
        for _ in 0..100_000 {
            if self.tasks.is_empty() && self.threads.iter().all(Thread::is_done) {
                self.server.deliver_late();
                self.check_end();
                return self.server.counts;
            }
            self.step();
        }
        panic!("deadlock: {:?}", self.tasks);
    }

    fn step(&mut self) {
        self.now += Duration::from_nanos(self.rng.u64(..4_000));
        if self.rng.u32(..1_000) < self.hangs {
            self.now += Duration::from_secs(self.rng.u64(..100));
        }
        let chance = self.rng.u32(..1_000);
        if chance < self.abandons {
            return self.abandon();
        }
        if chance < self.abandons + self.interrupts {
            return self.interrupt();
        }
        if self.once && self.rng.u32(..200) == 0 && self.server.forget(&mut self.rng) {
            self.count("producer forgotten");
        }
        if self.rng.u32(..1_000) < self.others {
            self.server.disturb(&mut self.rng);
        }
        if self.rng.u32(..30) == 0 {
            self.server.deliver_late();
        }
        let idle = |thread: &Thread| thread.call.is_none() && thread.appends > 0;
        let arriving: Vec<usize> = (0..self.threads.len()).filter(|n| idle(&self.threads[*n])).collect();
        let able: Vec<usize> = (0..self.tasks.len())
            .filter(|n| self.can_continue(&self.tasks[*n]))
            .collect();
        match self.rng.usize(..=arriving.len() + able.len()) {
            n if n < arriving.len() => self.arrive(arriving[n]),
            n if n < arriving.len() + able.len() => {
                let task = self.tasks.swap_remove(able[n - arriving.len()]);
                let task = self.continue_task(task);
                self.tasks.extend(task);
            }
            _ if arriving.is_empty() && able.is_empty() => self.wait(),
            _ => {}
        }
    }

    /// Advances the time to the end of the first delay.
    fn wait(&mut self) {
        let until = self.tasks.iter().filter_map(|task| match task.step {
            TaskStep::Waits(until) if task.busy.is_none() => Some(until),
            _ => None,
        });
        self.now = until.min().expect("deadlock");
    }

    fn arrive(&mut self, thread: usize) {
        let id = self.calls.len() as Id;
        let append = append(&mut self.rng, id);
        if append.closes {
            self.server.closing.insert(id);
        }
        if self.rng.u32(..30) == 0 {
            self.server.invalid.insert(id, [400, 413][self.rng.usize(..2)]);
        }
        let call = Rc::new(Call {
            id,
            thread,
            arrived: self.now,
            abandoned: false.into(),
            not_before: None.into(),
            outcome: None.into(),
        });
        self.calls.push(Rc::clone(&call));
        self.threads[thread].appends -= 1;
        self.threads[thread].call = Some(Rc::clone(&call));
        // A value callable makes the append.
        if self.once && self.values && self.rng.u32(..4) == 0 {
            let leader = self.group.arrive_apart();
            self.count("apart");
            return self.lead(leader, call, append);
        }
        match self.group.arrive() {
            Arrival::Follows(queue) => queue.push(append, SimulatedCaller(call), self.now),
            Arrival::Leads(leader) => self.lead(leader, call, append),
        }
    }

    fn lead(&mut self, leader: Leader, call: Rc<Call>, append: Append) {
        let work = if self.once {
            let batch = self
                .group
                .own_batch(append, SimulatedCaller(Rc::clone(&call)), self.now);
            TaskWork::OwnBatch { call, batch }
        } else {
            let tries = Tries::new(self.now, false);
            TaskWork::Own { call, append, tries }
        };
        self.start(leader, work);
    }

    fn start(&mut self, leader: Leader, work: TaskWork) {
        self.tasks.push(Task {
            leader,
            work,
            step: TaskStep::Ready,
            busy: None,
        });
    }

    pub(super) fn start_next(&mut self, next: Option<Leader>) {
        if let Some(leader) = next {
            self.count("new leader");
            self.start(leader, TaskWork::Loop(None));
        }
    }

    /// A caller abandons its append. If it is a leader, its own request is cancelled.
    fn abandon(&mut self) {
        let waiting: Vec<&mut Thread> = self.threads.iter_mut().filter(|thread| thread.call.is_some()).collect();
        let Some(call) = self.rng.choice(waiting).and_then(|thread| thread.call.take()) else {
            return;
        };
        call.abandoned.set(true);
        self.count("abandoned");
        let own = |task: &Task| task.work.own_call().is_some_and(|own| Rc::ptr_eq(own, &call));
        let Some(index) = self.tasks.iter().position(own) else {
            let out = |task: &Task| match &task.step {
                TaskStep::Requested { request, .. } => ids_of(request).contains(&call.id),
                _ => false,
            };
            if self.tasks.iter().any(out) {
                self.count("abandoned a shared request");
            }
            return;
        };
        let task = self.tasks.swap_remove(index);
        self.cancel(&task.step);
        let next = self.group.leader_ends(task.leader);
        self.start_next(next);
    }

    pub(super) fn cancel(&mut self, step: &TaskStep) {
        if let TaskStep::Requested { request, .. } = step {
            self.count("request cancelled");
            self.server.cancelled(&mut self.rng, request);
        }
    }

    /// The thread that carries out a leader's own request runs other code.
    fn interrupt(&mut self) {
        let own = |task: &Task| task.busy.is_none() && task.work.own_call().is_some();
        let Some(index) = self.tasks.iter().position(own) else {
            return;
        };
        self.count("busy");
        let busy = self.busy();
        self.tasks[index].busy = Some(busy);
        self.leader_waits(self.tasks[index].leader);
    }

    pub(super) fn leader_waits(&mut self, leader: Leader) {
        let next = self.group.leader_waits(leader);
        self.start_next(next);
    }

    /// Code of the application that may wait for a thread that appends.
    pub(super) fn busy(&mut self) -> ApplicationCode {
        if self.threads.len() > 40 || self.rng.bool() {
            return ApplicationCode(None);
        }
        self.count("nested");
        let appends = self.rng.u32(1..3);
        self.threads.push(Thread::new(appends));
        ApplicationCode(Some(self.threads.len() - 1))
    }

    pub(super) fn has_ended(&self, busy: ApplicationCode) -> bool {
        busy.0.is_none_or(|thread| self.threads[thread].is_done())
    }

    fn can_continue(&self, task: &Task) -> bool {
        if let Some(busy) = task.busy {
            return self.has_ended(busy);
        }
        is_abandoned(task)
            || match &task.step {
                TaskStep::Ready => true,
                TaskStep::Values { call, busy } => call.abandoned.get() || self.has_ended(*busy),
                TaskStep::Requested { application, .. } => application
                    .as_ref()
                    .is_none_or(|(call, busy)| call.abandoned.get() || self.has_ended(*busy)),
                TaskStep::Waits(until) => self.now >= *until,
            }
    }

    pub(super) fn count(&mut self, what: &'static str) {
        self.server.count(what);
    }
}

pub(super) fn is_abandoned(task: &Task) -> bool {
    match &task.work {
        TaskWork::Loop(Some(batch)) if !matches!(task.step, TaskStep::Ready) => {
            batch.followers().iter().all(|follower| follower.caller.has_abandoned())
        }
        _ => false,
    }
}

pub(super) fn ids_of(request: &Request) -> Vec<Id> {
    ids(request.body.as_ref().expect("an append has a body"))
}
