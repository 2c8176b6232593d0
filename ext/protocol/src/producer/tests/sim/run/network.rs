//! The network of a run: delivers requests, responses and lookups, with faults.

use std::time::Duration;

use super::super::server::{Owner, ProducerServer};
use super::{LookupResult, ProducerRun, RequestEnd, SimulationEvent, TIMEOUT};
use crate::producer::tests::{SimulatedResponse, no_headers, not_sent, response_lost};
use crate::producer::{Lookup, SearchResult, Transmit, TransmitId};

impl ProducerRun {
    pub(super) fn send(&mut self, owner: Owner, request: Transmit) {
        let id = request.id;
        let faults = self.plan.faults.clone();
        let delay = self.plan.delay;
        let end = |end| SimulationEvent::AtClient { owner, id, end };
        if self.chance(faults.headers) {
            return self.soon(100, end(RequestEnd::Lost(no_headers())));
        }
        if self.chance(faults.not_sent) {
            return self.soon(1_000, end(RequestEnd::Lost(not_sent())));
        }
        self.at(self.now + TIMEOUT, end(RequestEnd::Lost(response_lost())));
        if self.chance(faults.request_lost) {
            if self.rng.bool() {
                self.soon(10_000, end(RequestEnd::Lost(response_lost())));
            }
            return;
        }
        let late = self.chance(faults.late);
        let (least, most) = if late { (TIMEOUT, 5 * TIMEOUT) } else { (0, delay) };
        let arrival = self.now + self.rng.u64(least..=most);
        // A copy that arrives first, as from a proxy that repeats requests. With it, a rejection no longer proves that
        // the batch was not stored. So it is simulated only in runs that need no such proof. (If the tail was not
        // available before, a rejected request proves that it is early enough to request the tail again.)
        if self.plan.must_succeed() && faults.lookups == 0 && self.chance(faults.doubled) {
            let first = self.now + self.rng.u64(0..=delay);
            self.at(
                first,
                SimulationEvent::AtServer {
                    owner,
                    request: request.clone(),
                    responds: false,
                },
            );
        }
        self.at(
            arrival,
            SimulationEvent::AtServer {
                owner,
                request,
                responds: !late,
            },
        );
    }

    pub(super) fn at_server(&mut self, owner: Owner, request: Transmit, responds: bool) {
        let faults = self.plan.faults.clone();
        let id = request.id;
        let retry_after = (self.rng.u32(..4) == 0).then(|| Duration::from_millis(self.rng.u64(..30)));
        let response = if self.chance(faults.status_429) {
            ProducerServer::overloaded(429, retry_after)
        } else if self.chance(faults.status_5xx_before) {
            ProducerServer::overloaded(503, retry_after)
        } else if faults.gateway > 0 && self.chance(faults.gateway) {
            self.gateway(owner, &request)
        } else {
            let response = self
                .server
                .post(owner, request.epoch, request.seq, &request.body, request.closes);
            if self.chance(faults.status_5xx_after) {
                ProducerServer::overloaded(502, None)
            } else {
                response
            }
        };
        // A copy that arrives later, of a request that was stored or whose response was lost.
        let lost = !responds || self.chance(faults.response_lost);
        if (lost || matches!(response.status, 200 | 204)) && self.chance(faults.doubled) {
            self.soon(
                5 * self.plan.delay,
                SimulationEvent::AtServer {
                    owner,
                    request,
                    responds: false,
                },
            );
        }
        if let (403, Some(epoch), true) = (response.status, response.producer_epoch, self.plan.rival_races)
            && self.rng.bool()
        {
            self.soon(
                3 * self.plan.delay,
                SimulationEvent::RivalClaims { epoch: Some(epoch + 1) },
            );
        }
        if !responds {
            return;
        }
        if lost {
            if self.rng.bool() {
                self.soon(
                    10_000,
                    SimulationEvent::AtClient {
                        owner,
                        id,
                        end: RequestEnd::Lost(response_lost()),
                    },
                );
            }
            return;
        }
        self.soon(
            self.plan.delay,
            SimulationEvent::AtClient {
                owner,
                id,
                end: RequestEnd::Response(response),
            },
        );
    }

    /// A gateway responds by itself. After a success, the server may have the request or not.
    fn gateway(&mut self, owner: Owner, request: &Transmit) -> SimulatedResponse {
        self.server.gateway += 1;
        let status = [200, 204, 409][self.rng.usize(..3)];
        if status != 409 && self.rng.bool() {
            self.server
                .post(owner, request.epoch, request.seq, &request.body, request.closes);
        }
        ProducerServer::overloaded(status, None)
    }

    pub(super) fn at_client(&mut self, owner: Owner, id: TransmitId, end: RequestEnd) {
        let now = self.instant();
        let client = &mut self.clients[owner];
        let Some((epoch, _)) = client.open.remove(&id) else {
            return;
        };
        match end {
            RequestEnd::Response(response) => {
                client.fenced |= response.status == 403;
                client.gap_after_403 |= client.fenced && response.expected_seq.is_some();
                if matches!(response.status, 200 | 204)
                    && (response.producer_epoch.is_some() || response.next_offset.is_some())
                {
                    client.saw_success(epoch);
                }
                client.machine.handle_response(now, id, response.to_batch_response());
            }
            RequestEnd::Lost(failure) => client.machine.handle_failure(now, id, failure),
        }
        self.pump(owner);
    }

    pub(super) fn look_up(&mut self, owner: Owner, lookup: &Lookup) {
        let fails = self.chance(self.plan.faults.lookups);
        let lookup_result = match lookup {
            Lookup::Tail { .. } => LookupResult::Tail(self.server.tail().filter(|_| !fails)),
            Lookup::Batch { .. } if fails || self.server.gone => LookupResult::Batch(SearchResult::Unknown),
            Lookup::Batch { from, wanted } => {
                let pieces = self.rng.usize(1..50);
                LookupResult::Batch(self.server.look_for(wanted, from, pieces))
            }
        };
        self.soon(self.plan.delay, SimulationEvent::LookupEnded(owner, lookup_result));
    }

    pub(super) fn lookup_result(&mut self, owner: Owner, lookup_result: LookupResult) {
        let now = self.instant();
        let machine = &mut self.clients[owner].machine;
        match lookup_result {
            LookupResult::Tail(tail) => machine.handle_tail(tail),
            LookupResult::Batch(found) => machine.handle_search_result(now, found),
        }
        self.pump(owner);
    }
}
