//! Decides after each try whether a request is sent again: the policy has to allow it, and the request has to be safe
//! to repeat. [`Tries`] makes the decision, [`RetryDecision`] is its result.

use std::time::Duration;

use http::StatusCode;

use crate::error::{Operation, Result};
use crate::meaning::{asks_for_credentials, retry_after};
use crate::request::{Context, Repeat, RequestFailure, Response};
use crate::retry::policy::Schedule;

/// The tries of one operation.
#[derive(Clone, Debug)]
pub struct Tries {
    schedule: Schedule,
    /// Whether the next try may have other header and parameter values, because callables compute them.
    fresh_values: bool,
    /// Whether the response to an earlier try was lost.
    after_lost_response: bool,
}

/// What to do after a try.
#[derive(Debug)]
pub enum RetryDecision {
    /// Stop: this is the operation's outcome.
    Done(Result<Response>),
    /// Try again after this delay.
    RetryAfter(Duration),
}

impl Tries {
    /// No try yet. `fresh_values`: callables compute the header and parameter values of every try, so a read or HEAD is
    /// tried once more after a 401 or 403.
    pub fn new(fresh_values: bool) -> Tries {
        Tries {
            schedule: Schedule::default(),
            fresh_values,
            after_lost_response: false,
        }
    }

    /// Decides what follows a try with this outcome. `jitter` is for [`Schedule::next_delay`].
    pub fn handle_outcome(
        &mut self,
        context: &Context<'_>,
        repeat: Repeat,
        outcome: std::result::Result<Response, RequestFailure>,
        jitter: f64,
    ) -> RetryDecision {
        let (retry_after, error) = match outcome {
            Ok(response) if context.is_worth_retry(&response) => {
                let delay = retry_after(&response.headers, context.now);
                (delay, context.error(response))
            }
            Ok(response) if self.wants_fresh_values(context.about.operation, response.status) => {
                self.fresh_values = false;
                return RetryDecision::RetryAfter(Duration::ZERO);
            }
            Ok(response) => {
                return RetryDecision::Done(Ok(Response {
                    after_lost_response: self.after_lost_response,
                    ..response
                }));
            }
            Err(RequestFailure::Final(error)) => return RetryDecision::Done(Err(error)),
            Err(RequestFailure::NotSent(error)) => (None, error),
            Err(RequestFailure::ResponseLost(error)) if repeat == Repeat::Safe => {
                self.after_lost_response = true;
                (None, error)
            }
            Err(RequestFailure::ResponseLost(error)) => return RetryDecision::Done(Err(error.with_unknown_outcome())),
        };
        match self.schedule.next_delay(context.policy, retry_after, jitter) {
            Some(delay) => RetryDecision::RetryAfter(delay),
            None => RetryDecision::Done(Err(error)),
        }
    }

    /// Whether to let the callables compute new values: a token may have expired.
    fn wants_fresh_values(&self, operation: Operation, status: StatusCode) -> bool {
        self.fresh_values && asks_for_credentials(status) && !operation.writes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;
    use crate::error::{About, Error, Kind};
    use crate::retry::policy::RetryPolicy;

    fn after(
        tries: &mut Tries,
        operation: Operation,
        repeat: Repeat,
        outcome: std::result::Result<u16, RequestFailure>,
    ) -> RetryDecision {
        let policy = RetryPolicy {
            max_retries: 2,
            ..RetryPolicy::for_tests()
        };
        let about = About {
            operation,
            url: "http://h/s",
        };
        let now = SystemTime::UNIX_EPOCH;
        let context = Context {
            about,
            policy: &policy,
            now,
        };
        let outcome = outcome.map(|status| Response {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            after_lost_response: false,
        });
        tries.handle_outcome(&context, repeat, outcome, 1.0)
    }

    fn error() -> Error {
        Error::plain(Kind::Connection, "lost".to_owned())
    }

    #[test]
    fn a_status_of_the_policy_is_retried_up_to_max_retries() {
        let mut tries = Tries::new(false);
        let mut next = || after(&mut tries, Operation::Append, Repeat::UnlessSent, Ok(503));
        assert!(matches!(next(), RetryDecision::RetryAfter(delay) if delay == Duration::from_millis(100)));
        assert!(matches!(next(), RetryDecision::RetryAfter(delay) if delay == Duration::from_millis(200)));
        assert!(matches!(next(), RetryDecision::Done(Err(error)) if error.status() == Some(503)));
    }

    #[test]
    fn a_request_that_was_not_sent_is_always_retried() {
        let mut tries = Tries::new(false);
        let next = after(
            &mut tries,
            Operation::Append,
            Repeat::UnlessSent,
            Err(RequestFailure::NotSent(error())),
        );
        assert!(matches!(next, RetryDecision::RetryAfter(_)));
    }

    #[test]
    fn a_request_whose_response_was_lost_is_retried_only_if_it_is_safe_to_repeat() {
        let lost = || Err(RequestFailure::ResponseLost(error()));
        let next = after(&mut Tries::new(false), Operation::Append, Repeat::UnlessSent, lost());
        assert!(matches!(next, RetryDecision::Done(Err(error)) if error.outcome_unknown()));
        let mut tries = Tries::new(false);
        assert!(matches!(
            after(&mut tries, Operation::Delete, Repeat::Safe, lost()),
            RetryDecision::RetryAfter(_)
        ));
        let next = after(&mut tries, Operation::Delete, Repeat::Safe, Ok(404));
        assert!(matches!(next, RetryDecision::Done(Ok(response)) if response.after_lost_response));
    }

    #[test]
    fn only_reads_try_once_more_with_fresh_values() {
        let mut tries = Tries::new(true);
        let mut next = |operation| after(&mut tries, operation, Repeat::Safe, Ok(401));
        assert!(matches!(next(Operation::Append), RetryDecision::Done(Ok(_))));
        assert!(matches!(next(Operation::Head), RetryDecision::RetryAfter(delay) if delay.is_zero()));
        assert!(matches!(next(Operation::Head), RetryDecision::Done(Ok(_))));
    }
}
