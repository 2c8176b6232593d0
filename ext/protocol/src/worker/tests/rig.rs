//! [`Rig`]: a machine, and what the server responds to it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::error::{Error, Kind};
use crate::request::{RequestFailure, Response, ResponseTimeout};
use crate::retry::jitter::Jitter;
use crate::retry::policy::RetryPolicy;
use crate::subscriptions::SubscriptionOperation::{self, Ack, Claim};
use crate::worker::{BlockProgress, WorkerConfig, WorkerEvent, WorkerMachine};

/// A machine, its clock, and the operation in flight.
pub(super) struct Rig {
    pub machine: WorkerMachine,
    pub now: Instant,
    in_flight: Option<SubscriptionOperation>,
}

const CODES: [(&str, &str); 3] = [
    ("fenced", "FENCED"),
    ("nothing", "NO_PENDING_WORK"),
    ("refused", "INVALID_OFFSET"),
];

impl Rig {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        let config = WorkerConfig {
            name: "me".to_owned(),
            retry: RetryPolicy::for_tests(),
            fresh_values: true,
        };
        Self {
            machine: WorkerMachine::new(config, Jitter::new(|| 0.5), now),
            now,
            in_flight: None,
        }
    }

    /// A machine with a claim of these streams, which all have one event, at offset "1". The lease is 30 s.
    pub(super) fn claimed(streams: &[&str]) -> Self {
        let mut rig = Self::new();
        rig.claim(1, streams);
        rig
    }

    pub(super) fn claim(&mut self, generation: u64, streams: &[&str]) {
        assert_eq!(self.sent(), Some((Claim, json!({ "worker": "me" }))));
        let stream = |path| json!({ "path": path, "acked_offset": "-1", "tail_offset": "1", "has_pending": true });
        let granted = json!({
            "wake_id": "w", "generation": generation, "token": "t", "lease_ttl_ms": 30_000,
            "streams": streams.iter().map(stream).collect::<Vec<_>>(),
        });
        self.respond(200, &granted);
        assert!(matches!(self.machine.poll_event(), Some(WorkerEvent::Claimed { .. })));
    }

    pub(super) fn pass(&mut self, seconds: f64) {
        self.now += Duration::from_secs_f64(seconds);
    }

    /// Sends the next request. Its operation and body.
    pub(super) fn sent(&mut self) -> Option<(SubscriptionOperation, Value)> {
        let (operation, request) = self.machine.poll_request(self.now, true)?;
        let limit = (operation != Claim).then_some(ResponseTimeout::AtMost(Duration::from_secs(10)));
        assert_eq!(request.response_timeout, limit.unwrap_or(ResponseTimeout::Normal));
        self.in_flight = Some(operation);
        Some((
            operation,
            serde_json::from_slice(request.body.as_ref().unwrap()).unwrap(),
        ))
    }

    /// The acks and `done` of the next request, which is an ack.
    pub(super) fn acks(&mut self) -> (Vec<(String, String)>, bool) {
        let (operation, body) = self.sent().expect("a request");
        assert_eq!(operation, Ack);
        let pair = |ack: &Value| {
            let text = |name: &str| ack[name].as_str().unwrap().to_owned();
            (text("stream"), text("offset"))
        };
        let acks = body["acks"].as_array().unwrap().iter().map(pair).collect();
        (acks, body["done"].as_bool().unwrap())
    }

    pub(super) fn end(&mut self, outcome: Result<Response, RequestFailure>) {
        let operation = self.in_flight.take().expect("a request");
        super::end_request(&mut self.machine, self.now, operation, outcome);
    }

    pub(super) fn respond(&mut self, status: u16, body: &Value) {
        self.end(Ok(super::simulation::response(status, body)));
    }

    pub(super) fn reject(&mut self, what: &str) {
        let (_, code) = CODES.iter().find(|(name, _)| *name == what).unwrap();
        self.respond(409, &json!({ "error": { "code": code } }));
    }

    pub(super) fn confirm(&mut self, next_wake: bool) {
        self.respond(200, &json!({ "ok": true, "next_wake": next_wake }));
    }

    /// Lets a third of the lease pass so many times, and prolongs it each time.
    pub(super) fn prolong(&mut self, times: usize) {
        for _ in 0..times {
            self.pass(10.0);
            assert_eq!(self.acks(), (vec![], false));
            self.confirm(false);
        }
    }

    pub(super) fn lose(&mut self) {
        let error = Error::plain(Kind::Connection, "lost".to_owned());
        self.end(Err(RequestFailure::ResponseLost(error)));
    }

    pub(super) fn work(&mut self) -> Option<String> {
        self.machine.poll_work(self.now).map(|work| work.stream)
    }

    pub(super) fn progress(&mut self, stream: &str) -> Option<&'static str> {
        self.machine
            .poll_progress(self.now, stream)
            .map(|progress| match progress {
                BlockProgress::GoOn => "go on",
                BlockProgress::Finished => "finished",
                BlockProgress::Failed(error) if matches!(error.kind(), Kind::Fenced) => "fenced",
                BlockProgress::Failed(_) => "failed",
            })
    }

    /// Seconds until it polls without a change.
    pub(super) fn waits(&self) -> Option<f64> {
        let until = self.machine.poll_timeout(self.now, true)?;
        Some(until.saturating_duration_since(self.now).as_secs_f64())
    }
}

pub(super) fn pair(stream: &str, offset: &str) -> (String, String) {
    (stream.to_owned(), offset.to_owned())
}
