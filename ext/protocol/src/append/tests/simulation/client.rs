//! The application's threads, and the tasks that carry out their appends.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use fastrand::Rng;

use crate::append::{Append, AppendBatch, Caller, Leader};
use crate::error::Result;
use crate::operations::AppendSuccess;
use crate::request::Request;
use crate::retry::tries::Tries;

/// The number of an append, counted from 0 in the order of the calls.
pub(super) type Id = u64;

/// A call that waits for its append's outcome.
#[derive(Debug)]
pub(super) struct Call {
    pub id: Id,
    pub thread: usize,
    pub arrived: Instant,
    pub abandoned: Cell<bool>,
    /// The time before which the server does not want the append again.
    pub not_before: Cell<Option<Instant>>,
    pub outcome: RefCell<Option<Result<AppendSuccess>>>,
}

#[derive(Clone, Debug)]
pub(super) struct SimulatedCaller(pub Rc<Call>);

impl Caller for SimulatedCaller {
    fn has_abandoned(&self) -> bool {
        self.0.abandoned.get()
    }
}

/// A thread of the application.
#[derive(Debug)]
pub(super) struct Thread {
    /// How many appends it has yet to make.
    pub appends: u32,
    pub call: Option<Rc<Call>>,
}

impl Thread {
    pub(super) fn new(appends: u32) -> Self {
        Self { appends, call: None }
    }

    pub(super) fn is_done(&self) -> bool {
        self.appends == 0 && self.call.is_none()
    }
}

/// A task of a leader.
#[derive(Debug)]
pub(super) struct Task {
    pub leader: Leader,
    pub work: TaskWork,
    pub step: TaskStep,
    /// The code that its thread runs after an interrupt.
    pub busy: Option<ApplicationCode>,
}

#[derive(Debug)]
pub(super) enum TaskWork {
    /// The leader's own request.
    Own {
        call: Rc<Call>,
        append: Append,
        tries: Tries,
    },
    /// The leader's own request with `exactly_once`.
    OwnBatch {
        call: Rc<Call>,
        batch: AppendBatch<SimulatedCaller>,
    },
    /// The loop that sends the followers' appends.
    Loop(Option<AppendBatch<SimulatedCaller>>),
}

impl TaskWork {
    /// The call of a leader's own request.
    pub(super) fn own_call(&self) -> Option<&Rc<Call>> {
        match self {
            Self::Own { call, .. } | Self::OwnBatch { call, .. } => Some(call),
            Self::Loop(_) => None,
        }
    }

    pub(super) fn batch(&mut self) -> Option<&mut AppendBatch<SimulatedCaller>> {
        match self {
            Self::Own { .. } => None,
            Self::OwnBatch { batch, .. } => Some(batch),
            Self::Loop(batch) => batch.as_mut(),
        }
    }
}

/// The state of a task.
#[derive(Debug)]
pub(super) enum TaskStep {
    /// It can continue.
    Ready,
    /// A value callable runs on the thread of `call`.
    Values { call: Rc<Call>, busy: ApplicationCode },
    /// A request is in flight. With an in-memory transport, the application executes it on the thread of this call.
    Requested {
        request: Request,
        application: Option<(Rc<Call>, ApplicationCode)>,
    },
    /// It waits until this time.
    Waits(Instant),
}

/// Code of the application. It ends when the thread with this index has made its appends, or at any time.
#[derive(Clone, Copy, Debug)]
pub(super) struct ApplicationCode(pub Option<usize>);

/// A random kind of append whose data is its number.
pub(super) fn append(rng: &mut Rng, id: Id) -> Append {
    let kind = rng.u32(..12);
    let closes = rng.u32(..200) == 0;
    let json = kind > 1;
    Append {
        data: Bytes::from(if json { format!("{id}") } else { format!("{id};") }),
        content_type: if json { "application/json" } else { "text/plain" }.into(),
        json,
        seq: (kind == 2 && !closes).then(|| format!("{id:08}")),
        alone: kind == 3,
        closes,
    }
}

/// The numbers of the appends in a body.
pub(super) fn ids(body: &Bytes) -> Vec<Id> {
    let text = std::str::from_utf8(body).unwrap();
    let separator = if text.starts_with('[') { ',' } else { ';' };
    text.trim_matches(|c| matches!(c, '[' | ']' | ';'))
        .split(separator)
        .map(|id| id.parse().unwrap())
        .collect()
}
