//! The application's threads, and what carries out their appends.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use fastrand::Rng;

use crate::append::{Append, AppendBatch, Caller, Leader};
use crate::error::Result;
use crate::request::Request;
use crate::retry::tries::Tries;

/// Which append it is: in the order in which they are made.
pub type Id = u64;

/// A call that waits for its append's outcome.
#[derive(Debug)]
pub struct Call {
    pub id: Id,
    pub thread: usize,
    pub has_seq: bool,
    pub left: Cell<bool>,
    pub outcome: RefCell<Option<Result<String>>>,
}

#[derive(Clone, Debug)]
pub struct Waiter(pub Rc<Call>);

impl Caller for Waiter {
    fn has_abandoned(&self) -> bool {
        self.0.left.get()
    }
}

/// A thread of the application's.
#[derive(Debug)]
pub struct Thread {
    /// How many appends it is still to make.
    pub appends: u32,
    pub call: Option<Rc<Call>>,
}

impl Thread {
    pub fn new(appends: u32) -> Thread {
        Thread { appends, call: None }
    }

    pub fn is_done(&self) -> bool {
        self.appends == 0 && self.call.is_none()
    }
}

/// What carries out appends: the leader's own request, or the loop of one that sends what followed.
#[derive(Debug)]
pub struct Task {
    pub leader: Leader,
    pub work: Work,
    pub step: Step,
    /// The thread that carries it out is busy with something else.
    pub busy: Option<Busy>,
}

#[derive(Debug)]
pub enum Work {
    Own {
        call: Rc<Call>,
        append: Append,
        tries: Tries,
    },
    Loop(Option<AppendBatch<Waiter>>),
}

/// What a task does.
#[derive(Debug)]
pub enum Step {
    /// It is about to go on.
    Ready,
    /// The application computes values for the call.
    Values { call: Rc<Call>, busy: Busy },
    /// A request is out. The application responds to it, for this call, if no server does.
    Requested {
        request: Request,
        application: Option<(Rc<Call>, Busy)>,
    },
    /// It waits for this moment.
    Waits(Instant),
}

/// Code of the application's runs, until the thread it waits for has made its appends.
#[derive(Clone, Copy, Debug)]
pub struct Busy(pub Option<usize>);

/// What an append holds, and of what kind it is.
pub fn append(rng: &mut Rng, id: Id) -> Append {
    let kind = rng.u32(..12);
    let json = kind > 1;
    Append {
        data: Bytes::from(if json { format!("{id}") } else { format!("{id};") }),
        content_type: if json { "application/json" } else { "text/plain" }.into(),
        json,
        seq: (kind == 2).then(|| format!("{id:08}")),
    }
}

/// The appends in a request.
pub fn ids(body: &Bytes) -> Vec<Id> {
    let text = std::str::from_utf8(body).unwrap();
    let separator = if text.starts_with('[') { ',' } else { ';' };
    text.trim_matches(|c| matches!(c, '[' | ']' | ';'))
        .split(separator)
        .map(|id| id.parse().unwrap())
        .collect()
}
