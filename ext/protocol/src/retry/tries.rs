//! Decides after each try whether a request is sent again: the policy has to allow it, and the request has to be safe
//! to repeat. [`Tries`] makes the decision, [`RetryDecision`] is its result.

use std::time::{Duration, Instant};

use http::StatusCode;

use crate::error::{Error, Operation, Result};
use crate::meaning::{asks_for_credentials, retry_after};
use crate::request::{Context, Repeat, RequestFailure, Response};
use crate::retry::patience::Patience;
use crate::retry::policy::{RetryPolicy, Schedule};
use crate::retry::so_far::TriesSoFar;

/// The tries of one operation.
///
/// | how a try ends | read, HEAD, PUT, DELETE, append with `seq`, close without data | append, close with data |
/// | --- | --- | --- |
/// | surely not sent | try again | try again |
/// | a 4xx of the policy (429, 408 …) | try again | try again |
/// | a 5xx of the policy | try again; a write is in doubt | done, in doubt |
/// | no response, or only its beginning | try again; a write is in doubt | done, in doubt |
/// | 401 or 403, and callables compute values | a read or HEAD: try once more at once | done |
/// | a permanent conflict (409), whatever the policy lists | done | done |
/// | any other response | done | done |
/// | a failure that another try cannot mend (a certificate, a value callable) | done | done |
///
/// "Try again" is limited by the policy. After the last try its outcome is the operation's.
///
/// Doubt remains: if a write had a try in doubt, any error that ends it has an unknown outcome
/// ([`Error::after_tries`]). Only a success ends the doubt. A DELETE that then finds nothing (404, 410) is a success.
#[derive(Clone, Debug)]
pub struct Tries {
    schedule: Schedule,
    /// Whether the next try may have other header and parameter values, because callables compute them.
    fresh_values: bool,
    began: Instant,
    attempts: u32,
    in_doubt: bool,
    /// `None`: the policy alone limits the tries.
    patience: Option<Patience>,
}

/// What to do after a try.
#[derive(Debug)]
pub enum RetryDecision {
    /// Stop: this is the operation's outcome.
    Done(Result<Response>),
    /// Try again.
    RetryAfter {
        /// After this time.
        delay: Duration,
        /// Why the last try failed.
        error: Error,
    },
}

impl Tries {
    /// No try yet; the first one begins `now`. `fresh_values`: callables compute the header and parameter values of
    /// every try, so a read or HEAD is tried once more after a 401 or 403.
    pub fn new(now: Instant, fresh_values: bool) -> Self {
        Self {
            schedule: Schedule::default(),
            fresh_values,
            began: now,
            attempts: 0,
            in_doubt: false,
            patience: None,
        }
    }

    /// The same, limited by `patience`.
    pub(crate) fn with_patience(self, patience: Patience) -> Self {
        Self {
            patience: Some(patience),
            ..self
        }
    }

    /// The number of the next try, or of the one that is being made. The first one is 1.
    pub fn attempt(&self) -> u32 {
        self.attempts.saturating_add(1)
    }

    /// When the first try began.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Decides what follows a try with this outcome. `jitter` is for [`Schedule::next_delay`].
    pub fn handle_outcome(
        &mut self,
        now: Instant,
        context: &Context<'_>,
        repeat: Repeat,
        outcome: std::result::Result<Response, RequestFailure>,
        jitter: f64,
    ) -> RetryDecision {
        self.attempts = self.attempts.saturating_add(1);
        let (retry_after, error) = match outcome {
            Ok(response) if self.is_worth_retry(context, repeat, &response) => {
                let delay = retry_after(&response.headers, context.now);
                (delay, context.error(response))
            }
            Ok(response) if self.wants_fresh_values(context.about.operation, response.status) => {
                self.fresh_values = false;
                return RetryDecision::RetryAfter {
                    delay: Duration::ZERO,
                    error: context.error(response),
                };
            }
            Ok(response) => {
                let tries = self.so_far(now);
                return RetryDecision::Done(Ok(Response { tries, ..response }));
            }
            Err(RequestFailure::NotSent(error)) => (None, error),
            Err(RequestFailure::ResponseLost(error)) => {
                self.in_doubt |= context.about.operation.writes();
                if repeat == Repeat::UnlessSent {
                    return self.end(now, error);
                }
                (None, error)
            }
            Err(RequestFailure::Final(error)) => return self.end(now, error),
        };
        match self.next_delay(now, context.policy, retry_after, jitter) {
            Some(delay) => RetryDecision::RetryAfter { delay, error },
            None => self.end(now, error),
        }
    }

    fn next_delay(
        &mut self,
        now: Instant,
        policy: &RetryPolicy,
        retry_after: Option<Duration>,
        jitter: f64,
    ) -> Option<Duration> {
        let elapsed = now.saturating_duration_since(self.began);
        let schedule = &mut self.schedule;
        match self.patience {
            None => schedule.next_delay(policy, retry_after, jitter),
            Some(patience) => patience.next_delay(schedule, policy, elapsed, retry_after, jitter),
        }
    }

    /// Whether to try again after a response. If so, notes whether the response leaves the write in doubt.
    fn is_worth_retry(&mut self, context: &Context<'_>, repeat: Repeat, response: &Response) -> bool {
        if !context.is_worth_retry(response) {
            return false;
        }
        let may_be_stored = context.meaning(response).may_be_stored;
        self.in_doubt |= may_be_stored;
        repeat == Repeat::Safe || !may_be_stored
    }

    /// Whether to let the callables compute new values: a token may have expired.
    fn wants_fresh_values(&self, operation: Operation, status: StatusCode) -> bool {
        self.fresh_values && asks_for_credentials(status) && !operation.writes()
    }

    /// The last try may have been carried out, although its outcome says nothing about that.
    pub(crate) fn doubt(&mut self) {
        self.in_doubt = true;
    }

    /// What is known of the operation now.
    pub(crate) fn so_far(&self, now: Instant) -> TriesSoFar {
        TriesSoFar {
            attempts: self.attempts,
            elapsed: now.saturating_duration_since(self.began),
            in_doubt: self.in_doubt,
        }
    }

    fn end(&self, now: Instant, error: Error) -> RetryDecision {
        RetryDecision::Done(Err(error.after_tries(self.so_far(now))))
    }
}

#[cfg(test)]
mod tests;
