//! With `exactly_once`: the appends of a batch that fail because their time has passed, while the request is sent again
//! for the others.

use std::time::Instant;

use super::batch::{AppendAction, AppendBatch, Caller, FailedAppends, Follower};
use super::once::DELIVERY_TIMEOUT;
use crate::error::{Error, Kind};

impl<C> Follower<C> {
    /// Whether its time has passed, with `exactly_once`.
    fn is_late(&self, now: Instant) -> bool {
        self.waited(now) >= DELIVERY_TIMEOUT
    }
}

impl<C: Caller> AppendBatch<C> {
    /// With `exactly_once`: whether there are appends whose time has passed.
    pub(super) fn has_late(&self, now: Instant) -> bool {
        // They are in the order of their arrival.
        self.once.is_some() && self.followers.first().is_some_and(|first| first.is_late(now))
    }

    /// Fails the appends whose time has passed.
    pub(super) fn fail_late(&mut self, now: Instant, error: Error) {
        let all = std::mem::take(&mut self.followers).into_iter();
        let (late, others): (Vec<_>, _) = all.partition(|follower| follower.is_late(now));
        self.followers = others;
        let followers = late.into();
        self.failed = Some(Box::new(FailedAppends { followers, error }));
    }

    /// With `exactly_once`, before the first try: fails the appends whose time has passed. The server has none of them.
    pub(super) fn fail_unsent(&mut self, now: Instant, url: &str) -> bool {
        let tries = self.tries(now).so_far(now);
        let operation = match self.followers.first() {
            Some(first) if tries.attempts == 0 && self.has_late(now) => first.append.operation(),
            _ => return false,
        };
        let reason = format!(
            "not sent within {} s, because it waited for earlier appends of this handle or for a value callable",
            DELIVERY_TIMEOUT.as_secs()
        );
        let error = Error::new(Kind::Timeout, operation, url, reason);
        self.fail_late(now, error.after_tries(tries));
        true
    }

    /// Reports the next append that has failed. Each error has the time since the append's own arrival.
    pub(super) fn report_failed(&mut self, now: Instant) -> Option<AppendAction<C>> {
        let failed = self.failed.as_mut()?;
        let Some(follower) = failed.followers.pop_front() else {
            self.failed = None;
            return None;
        };
        Some(AppendAction::Report {
            outcome: Err(failed.error.clone().with_elapsed(follower.waited(now))),
            followers: vec![follower],
            together: self.together(),
            soon: false,
        })
    }
}
