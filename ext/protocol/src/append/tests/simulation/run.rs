//! One run: threads append and leave, tasks go on in any order, and every promise is checked.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use fastrand::Rng;

use super::client::{Busy, Call, Id, Step, Task, Thread, Waiter, Work, append, ids};
use super::server::{Outcome, Server};
use crate::append::{AppendAction, Arrival, Caller, Group, Leader, LeaderAction};
use crate::error::{About, Error, Kind, Result};
use crate::operations;
use crate::request::{Context, Request, RequestFailure};
use crate::retry::policy::RetryPolicy;
use crate::retry::tries::{RetryDecision, Tries};

const URL: &str = "http://h/s";

pub struct Run {
    rng: Rng,
    now: Instant,
    pub(super) group: Group<Waiter>,
    pub(super) server: Server,
    policy: RetryPolicy,
    pub(super) threads: Vec<Thread>,
    pub(super) tasks: Vec<Task>,
    pub(super) calls: Vec<Rc<Call>>,
    /// Whether the application computes values for each request, and whether it responds to them itself.
    pub(super) values: bool,
    pub(super) in_memory: bool,
    /// Of 1000 steps, in how many a caller leaves, and in how many the thread of a request is busy with something else.
    leaves: u32,
    pub(super) interrupts: u32,
    happened: BTreeMap<&'static str, u64>,
}

impl Run {
    pub fn new(seed: u64) -> Run {
        let mut rng = Rng::with_seed(seed);
        let threads = (0..rng.usize(1..20)).map(|_| Thread::new(rng.u32(1..8))).collect();
        Run {
            now: Instant::now(),
            group: Group::default(),
            server: Server::new(&mut rng),
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
            leaves: [0, 10, 60][rng.usize(..3)],
            interrupts: [0, 0, 40][rng.usize(..3)],
            happened: BTreeMap::new(),
            rng,
        }
    }

