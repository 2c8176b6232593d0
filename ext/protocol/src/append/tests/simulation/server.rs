//! A server with one stream, behind an unreliable network.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::mem;

use bytes::Bytes;
use fastrand::Rng;
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};

use super::client::{Id, ids};
use crate::error::{Error, Kind};
use crate::protocol::{
    PRODUCER_EPOCH, PRODUCER_EXPECTED_SEQ, PRODUCER_ID, PRODUCER_RECEIVED_SEQ, PRODUCER_SEQ, STREAM_CLOSED,
    STREAM_NEXT_OFFSET, STREAM_SEQ, flag, number, text,
};
use crate::request::{Repeat, Request, RequestFailure, Response};

/// The result of one try of a request.
pub(super) type RequestResult = Result<Response, RequestFailure>;

#[derive(Debug)]
pub(super) struct AppendServer {
    /// The stored appends, in order.
    pub log: Vec<Id>,
    /// The appends that were stored in the stream before it was deleted and created again.
    pub deleted: HashSet<Id>,
    /// The appends that close the stream.
    pub closing: HashSet<Id>,
    /// How often each event happened.
    pub counts: BTreeMap<&'static str, u64>,
    /// Appends that the server rejects, with the status.
    pub invalid: HashMap<Id, u16>,
    /// The most appends that it accepts in one request.
    pub most: usize,
    /// How many of 100 requests have a fault.
    pub faults: u32,
    /// The last `Stream-Seq`.
    seq: Option<String>,
    /// The last number of each producer that it has not forgotten.
    producers: BTreeMap<String, u64>,
    /// Whether it responds with 403 to a producer that it has forgotten, instead of with a gap.
    expires: bool,
    /// The body that it has stored under each number, also of forgotten producers.
    bodies: HashMap<(String, u64), Bytes>,
    /// Whether the stream is closed, and the producer and number that closed it, unless it was another writer or the
    /// server has forgotten them.
    closed: Option<Option<(String, u64)>>,
    /// How many more requests arrive before a deleted stream is created again.
    missing: u32,
    /// Requests that arrive after their clients have gone on: delayed ones, and copies that a proxy makes.
    late: Vec<Request>,
}

