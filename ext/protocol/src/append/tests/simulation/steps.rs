//! The steps of the tasks: what a leader does with its own append, and with those of its followers.

use std::rc::Rc;
use std::time::SystemTime;

use super::client::{Call, Task, TaskStep, TaskWork};
use super::run::{AppendRun, ids_of, is_abandoned};
use super::server::RequestResult;
use crate::append::{AppendAction, LeaderAction};
use crate::error::{About, Error, Kind, Result};
use crate::meaning::retry_after;
use crate::operations::{self, AppendSuccess};
use crate::request::{Context, Request, RequestFailure};
use crate::retry::tries::RetryDecision;

const URL: &str = "http://h/s";

impl AppendRun {
    /// Continues a task. `None` if the task has ended.
    pub(super) fn continue_task(&mut self, mut task: Task) -> Option<Task> {
        if task.busy.take().is_some() {
            self.group.leader_continues(task.leader);
            return Some(task);
        }
        let abandoned = is_abandoned(&task) && self.rng.bool();
        let step = std::mem::replace(&mut task.step, TaskStep::Ready);
        if abandoned {
            self.cancel(&step);
            return Some(task);
        }
        match step {
            TaskStep::Ready => self.begin(task),
            TaskStep::Waits(until) => {
                // The callers may have abandoned their appends before the delay has passed.
                task.step = if self.now < until {
                    TaskStep::Waits(until)
                } else {
                    TaskStep::Ready
                };
                Some(task)
            }
            TaskStep::Values { call, .. } => {
                let values = self.values_of(&call);
                self.group.leader_continues(task.leader);
                self.take_values(task, &call, values)
            }
            TaskStep::Requested { request, application } => {
                let outcome = match &application {
                    Some((call, _)) if call.abandoned.get() => {
                        // With `exactly_once` it does not matter whether the application has executed it.
                        if self.once {
                            self.server.cancelled(&mut self.rng, &request);
                        }
                        Err(RequestFailure::Final(error(Kind::Abandoned)))
                    }
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
        if call.abandoned.get() && self.rng.bool() {
            return Err(error(Kind::Abandoned));
        }
        match self.rng.u32(..20) {
            0 => Err(error(Kind::Parse)),
            _ => Ok(()),
        }
    }

    fn begin(&mut self, mut task: Task) -> Option<Task> {
        if let TaskWork::Loop(current @ None) = &mut task.work {
            match self.group.poll_next(task.leader, self.now) {
                LeaderAction::Send(batch) => *current = Some(batch),
                LeaderAction::Gather => self.count("gathered"),
                LeaderAction::End => return None,
            }
            return Some(task);
        }
        let action = task.work.batch().map(|batch| batch.poll_action(self.now));
        match action {
            None | Some(AppendAction::Try) => {}
            Some(AppendAction::Wait(until)) => {
                task.step = TaskStep::Waits(until);
                return Some(task);
            }
            Some(AppendAction::Report { followers, outcome, .. }) => {
                for follower in followers {
                    self.settle(&follower.caller.0, outcome.clone());
                }
                return Some(task);
            }
            Some(AppendAction::End) => return self.end_batch(task),
        }
        let first = match task.work.batch() {
            Some(batch) => Rc::clone(&batch.followers().first()?.caller.0),
            None => Rc::clone(task.work.own_call()?),
        };
        if !self.values {
            return self.take_values(task, &first, Ok(()));
        }
        assert!(
            !first.abandoned.get(),
            "a caller that abandoned its append computes values"
        );
        self.leader_waits(task.leader);
        let busy = self.busy();
        task.step = TaskStep::Values { call: first, busy };
        Some(task)
    }

    fn take_values(&mut self, mut task: Task, first: &Rc<Call>, values: Result<()>) -> Option<Task> {
        if values.is_err() {
            self.count("values failed");
        }
        let request = match &mut task.work {
            TaskWork::Own { call, append, tries } => match values {
                Ok(()) => append.request(URL).unwrap(),
                Err(error) => {
                    let error = error.after_tries(tries.so_far(self.now));
                    let call = Rc::clone(call);
                    return self.end(&task, &call, Err(error));
                }
            },
            work => {
                let batch = work.batch()?;
                if batch.handle_values(self.now, values).is_none() {
                    if first.abandoned.get() {
                        self.count("next caller computed values");
                    }
                    return Some(task);
                }
                let Some(request) = batch.request(self.now, URL) else {
                    self.count("not sent in time");
                    return Some(task);
                };
                request
            }
        };
        self.check_request(&request);
        let mut application = None;
        if self.in_memory {
            self.leader_waits(task.leader);
            application = Some((Rc::clone(first), self.busy()));
        }
        task.step = TaskStep::Requested { request, application };
        Some(task)
    }

    fn take_outcome(&mut self, mut task: Task, request: &Request, outcome: RequestResult) -> Option<Task> {
        let (operation, url) = (request.operation, URL);
        let policy = self.policy.clone();
        let context = Context {
            about: About { operation, url },
            policy: &policy,
            now: SystemTime::UNIX_EPOCH,
        };
        let jitter = self.rng.f64();
        let response = outcome.as_ref().ok();
        let delay = response.and_then(|response| retry_after(&response.headers, context.now));
        for id in ids_of(request) {
            let not_before = delay.map(|delay| self.now + delay);
            self.calls[id as usize].not_before.set(not_before);
        }
        match &mut task.work {
            TaskWork::Own { call, tries, .. } => {
                match tries.handle_outcome(self.now, &context, request.repeat, outcome, jitter) {
                    RetryDecision::RetryAfter { delay, .. } => {
                        task.step = TaskStep::Waits(self.now + delay);
                        Some(task)
                    }
                    RetryDecision::Done(outcome) => {
                        let call = Rc::clone(call);
                        self.end(
                            &task,
                            &call,
                            outcome.and_then(|response| operations::appended(response, &context)),
                        )
                    }
                }
            }
            work => {
                let batch = work.batch()?;
                batch.handle_outcome(self.now, &context, request.repeat, outcome, jitter);
                Some(task)
            }
        }
    }

    fn end_batch(&mut self, mut task: Task) -> Option<Task> {
        match task.work {
            TaskWork::Loop(batch) => {
                batch.into_iter().for_each(|batch| self.group.batch_ends(batch));
                task.work = TaskWork::Loop(None);
                Some(task)
            }
            TaskWork::OwnBatch { batch, .. } => {
                self.group.batch_ends(batch);
                let next = self.group.leader_ends(task.leader);
                self.start_next(next);
                None
            }
            TaskWork::Own { .. } => None,
        }
    }

    /// A leader's own request has ended.
    fn end(&mut self, task: &Task, call: &Call, outcome: Result<AppendSuccess>) -> Option<Task> {
        self.settle(call, outcome);
        let next = self.group.leader_ends(task.leader);
        self.start_next(next);
        None
    }
}

fn error(kind: Kind) -> Error {
    Error::plain(kind, "a fault".to_owned())
}
