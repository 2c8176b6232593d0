//! A server for one stream, and the network before it.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use fastrand::Rng;
use http::{HeaderMap, StatusCode};

use super::client::{Id, ids};
use crate::error::{Error, Kind};
use crate::protocol::{STREAM_NEXT_OFFSET, STREAM_SEQ};
use crate::request::{Request, RequestFailure, Response};

/// How a request ends.
pub type Outcome = std::result::Result<Response, RequestFailure>;

#[derive(Debug)]
pub struct Server {
    /// What is stored, in order.
    pub log: Vec<Id>,
    /// Appends that the server refuses, and with what status.
    pub poison: HashMap<Id, u16>,
    /// The most appends that it takes in one request.
    pub most: usize,
    /// Of 100 requests, how many meet a fault.
    pub faults: u32,
    seqs: HashSet<String>,
}

impl Server {
    pub fn new(rng: &mut Rng) -> Server {
        Server {
            log: Vec::new(),
            poison: HashMap::new(),
            most: [1_000, 1_000, 4, 1][rng.usize(..4)],
            faults: [0, 10, 40][rng.usize(..3)],
            seqs: HashSet::new(),
        }
    }

    /// A request travels to the server, and its response back.
    pub fn exchange(&mut self, rng: &mut Rng, request: &Request) -> Outcome {
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
            // Something on the way leaves out what the response says.
            _ => {
                let response = self.handle(request);
                Ok(Response {
                    headers: HeaderMap::new(),
                    ..response
                })
            }
        }
    }

    /// The client gives the request up. It may have arrived.
    pub fn cancelled(&mut self, rng: &mut Rng, request: &Request) {
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
        if let Some(status) = appends.iter().find_map(|id| self.poison.get(id)) {
            return response(*status, false);
        }
        if let Some(seq) = request.headers.get(STREAM_SEQ) {
            assert_eq!(appends.len(), 1, "an append with a seq shares no request");
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
        after_lost_response: false,
    }
}
