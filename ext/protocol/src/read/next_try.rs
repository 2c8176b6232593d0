//! What follows the end of a read's request: when the next one goes out, if at all.

use std::time::{Duration, Instant};

use super::cursor::{MIN_LONG_POLL, Mode, Stall};
use super::event::{ReadEvent, ReadOutage};
use super::machine::{ReadMachine, ReadState};
use super::outcome::{MIN_STABLE_REQUEST, ReadOutcome};
use super::payload::Units;
use crate::error::{Error, Kind};
use crate::retry::later;
use crate::retry::outage::OutageEvent;
use crate::retry::patience::Patience;
use crate::retry::so_far::FailedTry;

impl ReadMachine {
    /// The connection was lost. The `retry:` field of an SSE stream delays the next try, up to the policy's longest
    /// delay.
    pub(super) fn connection_lost(&mut self, now: Instant, error: Error, server_delay: Option<Duration>) {
        let max_delay = self.config.retry.max_delay;
        self.end_request(
            now,
            ReadOutcome::Retry(error, server_delay.map(|delay| delay.min(max_delay))),
        );
    }

    /// The server has responded as it should, which ends an outage and resets the count of failures.
    pub(super) fn succeeded(&mut self, now: Instant) {
        self.schedule.reset();
        self.ended_at_once = false;
        let ended = self.outages.succeeded(now);
        self.report_outage(ended);
    }

    fn report_outage(&mut self, event: Option<OutageEvent>) {
        let Some(event) = event else { return };
        if matches!(event, OutageEvent::Began { .. }) {
            self.outage_offset.clone_from(&self.cursor.position().offset);
        }
        self.events.push_back(ReadEvent::Outage(ReadOutage {
            event,
            mode: self.mode(),
            offset: self.outage_offset.clone(),
        }));
    }

    /// The request has ended. Decides when the next one goes out, if at all.
    pub(super) fn end_request(&mut self, now: Instant, outcome: ReadOutcome) {
        let is_stable = self.mode() != Mode::CatchUp && self.request_age(now) >= MIN_STABLE_REQUEST;
        let started = self.failing_since(now);
        self.state = match outcome {
            ReadOutcome::Ended(pause) => ReadState::Idle(Some(later(now, pause))),
            ReadOutcome::RetryNow => {
                if is_stable {
                    self.schedule.reset();
                }
                ReadState::Idle(None)
            }
            ReadOutcome::Fatal(error) => {
                self.outages.failed(started);
                ReadState::Failed(error.after_tries(self.outages.so_far(now)))
            }
            ReadOutcome::Retry(error, server_delay) => {
                self.outages.failed(started);
                self.retry(now, error, server_delay, self.patient)
            }
            ReadOutcome::Complete(Stall::None) => ReadState::Idle(None),
            ReadOutcome::Complete(Stall::Slow) => ReadState::Idle(Some(later(now, MIN_LONG_POLL))),
            ReadOutcome::Complete(Stall::Failing) => {
                let reason = match self.cursor.position().skip {
                    Units(0) => {
                        "the response has no data and the same offset, and does not say that there is no more (is the \
                         server in trouble, or a cache stale?)"
                    }
                    _ => {
                        "the response has no data, but an earlier one had some at this offset (does the server lag \
                         behind, or is a cache stale?)"
                    }
                };
                let error = self.about().error(Kind::Status, reason);
                self.outages.failed(started);
                self.retry(now, error, None, self.patient)
            }
            ReadOutcome::Complete(Stall::Back) => {
                let offset = &self.cursor.position().offset;
                let reason = format!(
                    "the server returned an offset before {offset:?}, the position of this read (was the stream \
                     deleted and created again?)"
                );
                let error = self.about().error(Kind::Status, reason);
                self.outages.failed(started);
                // It is not an outage, and may well be permanent.
                self.retry(now, error, None, false)
            }
        };
        self.sent = None;
    }

    /// Retries after a delay, or fails the read. A `patient` read retries without limit after its first success.
    fn retry(&mut self, now: Instant, error: Error, server_delay: Option<Duration>, patient: bool) -> ReadState {
        let (jitter, policy) = (self.jitter.next(), &self.config.retry);
        let patience = Patience {
            without_limit: patient && self.outages.has_succeeded(),
            timeout: None,
        };
        let elapsed = self.outages.so_far(now).elapsed;
        let Some(delay) = patience.next_delay(&mut self.schedule, policy, elapsed, server_delay, jitter) else {
            return ReadState::Failed(error.after_tries(self.outages.so_far(now)));
        };
        if self.cursor.is_live() {
            let began = self.outages.retried(error.detail());
            self.report_outage(began);
        }
        self.events.push_back(ReadEvent::Retry(FailedTry {
            attempt: self.outages.failed_tries(),
            delay,
            reason: error.into_detail(),
        }));
        ReadState::Idle(Some(later(now, delay)))
    }

    /// The start of the failure: when a request without content was sent, unless it was a long-poll, otherwise now. A
    /// long-poll may have waited for data, and a response with content had begun well.
    fn failing_since(&self, now: Instant) -> Instant {
        match self.sent {
            Some(sent) if sent.mode != Mode::LongPoll && !sent.has_content => sent.at,
            _ => now,
        }
    }
}
