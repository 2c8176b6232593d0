//! What has to hold in every run.

use std::collections::BTreeMap;

use super::client::{Call, Id, Step, Task};
use super::run::{Run, ids_of};
use crate::append::Arrival;
use crate::error::{Error, Kind, Result};
use crate::request::Request;

impl Run {
    /// A request is about to go out.
    pub(super) fn check_request(&mut self, request: &Request) {
        let sent = ids_of(request);
        for id in &sent {
            assert!(
                !self.calls[*id as usize].left.get(),
                "{id} is sent, and its caller has left"
            );
            let call = &self.calls[*id as usize];
            assert!(
                call.outcome.borrow().is_none(),
                "{id} is sent after its outcome was told"
            );
        }
        let is_out = |task: &Task| matches!(task.step, Step::Requested { .. });
        if !self.values && !self.in_memory && self.interrupts == 0 {
            assert!(!self.tasks.iter().any(is_out), "two requests are out");
        }
        if sent.len() > 1 {
            self.count("shared");
        }
        if sent.len() > 5 {
            self.count("many");
        }
    }

    pub(super) fn settle(&mut self, call: &Call, outcome: Result<String>) {
        if call.left.get() {
            return;
        }
        let what = match &outcome {
            Ok(_) => "stored",
            Err(error) if error.outcome_unknown() => "unknown",
            Err(error) if refused(error) => "refused alone",
            Err(_) => "given up",
        };
        self.count(what);
        self.threads[call.thread].call = None;
        let before = call.outcome.replace(Some(outcome));
        assert!(before.is_none(), "{} has two outcomes", call.id);
        self.check_outcome(call);
    }

    /// Whether what a caller was told is true.
    fn check_outcome(&self, call: &Call) {
        let id = &call.id;
        let times = self.server.log.iter().filter(|stored| *stored == id).count();
        assert!(times <= 1, "{id} is stored {times} times");
        let outcome = call.outcome.borrow();
        match outcome.as_ref() {
            None => assert!(call.left.get(), "{id} has no outcome"),
            Some(Ok(_)) => assert_eq!(times, 1, "{id} is not stored"),
            Some(Err(error)) => {
                // One with a seq may be repeated after a lost response, and what the last try met is what is told.
                let may_be_stored = error.outcome_unknown() || call.has_seq;
                assert!(times == 0 || may_be_stored, "{id} is stored: {error}");
                let of_another = matches!(error.kind(), Kind::Abandoned);
                assert!(!of_another, "{id} is told that another caller has left");
                let poisonous = self.server.poison.contains_key(id);
                assert!(poisonous || !refused(error), "{id} is refused for another: {error}");
            }
        }
    }

    pub(super) fn check_end(&mut self) {
        self.calls.iter().for_each(|call| self.check_outcome(call));
        let mut last: BTreeMap<usize, Id> = BTreeMap::new();
        for id in &self.server.log {
            let call = &self.calls[*id as usize];
            // What a caller has left may be stored whenever the request arrives.
            if !call.left.get() {
                let before = last.insert(call.thread, *id);
                assert!(before.is_none_or(|before| before < *id), "{id} is stored out of order");
            }
        }
        assert!(matches!(self.group.arrive(), Arrival::Leads(_)), "somebody still leads");
        let group = format!("{:?}", self.group);
        assert!(group.contains("waiting: []") && group.contains("paused: []"), "{group}");
    }
}

fn refused(error: &Error) -> bool {
    matches!(error.kind(), Kind::BadRequest | Kind::PayloadTooLarge)
}
