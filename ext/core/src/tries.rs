//! The tries of an operation: a request is repeated where the client's policy allows it and the request is safe to repeat.

use std::future::Future;
use std::time::Duration;

use crate::call::{Answer, Failure, Repeat, Request, attempt, error_of, wants_fresh_values};
use crate::endpoint::Endpoint;
use crate::error::{Result, retry_after};
use crate::http::Pool;
use crate::retry::Schedule;

/// Sends the request, as often as the client's policy and its own nature allow, and answers with the first answer that
/// is not worth another try; an answer that still is after the last one is an error, as is none at all.
pub(crate) async fn call(endpoint: &Endpoint, pool: &Pool, request: &Request) -> Result<Answer> {
    repeated(endpoint, request, || attempt(endpoint, pool, request)).await
}

/// As [`call`], where `attempt` makes each try of the request.
pub(crate) async fn repeated<F>(
    endpoint: &Endpoint,
    request: &Request,
    mut attempt: impl FnMut() -> F,
) -> Result<Answer>
where
    F: Future<Output = std::result::Result<Answer, Failure>>,
{
    let mut tries = Tries::default();
    loop {
        match tries.after(endpoint, request, attempt().await) {
            Next::Done(outcome) => return outcome,
            Next::Again(delay) => pause(delay).await,
        }
    }
}

/// The tries of one operation so far.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    schedule: Schedule,
    fresh_values_asked: bool,
    after_silence: bool,
}

/// What follows a try.
#[derive(Debug)]
pub(crate) enum Next {
    /// Nothing: this is the operation's outcome.
    Done(Result<Answer>),
    /// Another try, after this pause.
    Again(Duration),
}

impl Tries {
    /// What follows a try of `request` that ended so.
    pub(crate) fn after(
        &mut self,
        endpoint: &Endpoint,
        request: &Request,
        outcome: std::result::Result<Answer, Failure>,
    ) -> Next {
        let policy = &endpoint.client().config().retry;
        let (asked, error) = match outcome {
            Ok(answer) if policy.covers(answer.status) => {
                let asked = retry_after(&answer.headers, std::time::SystemTime::now());
                (asked, error_of(endpoint, request, answer))
            }
            Ok(answer) if wants_fresh_values(endpoint, request, answer.status) && !self.fresh_values_asked => {
                self.fresh_values_asked = true;
                return Next::Again(Duration::ZERO);
            }
            Ok(answer) => {
                return Next::Done(Ok(Answer {
                    after_silence: self.after_silence,
                    ..answer
                }));
            }
            Err(Failure::Final(error)) => return Next::Done(Err(error)),
            Err(Failure::NotSent(error)) => (None, error),
            Err(Failure::Unanswered(error)) if request.repeat == Repeat::Safe => {
                self.after_silence = true;
                (None, error)
            }
            Err(Failure::Unanswered(error)) => return Next::Done(Err(error.with_unknown_outcome())),
        };
        match self.schedule.next_delay(policy, asked, fastrand::f64()) {
            Some(delay) => Next::Again(delay),
            None => Next::Done(Err(error)),
        }
    }
}

/// Waits before another try.
pub(crate) async fn pause(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}
