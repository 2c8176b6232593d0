//! A server with one stream, behind an unreliable network.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use fastrand::Rng;
use http::{HeaderMap, StatusCode};

use super::client::{Id, ids};
use crate::error::{Error, Kind};
use crate::protocol::{
    PRODUCER_EPOCH, PRODUCER_EXPECTED_SEQ, PRODUCER_ID, PRODUCER_RECEIVED_SEQ, PRODUCER_SEQ, STREAM_NEXT_OFFSET,
    STREAM_SEQ, number, text,
};
use crate::request::{Request, RequestFailure, Response};

/// The result of one try of a request.
pub(super) type RequestResult = Result<Response, RequestFailure>;

#[derive(Debug)]
pub(super) struct AppendServer {
    /// The stored appends, in order.
    pub log: Vec<Id>,
    /// Appends that the server rejects, with the status.
    pub invalid: HashMap<Id, u16>,
    /// The most appends that it accepts in one request.
    pub most: usize,
    /// How many of 100 requests have a fault.
    pub faults: u32,
    seqs: HashSet<String>,
    /// The last number of each producer that it has not forgotten.
    producers: BTreeMap<String, u64>,
    /// Whether it responds with 403 to a producer that it has forgotten, instead of with a gap.
    expires: bool,
    /// The body that it has stored under each number, also of forgotten producers.
    bodies: HashMap<(String, u64), Bytes>,
}

impl AppendServer {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self {
            log: Vec::new(),
            invalid: HashMap::new(),
            most: [1_000, 1_000, 4, 1][rng.usize(..4)],
            faults: [0, 10, 40][rng.usize(..3)],
            seqs: HashSet::new(),
            producers: BTreeMap::new(),
            expires: rng.bool(),
            bodies: HashMap::new(),
        }
    }

    /// Executes a request over the network.
    pub(super) fn exchange(&mut self, rng: &mut Rng, request: &Request) -> RequestResult {
        let lost = || Error::plain(Kind::Connection, "lost".to_owned());
        if rng.u32(..100) >= self.faults {
            return Ok(self.handle(request));
        }
        match rng.u32(..7) {
            0 => Err(RequestFailure::NotSent(lost())),
            1 => Err(RequestFailure::ResponseLost(lost())),
            2 => {
                self.handle(request);
                Err(RequestFailure::ResponseLost(lost()))
            }
            3 => Ok(response(429, false)),
            4 => Ok(response(503, false)),
            // A gateway responds instead of the server.
            5 => {
                self.handle(request);
                Ok(response(502, false))
            }
            // An intermediary removes the headers of the response.
            _ => {
                let response = self.handle(request);
                Ok(Response {
                    headers: HeaderMap::new(),
                    ..response
                })
            }
        }
    }

    /// The client cancels the request, which may have arrived already.
    pub(super) fn cancelled(&mut self, rng: &mut Rng, request: &Request) {
        if rng.bool() {
            self.handle(request);
        }
    }

    fn handle(&mut self, request: &Request) -> Response {
        let appends = ids(request.body.as_ref().expect("an append has a body"));
        assert!(!appends.is_empty(), "a request without appends");
        if appends.len() > self.most {
            return response(413, false);
        }
        if let Some(status) = appends.iter().find_map(|id| self.invalid.get(id)) {
            return response(*status, false);
        }
        if let Some(response) = self.unless_new(request) {
            return response;
        }
        if let Some(seq) = request.headers.get(STREAM_SEQ) {
            assert_eq!(appends.len(), 1, "an append with a seq shares a request");
            if !self.seqs.insert(seq.to_str().unwrap().to_owned()) {
                return response(409, false);
            }
        }
        self.log.extend(appends);
        match number_of(request) {
            None => response(204, true),
            Some((producer, seq)) => {
                self.producers.insert(producer.clone(), seq);
                self.bodies
                    .insert((producer, seq), request.body.clone().unwrap_or_default());
                response(200, true)
            }
        }
    }

    /// The response to a number that is not the producer's next one.
    fn unless_new(&self, request: &Request) -> Option<Response> {
        let (producer, seq) = number_of(request)?;
        let expected = self.producers.get(&producer).map_or(0, |last| last + 1);
        if seq < expected {
            let stored = self.bodies.get(&(producer, seq));
            assert_eq!(stored, request.body.as_ref(), "a number is used for two bodies");
            return Some(response(204, true));
        }
        (seq > expected).then(|| {
            let is_expired = self.expires && expected == 0;
            let mut rejection = response(if is_expired { 403 } else { 409 }, false);
            let headers = &mut rejection.headers;
            match is_expired {
                true => drop(headers.insert(PRODUCER_EPOCH, 0.into())),
                false => {
                    headers.insert(PRODUCER_EXPECTED_SEQ, expected.into());
                    headers.insert(PRODUCER_RECEIVED_SEQ, seq.into());
                }
            }
            rejection
        })
    }

    /// Forgets a producer that has stored more than one request. Returns whether there was one. A producer with one
    /// request is not forgotten: if the response was lost, the request is sent again, and the server would store it
    /// twice.
    pub(super) fn forget(&mut self, rng: &mut Rng) -> bool {
        let known = self.producers.iter().filter(|(_, last)| **last > 0);
        let producer = rng.choice(known.map(|(producer, _)| producer.clone()).collect::<Vec<_>>());
        producer.is_some_and(|producer| self.producers.remove(&producer).is_some())
    }
}

/// The producer id and the sequence number of a request.
fn number_of(request: &Request) -> Option<(String, u64)> {
    let producer = text(&request.headers, &PRODUCER_ID)?;
    let seq = number(&request.headers, &PRODUCER_SEQ).expect("a producer's request has a number");
    Some((producer.to_owned(), seq))
}

fn response(status: u16, with_tail: bool) -> Response {
    let mut headers = HeaderMap::new();
    if with_tail {
        headers.insert(STREAM_NEXT_OFFSET, "7".parse().unwrap());
    }
    Response {
        status: StatusCode::from_u16(status).unwrap(),
        headers,
        body: Bytes::new(),
        tries: Default::default(),
        redirected: None,
    }
}
