//! Appends that share a request: how often it is sent, and what each of them is told.

use std::time::{Duration, Instant};

use super::message::Append;
use crate::error::{Error, Kind, Result};
use crate::operations;
use crate::request::{Context, Repeat, Request, RequestFailure, Response};
use crate::retry::tries::{RetryDecision, Tries};

/// From this many appends in one request on, putting their threads to sleep and waking them costs more than the request.
pub(super) const MANY: usize = 6;
/// The threads of many appends wait awake for the next request if this one took less time.
const SOON: Duration = Duration::from_micros(500);

/// A clock cannot count much further on some systems.
const LONGEST_WAIT: Duration = Duration::from_secs(86_400 * 365);

/// Who waits for an append's outcome.
pub trait Caller {
    /// Whether the caller waits no more. A caller that has left does not come back.
    fn has_abandoned(&self) -> bool;
}

/// An append that shares a request.
#[derive(Debug)]
pub struct Follower<C> {
    /// The append.
    pub append: Append,
    /// Who waits for its outcome.
    pub caller: C,
}

/// What to do next with a batch.
#[derive(Debug)]
pub enum AppendAction<C> {
    /// Make a try. Have the caller of the first of [`AppendBatch::followers`] compute the values, and give them to
    /// [`AppendBatch::handle_values`]. If it gives them back, send [`AppendBatch::request`] with them, and give what comes of it to
    /// [`AppendBatch::handle_outcome`]. If one of them gives nothing, the try has ended.
    Try,
    /// Poll again at this moment.
    Wait(Instant),
    /// Tell these callers this outcome, then poll again.
    Report {
        /// The appends that were in the request.
        followers: Vec<Follower<C>>,
        /// The new tail, or why there is none.
        outcome: Result<String>,
        /// Whether the outcome of the next batch is expected so soon that threads had better wait for it awake.
        soon: bool,
    },
    /// Nothing more: every caller was told, or has left.
    End,
}

/// Appends that share a request, in their order.
///
/// Do what [`AppendBatch::poll_action`] says, and poll again when that has ended, until it says [`AppendAction::End`]. When every
/// caller has left, cancel what is under way and poll again.
///
/// Each try has the appends whose callers still wait. If the server refuses a request of several appends, having stored
/// nothing of it, they go out again in halves: one append may be at fault, or all together are too large.
#[derive(Debug)]
pub struct AppendBatch<C> {
    /// The appends of the request that is to go out, or is out.
    followers: Vec<Follower<C>>,
    /// Appends of a refused request that go out after these. The next ones are last.
    later: Vec<Vec<Follower<C>>>,
    state: RequestState,
    tries: Tries,
    /// When work on the request began.
    since: Option<Instant>,
}

#[derive(Debug)]
enum RequestState {
    /// There is no outcome yet. The next try is not to begin before this moment.
    Pending(Option<Instant>),
    /// The request has ended so.
    Done(Result<String>),
}

impl<C: Caller> AppendBatch<C> {
    /// A batch of appends that can share a request.
    pub(super) fn new(followers: Vec<Follower<C>>) -> AppendBatch<C> {
        AppendBatch {
            followers,
            later: Vec::new(),
            state: RequestState::Pending(None),
            tries: Tries::new(false),
            since: None,
        }
    }

    /// What to do next.
    pub fn poll_action(&mut self, now: Instant) -> AppendAction<C> {
        loop {
            if self.first_has_abandoned() && matches!(self.state, RequestState::Pending(_)) {
                self.drop_abandoned();
            }
            if self.followers.is_empty() {
                match self.later.pop() {
                    None => return AppendAction::End,
                    Some(followers) => self.begin(followers),
                }
                continue;
            }
            let since = *self.since.get_or_insert(now);
            return match std::mem::replace(&mut self.state, RequestState::Pending(None)) {
                RequestState::Done(outcome) => AppendAction::Report {
                    soon: self.followers.len() >= MANY && now.saturating_duration_since(since) < SOON,
                    followers: std::mem::take(&mut self.followers),
                    outcome,
                },
                RequestState::Pending(Some(until)) if now < until => {
                    self.state = RequestState::Pending(Some(until));
                    AppendAction::Wait(until)
                }
                RequestState::Pending(_) => AppendAction::Try,
            };
        }
    }

