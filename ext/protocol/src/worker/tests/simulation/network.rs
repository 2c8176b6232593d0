//! The network: requests and responses are lost, delayed and doubled, and gateways respond instead of the server.

use std::time::Duration;

use serde_json::Value;

use super::client::Flight;
use super::run::WorkerRun;
use super::server::{Millis, response};
use crate::error::{Error, Kind};
use crate::request::{Request, RequestFailure, Response, ResponseTimeout};
use crate::subscriptions::SubscriptionOperation;
use crate::worker::tests::end_request;

type RequestOutcome = Result<Response, RequestFailure>;

#[derive(Default)]
pub(super) struct Network {
    last_id: u64,
    /// Requests on their way to the server.
    requests: Vec<RequestArrival>,
    /// How requests end for their workers: when, the id of the request, and the end.
    ends: Vec<(Millis, u64, RequestOutcome)>,
}

struct RequestArrival {
    at: Millis,
    request: Request,
    /// Who gets the response, and when; `None` if nobody does.
    reply: Option<(u64, Millis)>,
    /// What a gateway makes of the response.
    status: Option<u16>,
}

fn lost() -> Error {
    Error::plain(Kind::Connection, "lost".to_owned())
}

impl Network {
    pub(super) fn is_idle(&self) -> bool {
        self.requests.is_empty() && self.ends.is_empty()
    }

    pub(super) fn next_time(&self) -> Option<Millis> {
        let requests = self.requests.iter().map(|arrival| arrival.at);
        requests.chain(self.ends.iter().map(|(at, ..)| *at)).min()
    }
}

impl WorkerRun {
    pub(super) fn send(&mut self, index: usize, operation: SubscriptionOperation, request: Request) {
        self.requests += 1;
        self.network.last_id += 1;
        let id = self.network.last_id;
        self.workers[index].send(id, self.now, operation, &request);
        let latency = [3, 30, 300][self.rng.usize(..3)];
        let arrives = self.now + self.rng.u64(..latency);
        let ends = arrives + self.rng.u64(..latency);
        let limit = match request.response_timeout {
            ResponseTimeout::AtMost(limit) => limit.min(Duration::from_secs(10)),
            _ => Duration::from_secs(10),
        };
        let gives_up = self.now + limit.as_millis() as Millis;
        let end = |run: &mut Self, at, end| run.network.ends.push((at, id, end));
        if !self.fails(self.faults.network) {
            return self.arrive(arrives, request, Some((id, ends)), None);
        }
        let late = arrives + self.rng.u64(..self.server.lease_ttl * 2);
        match self.rng.u32(..8) {
            0 => end(self, ends, Err(RequestFailure::NotSent(lost()))),
            1 => end(self, gives_up, Err(RequestFailure::ResponseLost(lost()))),
            2 => {
                self.count("lost response");
                end(self, ends, Err(RequestFailure::ResponseLost(lost())));
                self.arrive(arrives, request, None, None);
            }
            3 => {
                self.count("late request");
                end(self, gives_up, Err(RequestFailure::ResponseLost(lost())));
                self.arrive(late, request, None, None);
            }
            4 => {
                self.count("doubled request");
                self.arrive(late, request.clone(), None, None);
                self.arrive(arrives, request, Some((id, ends)), None);
            }
            5 => end(self, ends, Ok(response(429, &Value::Null))),
            6 => end(self, ends, Ok(response(503, &Value::Null))),
            _ => self.arrive(arrives, request, Some((id, ends)), Some(502)),
        }
    }

    fn arrive(&mut self, at: Millis, request: Request, reply: Option<(u64, Millis)>, status: Option<u16>) {
        self.network.requests.push(RequestArrival {
            at,
            request,
            reply,
            status,
        });
    }

    /// Delivers what has arrived.
    pub(super) fn deliver(&mut self) {
        let now = self.now;
        let arrived: Vec<RequestArrival> = self
            .network
            .requests
            .extract_if(.., |arrival| arrival.at <= now)
            .collect();
        for arrival in arrived {
            let reply = self.server.handle(now, &arrival.request);
            if let Some((id, at)) = arrival.reply {
                let reply = match arrival.status {
                    None => reply,
                    Some(status) => response(status, &Value::Null),
                };
                self.network.ends.push((at, id, Ok(reply)));
            }
        }
        let ended: Vec<_> = self.network.ends.extract_if(.., |(at, ..)| *at <= now).collect();
        for (_, id, end) in ended {
            let is_its =
                |worker: &super::client::WorkerProcess| worker.flight.as_ref().is_some_and(|flight| flight.id == id);
            // The worker may have been killed.
            let Some(index) = self.workers.iter().position(is_its) else {
                continue;
            };
            match self.workers[index].paused_until <= now {
                true => self.end_request(index, end),
                // It will see the end later.
                false => {
                    let at = self.workers[index].paused_until;
                    self.network.ends.push((at, id, end));
                }
            }
        }
    }

    fn end_request(&mut self, index: usize, end: RequestOutcome) {
        let now = self.now;
        let worker = &mut self.workers[index];
        let flight = worker.flight.take().unwrap();
        let time = worker.time(now);
        let what = self.note(index, &flight, &end);
        end_request(&mut self.workers[index].machine, time, flight.operation, end);
        if let Some(what) = what {
            self.count(what);
        }
    }

    /// Notes what the worker learns by the end of a request.
    fn note(&mut self, index: usize, flight: &Flight, end: &RequestOutcome) -> Option<&'static str> {
        let worker = &mut self.workers[index];
        let Ok(response) = end else {
            return Some("no response");
        };
        let text = std::str::from_utf8(&response.body).unwrap();
        let body: Value = serde_json::from_str(text).unwrap_or_default();
        let ttl = Duration::from_millis(self.server.lease_ttl);
        match (flight.operation, response.status.as_u16()) {
            (SubscriptionOperation::Claim, 200) => {
                worker.lease = Some((body["generation"].as_u64()?, flight.sent + ttl));
                None
            }
            (SubscriptionOperation::Claim, 409) => match text {
                "" => Some("already claimed"),
                _ if text.contains("NO_PENDING_WORK") => Some("nothing pending"),
                _ => Some("already claimed"),
            },
            (SubscriptionOperation::Ack, 200) if flight.is_end => Some("ended by an ack"),
            (SubscriptionOperation::Ack, 200) => {
                worker.lease = Some((flight.generation?, flight.sent + ttl));
                None
            }
            (SubscriptionOperation::Release, 204) => Some("released"),
            (_, 409) if text.contains("INVALID_OFFSET") => Some("refused ack"),
            (_, 409) => {
                worker.fenced.insert(flight.generation?);
                self.repetitions += 1;
                match flight.is_end {
                    true => Some("fenced at the end"),
                    false => Some("fenced"),
                }
            }
            _ => Some("error of a gateway"),
        }
    }
}
