//! [`AppendBatch`] has the appends that share a request. It decides when the request is sent again, and which outcome
//! each append has.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::message::Append;
use super::once::{AfterRequest, OnceId};
use crate::error::{Error, Kind, Result};
use crate::operations::{self, AppendSuccess};
use crate::request::{Context, Repeat, Request, RequestFailure, Response};
use crate::retry::later;
use crate::retry::so_far::FailedTry;
use crate::retry::tries::{RetryDecision, Tries};

/// With this many appends in one request, it costs more to put their threads to sleep and to wake them than to send the
/// request.
pub(super) const MANY: usize = 6;
/// If the request took less time than this, the threads of many appends wait for the next one without sleeping.
const SOON: Duration = Duration::from_micros(500);

/// What waits for the outcome of an append.
pub trait Caller {
    /// Whether the caller has stopped waiting, for example because of an interrupt. Once true, it remains true.
    fn has_abandoned(&self) -> bool;
}

/// An append that shares a request.
#[derive(Debug)]
pub struct Follower<C> {
    /// The append.
    pub append: Append,
    /// What waits for its outcome.
    pub caller: C,
    /// When it arrived.
    pub(super) arrived: Instant,
}

impl<C> Follower<C> {
    /// How long ago it arrived.
    pub(super) fn waited(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.arrived)
    }
}

/// What to do next with a batch.
#[derive(Debug)]
pub enum AppendAction<C> {
    /// Try to send the request, in these steps. Let the caller of the first of [`AppendBatch::followers`] compute the
    /// values, and pass them to [`AppendBatch::handle_values`]. Send [`AppendBatch::request`] with the values that it
    /// returns. Pass the outcome to [`AppendBatch::handle_outcome`]. If a step returns `None`, the try has ended.
    Try,
    /// Poll again at this time.
    Wait(Instant),
    /// Report this outcome to these callers, then poll again.
    Report {
        /// The appends that were in the request.
        followers: Vec<Follower<C>>,
        /// What the response says, or the error.
        outcome: Result<AppendSuccess>,
        /// How many appends the request had. `None`: there was no request.
        together: Option<usize>,
        /// Whether the next batch is expected to end so soon that threads should wait for it without sleeping.
        soon: bool,
    },
    /// Stop: every caller has its outcome or has abandoned its append.
    End,
}

/// Appends that share a request, in the order of their arrival.
///
/// Carry out [`AppendBatch::poll_action`] and poll again, until [`AppendAction::End`]. When every caller has abandoned
/// its append, cancel the current action and poll again.
///
/// Each try has the appends whose callers still wait. If the server rejects a request with several appends and stores
/// none of them, they are sent again in two halves: one append may be invalid, or the request was too large.
///
/// With `exactly_once` the request has a producer's headers, and is sent again after a lost response. Once the server
/// may have stored it, it does not change: an append remains in it although its caller has abandoned it. An append
/// fails at the first failed try after its `DELIVERY_TIMEOUT`, which begins with its arrival, because it may have
/// waited for earlier requests. The request is sent again for the others. See `late`.
#[derive(Debug)]
pub struct AppendBatch<C> {
    /// The appends of the current request.
    pub(super) followers: Vec<Follower<C>>,
    /// Parts of a rejected request that are sent later. The last part is the next one.
    later: Vec<Vec<Follower<C>>>,
    /// Appends that have failed and are not yet reported, and their error.
    pub(super) failed: Option<Box<FailedAppends<C>>>,
    state: RequestState,
    /// `None` before the first action of the request was polled.
    tries: Option<Tries>,
    /// With `exactly_once`: the id that numbers the requests.
    pub(super) once: Option<OnceId>,
    /// With `exactly_once`: a request that the server may have stored.
    numbered: Option<Box<NumberedRequest>>,
    /// How many appends the last request had. 0: there was none yet.
    together: u32,
}

#[derive(Debug)]
pub(super) struct FailedAppends<C> {
    pub(super) followers: VecDeque<Follower<C>>,
    pub(super) error: Error,
}