    /// Runs to the end, and gives how often what happened.
    pub fn go(mut self) -> BTreeMap<&'static str, u64> {
        for _ in 0..100_000 {
            if self.tasks.is_empty() && self.threads.iter().all(Thread::is_done) {
                self.check_end();
                return self.happened;
            }
            self.step();
        }
        panic!("somebody waits for ever: {:?}", self.tasks);
    }

    fn step(&mut self) {
        self.now += Duration::from_nanos(self.rng.u64(..4_000));
        let chance = self.rng.u32(..1_000);
        if chance < self.leaves {
            return self.leave();
        }
        if chance < self.leaves + self.interrupts {
            return self.interrupt();
        }
        let idle = |thread: &Thread| thread.call.is_none() && thread.appends > 0;
        let arriving: Vec<usize> = (0..self.threads.len()).filter(|n| idle(&self.threads[*n])).collect();
        let able: Vec<usize> = (0..self.tasks.len())
            .filter(|n| self.can_go_on(&self.tasks[*n]))
            .collect();
        match self.rng.usize(..=arriving.len() + able.len()) {
            n if n < arriving.len() => self.arrive(arriving[n]),
            n if n < arriving.len() + able.len() => {
                let task = self.tasks.swap_remove(able[n - arriving.len()]);
                let task = self.go_on(task);
                self.tasks.extend(task);
            }
            _ if arriving.is_empty() && able.is_empty() => self.wait(),
            _ => {}
        }
    }

    /// Nothing can happen before the first pause is over.
    fn wait(&mut self) {
        let until = self.tasks.iter().filter_map(|task| match task.step {
            Step::Waits(until) if task.busy.is_none() => Some(until),
            _ => None,
        });
        self.now = until.min().expect("everybody waits for each other");
    }

    fn arrive(&mut self, thread: usize) {
        let id = self.calls.len() as Id;
        let append = append(&mut self.rng, id);
        if self.rng.u32(..30) == 0 {
            self.server.poison.insert(id, [400, 413][self.rng.usize(..2)]);
        }
        let call = Rc::new(Call {
            id,
            thread,
            has_seq: append.seq.is_some(),
            left: false.into(),
            outcome: None.into(),
        });
        self.calls.push(Rc::clone(&call));
        self.threads[thread].appends -= 1;
        self.threads[thread].call = Some(Rc::clone(&call));
        match self.group.arrive() {
            Arrival::Follows(queue) => queue.push(append, Waiter(call)),
            Arrival::Leads(leader) => {
                let tries = Tries::new(false);
                self.start(leader, Work::Own { call, append, tries });
            }
        }
    }

    fn start(&mut self, leader: Leader, work: Work) {
        self.tasks.push(Task {
            leader,
            work,
            step: Step::Ready,
            busy: None,
        });
    }

    fn start_next(&mut self, next: Option<Leader>) {
        if let Some(leader) = next {
            self.count("new leader");
            self.start(leader, Work::Loop(None));
        }
    }

    /// A caller is interrupted. Its own request is cancelled with it.
    fn leave(&mut self) {
        let waiting: Vec<&mut Thread> = self.threads.iter_mut().filter(|thread| thread.call.is_some()).collect();
        let Some(call) = self.rng.choice(waiting).and_then(|thread| thread.call.take()) else {
            return;
        };
        call.left.set(true);
        self.count("left");
        let own = |task: &Task| matches!(&task.work, Work::Own { call: own, .. } if Rc::ptr_eq(own, &call));
        let Some(index) = self.tasks.iter().position(own) else {
            let out = |task: &Task| match &task.step {
                Step::Requested { request, .. } => ids_of(request).contains(&call.id),
                _ => false,
            };
            if self.tasks.iter().any(out) {
                self.count("left a shared request");
            }
            return;
        };
        let task = self.tasks.swap_remove(index);
        self.cancel(&task.step);
        let next = self.group.leader_ends(task.leader);
        self.start_next(next);
    }

    fn cancel(&mut self, step: &Step) {
        if let Step::Requested { request, .. } = step {
            self.count("request cancelled");
            self.server.cancelled(&mut self.rng, request);
        }
    }

    /// The thread that carries out a request turns to something else.
    fn interrupt(&mut self) {
        let own = |task: &Task| task.busy.is_none() && matches!(task.work, Work::Own { .. });
        let Some(index) = self.tasks.iter().position(own) else {
            return;
        };
        self.count("busy");
        let busy = self.busy();
        self.tasks[index].busy = Some(busy);
        self.leader_waits(self.tasks[index].leader);
    }

    fn leader_waits(&mut self, leader: Leader) {
        let next = self.group.leader_waits(leader);
        self.start_next(next);
    }

    /// Code of the application's, which may wait for a thread that appends.
    fn busy(&mut self) -> Busy {
        if self.threads.len() > 40 || self.rng.bool() {
            return Busy(None);
        }
        self.count("nested");
        let appends = self.rng.u32(1..3);
        self.threads.push(Thread::new(appends));
        Busy(Some(self.threads.len() - 1))
    }

    fn is_back(&self, busy: Busy) -> bool {
        busy.0.is_none_or(|thread| self.threads[thread].is_done())
    }

    fn can_go_on(&self, task: &Task) -> bool {
        if let Some(busy) = task.busy {
            return self.is_back(busy);
        }
        is_abandoned(task)
            || match &task.step {
                Step::Ready => true,
                Step::Values { call, busy } => call.left.get() || self.is_back(*busy),
                Step::Requested { application, .. } => application
                    .as_ref()
                    .is_none_or(|(call, busy)| call.left.get() || self.is_back(*busy)),
                Step::Waits(until) => self.now >= *until,
            }
    }

    /// A task goes on; `None` if that was its end.
    fn go_on(&mut self, mut task: Task) -> Option<Task> {
        if task.busy.take().is_some() {
            self.group.leader_continues(task.leader);
            return Some(task);
        }
        let abandoned = is_abandoned(&task) && self.rng.bool();
        let step = std::mem::replace(&mut task.step, Step::Ready);
        if abandoned {
            self.cancel(&step);
            return Some(task);
        }
        match step {
            Step::Ready => self.begin(task),
            Step::Waits(until) => {
                // Here because its callers have left, perhaps, but its pause goes on.
                task.step = if self.now < until {
                    Step::Waits(until)
                } else {
                    Step::Ready
                };
                Some(task)
            }
            Step::Values { call, .. } => {
                let values = self.values_of(&call);
                self.group.leader_continues(task.leader);
                self.take_values(task, &call, values)
            }
            Step::Requested { request, application } => {
                let outcome = match &application {
                    Some((call, _)) if call.left.get() => Err(RequestFailure::Final(error(Kind::Abandoned))),
                    _ => self.server.exchange(&mut self.rng, &request),
                };
                if application.is_some() {
                    self.group.leader_continues(task.leader);
                }
                self.take_outcome(task, &request, outcome)
            }
        }
    }

    fn values_of(&mut self, call: &Call) -> Result<()> {
        if call.left.get() && self.rng.bool() {
            return Err(error(Kind::Abandoned));
        }
        match self.rng.u32(..20) {
            0 => Err(error(Kind::Parse)),
            _ => Ok(()),
        }
    }

    fn begin(&mut self, mut task: Task) -> Option<Task> {
        let first = match &mut task.work {
            Work::Own { call, .. } => Rc::clone(call),
            Work::Loop(current @ None) => {
                match self.group.poll_next(task.leader, self.now) {
                    LeaderAction::Send(batch) => *current = Some(batch),
                    LeaderAction::Gather => self.count("gathered"),
                    LeaderAction::End => return None,
                }
                return Some(task);
            }
            Work::Loop(current @ Some(_)) => match current.as_mut()?.poll_action(self.now) {
                AppendAction::Try => Rc::clone(&current.as_ref()?.followers().first()?.caller.0),
                AppendAction::Wait(until) => {
                    task.step = Step::Waits(until);
                    return Some(task);
                }
                AppendAction::Report { followers, outcome, .. } => {
                    for follower in followers {
                        self.settle(&follower.caller.0, outcome.clone());
                    }
                    return Some(task);
                }
                AppendAction::End => {
                    *current = None;
                    return Some(task);
                }
            },
        };
        if !self.values {
            return self.take_values(task, &first, Ok(()));
        }
        assert!(!first.left.get(), "a caller that has left computes values");
        self.leader_waits(task.leader);
        let busy = self.busy();
        task.step = Step::Values { call: first, busy };
        Some(task)
    }

    fn take_values(&mut self, mut task: Task, first: &Rc<Call>, values: Result<()>) -> Option<Task> {
        if values.is_err() {
            self.count("values failed");
        }
        let request = match &mut task.work {
            Work::Own { call, append, .. } => match values {
                Ok(()) => append.request(URL).unwrap(),
                Err(error) => {
                    let call = Rc::clone(call);
                    return self.end(&task, &call, Err(error));
                }
            },
            Work::Loop(batch) => {
                let batch = batch.as_mut()?;
                if batch.handle_values(values).is_none() {
                    if first.left.get() {
                        self.count("asked the next");
                    }
                    return Some(task);
                }
                batch.request(URL).expect("it can be sent")
            }
        };
        self.check_request(&request);
        let mut application = None;
        if self.in_memory {
            self.leader_waits(task.leader);
            application = Some((Rc::clone(first), self.busy()));
        }
        task.step = Step::Requested { request, application };
        Some(task)
    }

    fn take_outcome(&mut self, mut task: Task, request: &Request, outcome: Outcome) -> Option<Task> {
        let (operation, url) = (request.operation, URL);
        let policy = self.policy.clone();
        let context = Context {
            about: About { operation, url },
            policy: &policy,
            now: SystemTime::UNIX_EPOCH,
        };
        let jitter = self.rng.f64();
        match &mut task.work {
            Work::Loop(batch) => {
                let batch = batch.as_mut()?;
                batch.handle_outcome(self.now, &context, request.repeat, outcome, jitter);
                Some(task)
            }
            Work::Own { call, tries, .. } => match tries.handle_outcome(&context, request.repeat, outcome, jitter) {
                RetryDecision::RetryAfter(delay) => {
                    task.step = Step::Waits(self.now + delay);
                    Some(task)
                }
                RetryDecision::Done(outcome) => {
                    let call = Rc::clone(call);
                    self.end(
                        &task,
                        &call,
                        outcome.and_then(|answer| operations::appended(answer, &context)),
                    )
                }
            },
        }
    }

    /// A leader's own request has ended.
    fn end(&mut self, task: &Task, call: &Call, outcome: Result<String>) -> Option<Task> {
        self.settle(call, outcome);
        let next = self.group.leader_ends(task.leader);
        self.start_next(next);
        None
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.happened.entry(what).or_default() += 1;
    }
}

fn is_abandoned(task: &Task) -> bool {
    match &task.work {
        Work::Loop(Some(batch)) if !matches!(task.step, Step::Ready) => {
            batch.followers().iter().all(|follower| follower.caller.has_abandoned())
        }
        _ => false,
    }
}

pub(super) fn ids_of(request: &Request) -> Vec<Id> {
    ids(request.body.as_ref().expect("an append has a body"))
}

fn error(kind: Kind) -> Error {
    Error::plain(kind, "a fault".to_owned())
}
