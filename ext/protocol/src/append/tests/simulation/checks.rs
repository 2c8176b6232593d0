//! The properties that every run is checked for.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::client::{Call, Id, Task, TaskStep};
use super::run::{AppendRun, ids_of};
use crate::append::Arrival;
use crate::append::once::DELIVERY_TIMEOUT;
use crate::error::{Error, Kind, Result};
use crate::operations::AppendSuccess;
use crate::protocol::PRODUCER_ID;
use crate::request::Request;

impl AppendRun {
    /// Checks a request before it is sent.
    pub(super) fn check_request(&mut self, request: &Request) {
        let sent = ids_of(request);
        for id in &sent {
            // A request that the server may have stored does not change.
            let is_repeated = self.once && self.sent.contains(id);
            if is_repeated && self.calls[*id as usize].abandoned.get() {
                self.count("abandoned and repeated");
            }
            assert!(
                is_repeated || !self.calls[*id as usize].abandoned.get(),
                "{id} is sent although its caller abandoned it"
            );
            // Nor does it change when the time of one of its appends has passed.
            let outcome = Rc::clone(&self.calls[*id as usize]);
            let outcome = outcome.outcome.borrow();
            let is_unknown = |outcome: &Result<_>| outcome.as_ref().is_err_and(Error::outcome_unknown);
            if is_repeated && outcome.as_ref().is_some_and(is_unknown) {
                self.count("late and repeated");
            }
            assert!(
                outcome
                    .as_ref()
                    .is_none_or(|outcome| is_repeated && is_unknown(outcome)),
                "{id} is sent although it has an outcome"
            );
        }
        let calls = || sent.iter().map(|id| &self.calls[*id as usize]);
        // The last try is made when the time of the newest append ends.
        let is_last = self.once && calls().all(|call| self.now >= call.arrived + DELIVERY_TIMEOUT);
        if let Some(not_before) = calls().filter_map(|call| call.not_before.get()).max() {
            assert!(self.now >= not_before || is_last, "sent before the time of Retry-After");
            self.count("waited as requested");
        }
        let is_out = |task: &Task| matches!(task.step, TaskStep::Requested { .. });
        if !self.values && !self.in_memory && self.interrupts == 0 {
            assert!(!self.tasks.iter().any(is_out), "two requests are in flight");
        }
        let producer = request.headers.get(PRODUCER_ID);
        assert_eq!(producer.is_some(), self.once);
        for task in &self.tasks {
            if let TaskStep::Requested { request: other, .. } = &task.step {
                let is_used = producer.is_some() && other.headers.get(PRODUCER_ID) == producer;
                assert!(!is_used, "two requests with one producer id are in flight");
            }
        }
        self.sent.extend(&sent);
        if sent.len() > 1 {
            self.count("shared");
        }
        if sent.len() > 5 {
            self.count("many");
        }
    }

    pub(super) fn settle(&mut self, call: &Call, outcome: Result<AppendSuccess>) {
        if call.abandoned.get() {
            return;
        }
        if self.once && outcome.as_ref().is_err_and(Error::outcome_unknown) {
            self.count("unknown although numbered");
        }
        let result = match &outcome {
            Ok(AppendSuccess { duplicate: true, .. }) => "duplicate",
            Ok(_) if self.server.closing.contains(&call.id) => "stored and closed",
            Ok(_) => "stored",
            Err(error) if matches!(error.kind(), Kind::StreamClosed { .. }) => match error.outcome_unknown() {
                true => "closed, and unknown",
                false => "closed",
            },
            Err(error) if error.outcome_unknown() => "unknown",
            Err(error) if rejected(error) => "rejected alone",
            Err(_) => "given up",
        };
        self.count(result);
        self.threads[call.thread].call = None;
        let before = call.outcome.replace(Some(outcome));
        assert!(before.is_none(), "{} has two outcomes", call.id);
        self.check_outcome(call);
    }

    /// Checks the outcome that a caller got.
    fn check_outcome(&self, call: &Call) {
        let id = &call.id;
        let times = self.server.log.iter().filter(|stored| *stored == id).count();
        assert!(times <= 1, "{id} is stored {times} times");
        let deleted = self.server.deleted.contains(id);
        let outcome = call.outcome.borrow();
        match outcome.as_ref() {
            None => assert!(call.abandoned.get(), "{id} has no outcome"),
            Some(Ok(_)) => assert!(times == 1 || deleted, "{id} is not stored"),
            Some(Err(error)) => {
                let is_stored = times > 0 || deleted;
                assert!(!is_stored || error.outcome_unknown(), "{id} is stored: {error}");
                let from_another_caller = matches!(error.kind(), Kind::Abandoned);
                assert!(
                    !from_another_caller,
                    "{id} failed because another caller abandoned its append"
                );
                let has_lost_id = matches!(error.kind(), Kind::SequenceGap { .. } | Kind::StaleEpoch { .. });
                assert!(
                    !has_lost_id || error.outcome_unknown(),
                    "{id} failed because the server has forgotten the producer: {error}"
                );
                let is_invalid = self.server.invalid.contains_key(id);
                assert!(
                    is_invalid || !rejected(error) || error.outcome_unknown(),
                    "{id} is rejected because of another append: {error}"
                );
            }
        }
    }

    pub(super) fn check_end(&mut self) {
        self.calls.iter().for_each(|call| self.check_outcome(call));
        let mut last: BTreeMap<usize, Id> = BTreeMap::new();
        for id in &self.server.log {
            let call = &self.calls[*id as usize];
            // The request of an abandoned append may arrive at any time, and so may that of an append that has failed
            // with an unknown outcome.
            let is_stored = call.outcome.borrow().as_ref().is_some_and(Result::is_ok);
            if is_stored && !call.abandoned.get() {
                let before = last.insert(call.thread, *id);
                assert!(before.is_none_or(|before| before < *id), "{id} is stored out of order");
            }
        }
        assert!(
            matches!(self.group.arrive(), Arrival::Leads(_)),
            "there is still a leader"
        );
        let group = format!("{:?}", self.group);
        assert!(group.contains("waiting: []") && group.contains("paused: []"), "{group}");
    }
}

fn rejected(error: &Error) -> bool {
    matches!(error.kind(), Kind::BadRequest | Kind::PayloadTooLarge)
}