#[derive(Debug)]
struct NumberedRequest {
    request: Request,
    /// The number of its appends.
    appends: usize,
}

#[derive(Debug)]
enum RequestState {
    /// There is no outcome yet. The next try begins at this time, or at once.
    Pending(Option<Instant>),
    /// The request has ended with this outcome.
    Done(Result<AppendSuccess>),
}

impl<C: Caller> AppendBatch<C> {
    /// A batch of appends that can share a request. `once` numbers it, with `exactly_once`.
    pub(super) fn new(followers: Vec<Follower<C>>, once: Option<OnceId>) -> Self {
        Self {
            followers,
            later: Vec::new(),
            failed: None,
            state: RequestState::Pending(None),
            tries: None,
            once,
            numbered: None,
            together: 0,
        }
    }

    /// The id that numbered the requests, for other requests.
    pub(super) fn into_once(self) -> Option<OnceId> {
        self.once
    }

    /// What to do next.
    pub fn poll_action(&mut self, now: Instant) -> AppendAction<C> {
        loop {
            if let Some(report) = self.report_failed(now) {
                return report;
            }
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
            let since = self.tries(now).began();
            return match std::mem::replace(&mut self.state, RequestState::Pending(None)) {
                RequestState::Done(Err(error)) if self.once.is_some() => {
                    let followers = std::mem::take(&mut self.followers).into();
                    self.failed = Some(Box::new(FailedAppends { followers, error }));
                    continue;
                }
                RequestState::Done(outcome) => AppendAction::Report {
                    soon: self.followers.len() >= MANY && now.saturating_duration_since(since) < SOON,
                    followers: std::mem::take(&mut self.followers),
                    outcome,
                    together: self.together(),
                },
                RequestState::Pending(Some(until)) if now < until => {
                    self.state = RequestState::Pending(Some(until));
                    AppendAction::Wait(until)
                }
                RequestState::Pending(_) => AppendAction::Try,
            };
        }
    }

    /// The appends of the current request. The caller of the first one computes its values.
    pub fn followers(&self) -> &[Follower<C>] {
        &self.followers
    }

    /// The callers of these appends.
    pub fn callers_mut(&mut self) -> impl Iterator<Item = &mut C> {
        self.followers.iter_mut().map(|follower| &mut follower.caller)
    }

    /// The caller of the first append has computed the values, or there are none to compute. Returns the values for the
    /// request. Returns `None` if there was an error, or if that caller has abandoned its append: then the next caller
    /// computes the values.
    pub fn handle_values<V>(&mut self, now: Instant, values: Result<V>) -> Option<V> {
        if self.drop_abandoned() {
            return None;
        }
        let tries = self.tries(now).so_far(now);
        values.map_err(|error| self.finish(Err(error.after_tries(tries)))).ok()
    }

    /// The request to send, with the appends whose callers still waited at `handle_values`. `url` is for error
    /// messages. `None` if a value has characters that a header cannot have. That error is the outcome of the appends.
    /// Also `None` if appends have waited so long that they fail without a try.
    pub fn request(&mut self, now: Instant, url: &str) -> Option<Request> {
        if let Some(numbered) = &self.numbered {
            self.together = numbered.appends as u32;
            return Some(numbered.request.clone());
        }
        if self.fail_unsent(now, url) {
            return None;
        }
        let (first, others) = self.followers.split_first()?;
        let others = others.iter().map(|follower| &follower.append);
        let request = first.append.request_with(others, url);
        let request = match &mut self.once {
            None => request,
            Some(once) => request.and_then(|request| once.number(request)),
        };
        let request = request.map_err(|error| self.finish(Err(error))).ok()?;
        self.together = self.followers.len() as u32;
        if self.once.is_some() {
            self.numbered = Some(Box::new(NumberedRequest {
                request: request.clone(),
                appends: self.followers.len(),
            }));
        }
        Some(request)
    }

    pub(super) fn together(&self) -> Option<usize> {
        (self.together > 0).then_some(self.together as usize)
    }

