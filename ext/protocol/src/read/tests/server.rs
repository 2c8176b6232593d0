//! A simulated stream of numbered items, and a server for reads of it.

use std::fmt::Write as _;

use fastrand::Rng;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::protocol::{STREAM_CLOSED, STREAM_CURSOR, STREAM_NEXT_OFFSET, STREAM_UP_TO_DATE};
use crate::request::Request;

/// A response as the server sends it.
#[derive(Clone, Debug)]
pub struct ServerResponse {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// How many milliseconds pass until the response is complete.
    pub takes_ms: u64,
}

impl ServerResponse {
    pub fn error(status: u16, pairs: &[(HeaderName, &str)]) -> ServerResponse {
        let mut response = ServerResponse {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: b"server error".to_vec(),
            takes_ms: 1,
        };
        for (name, value) in pairs {
            response.set(name.clone(), value);
        }
        response
    }

    fn set(&mut self, name: HeaderName, value: &str) {
        self.headers.insert(name, HeaderValue::from_str(value).unwrap());
    }
}

/// The stream. Item `n` is the number `n`. The offset after it is `n + 1` in five digits.
#[derive(Debug)]
pub struct ReadServer {
    pub items: u64,
    pub closed: bool,
    /// The largest number of items in a response.
    pub max_items: u64,
}

pub fn offset(index: u64) -> String {
    format!("{index:05}")
}

impl ReadServer {
    /// The response to a read.
    pub fn respond(&self, rng: &mut Rng, request: &Request) -> ServerResponse {
        let param = |name: &str| request.query.iter().find(|(known, _)| *known == name);
        let from = param("offset").map_or("-1", |(_, value)| value);
        let from = match from {
            "-1" => 0,
            "now" => self.items,
            index => index.parse().unwrap(),
        };
        match param("live").map(|(_, value)| value.as_str()) {
            Some("sse") => self.events(rng, from),
            Some(_) if from == self.items && !self.closed => self.poll_timeout(),
            _ => self.content(rng, from),
        }
    }

    /// The response to a long-poll that timed out.
    fn poll_timeout(&self) -> ServerResponse {
        let mut response = ServerResponse::error(204, &[(STREAM_UP_TO_DATE, "true"), (STREAM_CURSOR, "c")]);
        response.set(STREAM_NEXT_OFFSET, &offset(self.items));
        response.body.clear();
        response.takes_ms = 20_000;
        response
    }

    fn content(&self, rng: &mut Rng, from: u64) -> ServerResponse {
        let to = (from + rng.u64(1..=self.max_items)).min(self.items);
        let mut response = ServerResponse::error(200, &[(STREAM_NEXT_OFFSET, &offset(to))]);
        if to == self.items {
            response.set(STREAM_UP_TO_DATE, "true");
            if self.closed {
                response.set(STREAM_CLOSED, "true");
            }
        }
        response.body = array(from, to).into_bytes();
        response
    }

    fn events(&self, rng: &mut Rng, from: u64) -> ServerResponse {
        let mut response = ServerResponse::error(200, &[(http::header::CONTENT_TYPE, "text/event-stream")]);
        let (mut body, mut at) = (String::new(), from);
        loop {
            let to = (at + rng.u64(1..=self.max_items)).min(self.items);
            if to > at {
                let middle = rng.u64(at..=to);
                for (from, to) in [(at, middle), (middle, to)] {
                    if to > from {
                        write!(body, "event: data\ndata: {}\n\n", array(from, to)).unwrap();
                    }
                }
            }
            at = to;
            let (up_to_date, closed) = (at == self.items, at == self.items && self.closed);
            write!(
                body,
                "event: control\ndata: {{\"streamNextOffset\":\"{}\",\"upToDate\":{up_to_date},\"streamClosed\":{closed}}}\n\n",
                offset(at)
            )
            .unwrap();
            if up_to_date {
                break;
            }
        }
        response.body = body.into_bytes();
        response.takes_ms = 60_000;
        response
    }
}

fn array(from: u64, to: u64) -> String {
    let items: Vec<String> = (from..to).map(|item| item.to_string()).collect();
    format!("[{}]", items.join(","))
}