    /// The appends of the next request, or of the one that is out. The caller of the first one computes its values.
    pub fn followers(&self) -> &[Follower<C>] {
        &self.followers
    }

    /// The callers of these appends.
    pub fn callers_mut(&mut self) -> impl Iterator<Item = &mut C> {
        self.followers.iter_mut().map(|follower| &mut follower.caller)
    }

    /// The caller of the first append has computed the values, if there are any to compute. Gives the values back if a
    /// request is to go out with them. It is not if that caller has left meanwhile: then the next one is asked.
    pub fn handle_values<V>(&mut self, values: Result<V>) -> Option<V> {
        if self.drop_abandoned() {
            return None;
        }
        values.map_err(|error| self.finish(Err(error))).ok()
    }

    /// The request to send: one for all appends whose callers still waited when the values were computed. `url` is the
    /// stream's, as messages show it. None if no header can carry what the appends came with; they are told that.
    pub fn request(&mut self, url: &str) -> Option<Request> {
        let (first, others) = self.followers.split_first()?;
        let others = others.iter().map(|follower| &follower.append);
        let request = first.append.request_with(others, url);
        request.map_err(|error| self.finish(Err(error))).ok()
    }

    /// The try has ended so. `repeat` is the request's. `jitter`, between 0 and 1, spreads the pauses between tries.
    pub fn handle_outcome(
        &mut self,
        now: Instant,
        context: &Context<'_>,
        repeat: Repeat,
        outcome: std::result::Result<Response, RequestFailure>,
        jitter: f64,
    ) {
        match self.tries.handle_outcome(context, repeat, outcome, jitter) {
            RetryDecision::RetryAfter(delay) => self.state = RequestState::Pending(Some(now + delay.min(LONGEST_WAIT))),
            // The first caller was to respond to the request, and has left: the next one is asked.
            RetryDecision::Done(Err(error))
                if matches!(error.kind(), Kind::Abandoned) && self.first_has_abandoned() => {}
            RetryDecision::Done(Err(error)) => self.finish(Err(error)),
            RetryDecision::Done(Ok(answer)) => self.finish(operations::appended(answer, context)),
        }
    }

    fn finish(&mut self, outcome: Result<String>) {
        match outcome {
            Err(error) if self.followers.len() > 1 && refuses_all(&error) => {
                let second = self.followers.split_off(self.followers.len() / 2);
                let first = std::mem::take(&mut self.followers);
                self.later.push(second);
                self.begin(first);
            }
            outcome => self.state = RequestState::Done(outcome),
        }
    }

    /// Goes on with a request of `followers`, which has not been tried.
    fn begin(&mut self, followers: Vec<Follower<C>>) {
        *self = AppendBatch {
            later: std::mem::take(&mut self.later),
            ..AppendBatch::new(followers)
        };
    }

    fn first_has_abandoned(&self) -> bool {
        self.followers.first().is_some_and(|first| first.caller.has_abandoned())
    }

    /// Leaves out the appends whose callers have left. Whether the first one was among them.
    fn drop_abandoned(&mut self) -> bool {
        let mut first_abandoned = None;
        self.followers.retain(|follower| {
            let has_abandoned = follower.caller.has_abandoned();
            first_abandoned.get_or_insert(has_abandoned);
            !has_abandoned
        });
        first_abandoned.unwrap_or(false)
    }
}

/// Whether the server refused the request for what is in it, and has stored nothing of it.
fn refuses_all(error: &Error) -> bool {
    matches!(error.kind(), Kind::BadRequest | Kind::PayloadTooLarge)
}