    /// The number of the next try of the request, or of the one that is being made. The first one is 1.
    pub fn attempt(&self) -> u32 {
        self.tries.as_ref().map_or(1, Tries::attempt)
    }

    /// The try has ended with this outcome. `repeat` is the request's. `jitter`, from 0 to 1, randomizes the delay
    /// before the next try. Returns the failed try if there is a next one.
    pub fn handle_outcome(
        &mut self,
        now: Instant,
        context: &Context<'_>,
        repeat: Repeat,
        outcome: std::result::Result<Response, RequestFailure>,
        jitter: f64,
    ) -> Option<FailedTry> {
        let attempt = self.attempt();
        match self.tries(now).handle_outcome(now, context, repeat, outcome, jitter) {
            RetryDecision::RetryAfter { delay, error } => {
                self.state = RequestState::Pending(Some(later(now, delay)));
                let tries = self.tries(now).so_far(now);
                if !tries.in_doubt {
                    self.forget_numbered();
                }
                if self.has_late(now) {
                    self.fail_late(now, error.clone().after_tries(tries));
                }
                let reason = error.into_detail();
                return Some(FailedTry { attempt, delay, reason });
            }
            // An in-memory request runs on the thread of the first caller. That caller has stopped waiting, so the
            // request has no outcome. The batch remains pending: the next poll drops the caller, and the next one in
            // line executes the request. The interrupted one may have stored the appends already.
            RetryDecision::Done(Err(error))
                if matches!(error.kind(), Kind::Abandoned) && self.first_has_abandoned() =>
            {
                if self.once.is_some() {
                    self.tries(now).doubt();
                }
            }
            RetryDecision::Done(Err(error)) => self.finish(Err(error)),
            RetryDecision::Done(Ok(response)) => self.finish(operations::appended(response, context)),
        }
        None
    }

    fn finish(&mut self, outcome: Result<AppendSuccess>) {
        let in_request = self
            .numbered
            .take()
            .map_or(self.followers.len(), |numbered| numbered.appends);
        if let Some(once) = &mut self.once
            && once.ended(&outcome) == AfterRequest::SendAgain
        {
            return;
        }
        match outcome {
            Err(error) if in_request > 1 && rejects_all(&error) => {
                let second = self.followers.split_off(self.followers.len() / 2);
                let first = std::mem::take(&mut self.followers);
                self.later.push(second);
                self.begin(first);
            }
            outcome => self.state = RequestState::Done(outcome),
        }
    }

    /// No try of the numbered request was carried out.
    fn forget_numbered(&mut self) {
        self.numbered = None;
        if let Some(once) = &mut self.once {
            once.surely_not_stored();
        }
    }

    /// Begins a new request with `followers`.
    fn begin(&mut self, followers: Vec<Follower<C>>) {
        let mut once = self.once.take();
        if let Some(once) = &mut once {
            once.abandoned();
        }
        *self = Self {
            later: std::mem::take(&mut self.later),
            failed: self.failed.take(),
            ..Self::new(followers, once)
        };
    }

    /// The tries of the request, which begin now if they have not begun. With `exactly_once` they end with the time of
    /// the newest append, which has the most time left.
    pub(super) fn tries(&mut self, now: Instant) -> &mut Tries {
        let waited = self.followers.last().map(|newest| newest.waited(now));
        let once = self.once.as_ref();
        self.tries.get_or_insert_with(|| {
            let tries = Tries::new(now, false);
            match once {
                None => tries,
                Some(once) => tries.with_patience(once.patience(waited.unwrap_or_default())),
            }
        })
    }

    fn first_has_abandoned(&self) -> bool {
        self.followers.first().is_some_and(|first| first.caller.has_abandoned())
    }

    /// Drops the abandoned appends. Returns whether the first one was among them.
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

/// Whether the server rejected the request because of its content and stored nothing of it.
fn rejects_all(error: &Error) -> bool {
    matches!(error.kind(), Kind::BadRequest | Kind::PayloadTooLarge) && !error.outcome_unknown()
}