impl AppendServer {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self {
            log: Vec::new(),
            deleted: HashSet::new(),
            closing: HashSet::new(),
            counts: BTreeMap::new(),
            invalid: HashMap::new(),
            most: [1_000, 1_000, 4, 1][rng.usize(..4)],
            faults: [0, 10, 40][rng.usize(..3)],
            seq: None,
            producers: BTreeMap::new(),
            expires: rng.bool(),
            bodies: HashMap::new(),
            closed: None,
            missing: 0,
            late: Vec::new(),
        }
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Executes a request over the network.
    pub(super) fn exchange(&mut self, rng: &mut Rng, request: &Request) -> RequestResult {
        let lost = || Error::plain(Kind::Connection, "lost".to_owned());
        if rng.u32(..100) >= self.faults {
            let response = self.handle(request);
            self.repeat_later(rng, request, &response);
            return Ok(response);
        }
        match rng.u32(..9) {
            0 => Err(RequestFailure::NotSent(lost())),
            1 => {
                self.delay(rng, request);
                Err(RequestFailure::ResponseLost(lost()))
            }
            2 => {
                let response = self.handle(request);
                self.repeat_later(rng, request, &response);
                Err(RequestFailure::ResponseLost(lost()))
            }
            3 => Ok(self.overloaded(rng, 429)),
            4 => Ok(self.overloaded(rng, 503)),
            // For example, the server's certificate is not trusted.
            8 => {
                self.count("not begun");
                Err(RequestFailure::Final(lost()))
            }
            // A gateway responds instead of the server.
            7 => {
                self.count("response of a gateway");
                Ok(response([200, 204, 404, 409][rng.usize(..4)], false))
            }
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
        match rng.bool() {
            true => drop(self.handle(request)),
            false => self.delay(rng, request),
        }
    }

    fn overloaded(&mut self, rng: &mut Rng, status: u16) -> Response {
        let mut response = response(status, false);
        if rng.bool() {
            self.count("retry after");
            response.headers.insert(RETRY_AFTER, [0, 1, 200][rng.usize(..3)].into());
        }
        response
    }

    /// The request may arrive later.
    fn delay(&mut self, rng: &mut Rng, request: &Request) {
        if rng.bool() {
            self.late.push(request.clone());
        }
    }

    /// A proxy may repeat a request that the server has stored. No proxy repeats one that is not safe to repeat. A copy
    /// of a rejected request is not simulated: with it, a rejection would no longer prove that nothing was stored.
    fn repeat_later(&mut self, rng: &mut Rng, request: &Request, response: &Response) {
        if request.repeat == Repeat::Safe && response.status.is_success() && rng.u32(..4) == 0 {
            self.count("late copy");
            self.late.push(request.clone());
        }
    }

    /// The late requests arrive.
    pub(super) fn deliver_late(&mut self) {
        for request in mem::take(&mut self.late) {
            let before = self.log.len();
            self.handle(&request);
            if self.log.len() > before {
                self.count("late request stored");
            }
        }
    }

    /// Another writer closes the stream or appends with a higher `Stream-Seq`, or the stream is deleted and created
    /// again.
    pub(super) fn disturb(&mut self, rng: &mut Rng) {
        match rng.u32(..3) {
            0 => {
                self.count("closed by another writer");
                self.closed.get_or_insert(None);
                return;
            }
            1 if self.closed.is_none() => {
                self.count("seq of another writer");
                let last = self.log.last().map_or(0, |last| last + 3);
                self.seq = self.seq.take().max(Some(format!("{last:08}")));
                return;
            }
            _ => {}
        }
        self.count("created again");
        self.deleted.extend(mem::take(&mut self.log));
        self.seq = None;
        self.producers.clear();
        self.closed = None;
        self.missing = rng.u32(..4);
        // The new stream would store late requests again: it does not differ from the old one in any header.
        self.late.clear();
    }

    fn handle(&mut self, request: &Request) -> Response {
        let appends = ids(request.body.as_ref().expect("an append has a body"));
        assert!(!appends.is_empty(), "a request without appends");
        let closes = flag(&request.headers, &STREAM_CLOSED);
        let is_closing = appends.iter().any(|id| self.closing.contains(id));
        assert_eq!(closes, is_closing, "the request closes the stream, or its append does");
        assert!(
            !closes || appends.len() == 1,
            "an append that closes the stream shares a request"
        );
        if self.missing > 0 {
            self.missing -= 1;
            return response(404, false);
        }
        if let Some(by) = &self.closed {
            let is_repeated = by.is_some() && *by == number_of(request);
            let mut response = response(if is_repeated { 204 } else { 409 }, true);
            response.headers.insert(STREAM_CLOSED, "true".parse().unwrap());
            if is_repeated {
                self.count("close repeated");
            }
            return response;
        }
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
            let seq = Some(seq.to_str().unwrap().to_owned());
            if seq <= self.seq {
                return response(409, false);
            }
            self.seq = seq;
        }
        self.log.extend(appends);
        if closes {
            self.closed = Some(number_of(request));
        }
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
    /// twice (docs/reliability.md). For the same reason, no late copy of its first request arrives afterwards.
    pub(super) fn forget(&mut self, rng: &mut Rng) -> bool {
        let known = self.producers.iter().filter(|(_, last)| **last > 0);
        let producer = rng.choice(known.map(|(producer, _)| producer.clone()).collect::<Vec<_>>());
        let Some(producer) = producer else { return false };
        self.late
            .retain(|late| number_of(late).is_none_or(|(by, seq)| by != producer || seq > 0));
        if let Some(by) = &mut self.closed {
            by.take_if(|(by, _)| *by == producer);
        }
        self.producers.remove(&producer).is_some()
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
