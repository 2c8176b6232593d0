//! A server with one stream, behind an unreliable network.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use fastrand::Rng;
use http::{HeaderMap, StatusCode};

use super::client::{Id, ids};
use crate::error::{Error, Kind};
use crate::protocol::{STREAM_NEXT_OFFSET, STREAM_SEQ};
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
}

impl AppendServer {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self {
            log: Vec::new(),
            invalid: HashMap::new(),
            most: [1_000, 1_000, 4, 1][rng.usize(..4)],
            faults: [0, 10, 40][rng.usize(..3)],
            seqs: HashSet::new(),
        }
    }

    /// Executes a request over the network.
    pub(super) fn exchange(&mut self, rng: &mut Rng, request: &Request) -> RequestResult {
        let lost = || Error::plain(Kind::Connection, "lost".to_owned());
        if rng.u32(..100) >= self.faults {
            return Ok(self.handle(request));
        }
        match rng.u32(..6) {
            0 => Err(RequestFailure::NotSent(lost())),
            1 => Err(RequestFailure::ResponseLost(lost())),
            2 => {
                self.handle(request);
                Err(RequestFailure::ResponseLost(lost()))
            }
            3 => Ok(response(429, false)),
            4 => Ok(response(503, false)),
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
        if let Some(seq) = request.headers.get(STREAM_SEQ) {
            assert_eq!(appends.len(), 1, "an append with a seq shares a request");
            if !self.seqs.insert(seq.to_str().unwrap().to_owned()) {
                return response(409, false);
            }
        }
        self.log.extend(appends);
        response(204, true)
    }
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
    }
}
