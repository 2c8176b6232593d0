//! The server: one subscription with leases and generations.

use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::error::Operation;
use crate::request::{Request, Response};
use crate::subscriptions::SubscriptionOperation;

/// Milliseconds since the run began.
pub(super) type Millis = u64;

/// An offset that sorts as text.
pub(super) fn offset(events: usize) -> String {
    format!("{events:08}")
}

/// The number of events before an offset.
pub(super) fn events_before(offset: &str) -> usize {
    offset.parse().unwrap()
}

#[derive(Debug)]
pub(super) struct Stream {
    pub path: String,
    pub events: usize,
    pub acked: usize,
    pub removed: bool,
    /// Whether each event was handled.
    pub handled: Vec<bool>,
}

impl Stream {
    pub(super) fn is_pending(&self) -> bool {
        !self.removed && self.acked < self.events
    }
}

#[derive(Debug)]
pub(super) struct SubscriptionServer {
    pub streams: Vec<Stream>,
    pub lease_ttl: Millis,
    pub generation: u64,
    pub holder: Option<String>,
    wake: Option<u64>,
    lease_until: Millis,
    /// How many leases have run out.
    pub expired: u32,
    /// The generations of the wake stream's events.
    pub wakes: Vec<u64>,
    /// Whether a 409 says why.
    pub has_codes: bool,
}

impl SubscriptionServer {
    pub(super) fn new(streams: usize, lease_ttl: Millis, has_codes: bool) -> Self {
        let stream = |n| Stream {
            path: format!("s/{n}"),
            events: 0,
            acked: 0,
            removed: false,
            handled: Vec::new(),
        };
        Self {
            streams: (0..streams).map(stream).collect(),
            lease_ttl,
            generation: 0,
            holder: None,
            wake: None,
            lease_until: 0,
            expired: 0,
            wakes: Vec::new(),
            has_codes,
        }
    }

    pub(super) fn stream(&mut self, path: &str) -> &mut Stream {
        self.streams.iter_mut().find(|stream| stream.path == path).unwrap()
    }

    pub(super) fn append(&mut self, index: usize, events: usize) {
        let stream = &mut self.streams[index];
        stream.events += events;
        stream.handled.resize(stream.events, false);
        if self.wake.is_none() && self.holder.is_none() {
            self.wake_if_pending();
        }
    }

    /// When the lease runs out.
    pub(super) fn next_time(&self) -> Option<Millis> {
        self.holder.as_ref().map(|_| self.lease_until)
    }

    pub(super) fn expire(&mut self, now: Millis) {
        if self.holder.is_some() && self.lease_until <= now {
            self.expired += 1;
            self.end_claim();
        }
    }

    fn end_claim(&mut self) {
        (self.holder, self.wake) = (None, None);
        self.wake_if_pending();
    }

    fn wake_if_pending(&mut self) -> bool {
        let pending = self.streams.iter().any(Stream::is_pending);
        if pending {
            self.generation += 1;
            self.wake = Some(self.generation);
            self.wakes.push(self.generation);
        }
        pending
    }

    pub(super) fn handle(&mut self, now: Millis, request: &Request) -> Response {
        self.expire(now);
        let body: Value = serde_json::from_slice(request.body.as_ref().unwrap()).unwrap();
        let Operation::Subscription(operation) = request.operation else {
            panic!("{request:?}")
        };
        match operation {
            SubscriptionOperation::Claim => self.claim(now, body["worker"].as_str().unwrap()),
            _ if !self.is_holder(request, &body) => self.conflict(json!({ "code": "FENCED" })),
            SubscriptionOperation::Ack => self.ack(now, &body),
            SubscriptionOperation::Release => {
                self.end_claim();
                response(204, &Value::Null)
            }
            _ => panic!("{request:?}"),
        }
    }

    fn is_holder(&self, request: &Request, body: &Value) -> bool {
        let generation = body["generation"].as_u64().unwrap();
        let token = request.headers[http::header::AUTHORIZATION].to_str().unwrap();
        assert_eq!(token, format!("Bearer t{generation}"));
        self.holder.is_some() && body["wake_id"] == wake_id(self.generation) && generation == self.generation
    }

    fn claim(&mut self, now: Millis, worker: &str) -> Response {
        if let Some(holder) = &self.holder {
            let error = json!({ "code": "ALREADY_CLAIMED", "current_holder": holder, "generation": self.generation });
            return self.conflict(error);
        }
        if !self.streams.iter().any(Stream::is_pending) {
            return response(409, &json!({ "error": { "code": "NO_PENDING_WORK" } }));
        }
        if self.wake.is_none() {
            self.wake_if_pending();
        }
        self.holder = Some(worker.to_owned());
        self.lease_until = now + self.lease_ttl;
        let streams = self.streams.iter().filter(|stream| !stream.removed).map(|stream| {
            json!({
                "path": stream.path,
                "acked_offset": offset(stream.acked),
                "tail_offset": offset(stream.events),
                "has_pending": stream.is_pending(),
            })
        });
        let granted = json!({
            "wake_id": wake_id(self.generation),
            "generation": self.generation,
            "token": format!("t{}", self.generation),
            "lease_ttl_ms": self.lease_ttl,
            "streams": streams.collect::<Vec<_>>(),
        });
        response(200, &granted)
    }

    fn ack(&mut self, now: Millis, body: &Value) -> Response {
        let acks = body["acks"].as_array().unwrap().iter();
        let acks: Vec<(&str, usize)> = acks
            .map(|ack| {
                (
                    ack["stream"].as_str().unwrap(),
                    events_before(ack["offset"].as_str().unwrap()),
                )
            })
            .collect();
        for (path, events) in &acks {
            let stream = self.stream(path);
            if stream.removed || *events < stream.acked {
                return response(409, &json!({ "error": { "code": "INVALID_OFFSET" } }));
            }
        }
        for (path, events) in acks {
            let stream = self.stream(path);
            let handled = stream.handled[..events].iter().all(|handled| *handled);
            assert!(handled, "{path} is acked up to {events}, and not handled up to there");
            stream.acked = events;
        }
        self.lease_until = now + self.lease_ttl;
        let next_wake = body["done"] == true && {
            (self.holder, self.wake) = (None, None);
            self.wake_if_pending()
        };
        response(200, &json!({ "ok": true, "next_wake": next_wake }))
    }

    fn conflict(&self, error: Value) -> Response {
        match self.has_codes {
            true => response(409, &json!({ "error": error })),
            false => response(409, &Value::Null),
        }
    }
}

fn wake_id(generation: u64) -> String {
    format!("w_{generation}")
}

pub(in crate::worker::tests) fn response(status: u16, body: &Value) -> Response {
    Response {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: match body {
            Value::Null => Default::default(),
            body => body.to_string().into(),
        },
        tries: Default::default(),
        redirected: None,
    }
}
