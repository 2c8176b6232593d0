//! Random reads of a simulated stream over a network with faults, in virtual time.
//!
//! Each run has a seed, and prints it if it fails. `READ_SIM_SEEDS=100000 cargo test -p durable-streams-protocol read`
//! runs more seeds; `READ_SIM_SEED=7` runs only seed 7.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use fastrand::Rng;
use http::header::RETRY_AFTER;

use super::server::{ReadServer, ServerForm, ServerResponse, item};
use super::{
    Live, Part, Position, ReadAction, ReadConfig, ReadEvent, ReadMachine, ReadOptions, RetryPolicy, config, options,
};
use crate::error::{Error, Kind};
use crate::protocol::NOW;
use crate::request::{Request, RequestFailure, Response};
use crate::retry::jitter::Jitter;
use crate::retry::outage::OutageEvent;

/// What the network does to a request or its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NetworkFault {
    Refused,
    ResponseLost,
    /// The body breaks off.
    Cut,
    /// A live response brings nothing for the live timeout.
    Silent,
    Status(u16),
    /// A cache sends an old response without data.
    Stale,
    /// A replica that lags behind responds.
    Lag,
    /// An event stream ends with an error event.
    ErrorEvent,
    /// The server refuses an event stream.
    RefusesSse,
    /// A long-poll times out while data arrive: the response has the new tail.
    TimesOutLate,
    /// A server to which the position is beyond the tail sends what it has instead.
    DataBefore,
}

struct ReadRun {
    rng: Rng,
    server: ReadServer,
    now: Instant,
    machine: ReadMachine,
    options: ReadOptions,
    /// How many more faults will happen.
    remaining_faults: u32,
    /// How many items have been handed out.
    handed_out: u64,
    /// Where a new read would start.
    position: Position,
    /// Whether the read is patient. Its policy allows no retry then, so faults come only after its first success.
    patient: bool,
    succeeded: bool,
    /// Whether the last outage event was a beginning.
    in_outage: bool,
    /// Requests since something was handed out, the offset changed or the machine waited.
    idle_requests: u32,
    /// The offset of the last request.
    last_offset: String,
}

impl ReadRun {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let live = [Live::Off, Live::LongPoll, Live::Sse, Live::Auto][rng.usize(..4)];
        let options = options(["", "now"][usize::from(rng.u32(..5) == 0)], live);
        let form = [ServerForm::Arrays, ServerForm::Lines, ServerForm::Sequence][rng.usize(..3)];
        let max_size = match form {
            ServerForm::Arrays => rng.u64(1..12),
            _ => [rng.u64(3..12), rng.u64(3..200)][rng.usize(..2)],
        };
        let mut server = ReadServer::new(form, max_size);
        let items = rng.u64(..40);
        server.append(&mut rng, items);
        let patient = live != Live::Off && rng.bool();
        Self {
            machine: machine(&mut rng, options.clone(), patient),
            patient,
            succeeded: false,
            in_outage: false,
            remaining_faults: rng.u32(..30),
            rng,
            server,
            now: Instant::now(),
            position: options.position.clone(),
            options,
            handed_out: 0,
            idle_requests: 0,
            last_offset: String::new(),
        }
    }

    fn run(&mut self) {
        for _ in 0..5_000 {
            self.take_events();
            match self.machine.poll_action(self.now) {
                ReadAction::End(None) => return self.check_end(),
                ReadAction::End(Some(error)) => panic!("{error}"),
                ReadAction::Wait(until) => {
                    assert!(until > self.now);
                    self.now = until;
                    self.idle_requests = 0;
                }
                ReadAction::Request => self.request(),
                other => panic!("there is no response for {other:?}"),
            }
            self.write();
            if self.rng.u32(..40) == 0 {
                self.resume();
            }
        }
        panic!("the read did not end");
    }

    /// Appends items at random, and closes the stream at last.
    fn write(&mut self) {
        if self.server.closed {
            return;
        }
        if self.rng.bool() {
            let items = self.rng.u64(..4);
            self.server.append(&mut self.rng, items);
        }
        self.server.closed = self.server.items > 60 || self.rng.u32(..60) == 0;
    }

    /// Another read starts at this one's position.
    fn resume(&mut self) {
        self.take_events();
        self.options.position = self.position.clone();
        self.machine = machine(&mut self.rng, self.options.clone(), self.patient);
        (self.succeeded, self.in_outage) = (false, false);
    }

    fn take_events(&mut self) {
        while let Some(event) = self.machine.poll_event() {
            match event {
                ReadEvent::Length(_) => panic!("only a reader of bytes gets a length"),
                ReadEvent::Part(part) => self.take(&part),
                ReadEvent::Retry(_) => {}
                ReadEvent::Outage(outage) => {
                    let begins = matches!(outage.event, OutageEvent::Began { .. });
                    assert_ne!(self.options.live, Live::Off);
                    assert_ne!(begins, self.in_outage, "outages must begin and end one after another");
                    self.in_outage = begins;
                }
                ReadEvent::End(last, progress) => {
                    self.succeeded = true;
                    if let Some(part) = last {
                        self.take(&part);
                    }
                    self.idle_requests = 0;
                    if self.position.offset == NOW {
                        self.handed_out = self.server.items_before(&progress.next_offset);
                    }
                    self.position = Position {
                        offset: progress.next_offset.clone(),
                        cursor: progress.cursor,
                        skip: progress.skip,
                    };
                    assert_eq!(
                        self.server.items_before(&progress.next_offset) + progress.skip.0,
                        self.handed_out,
                        "the position must match what was handed out"
                    );
                    let is_large = self.machine.batch.max_bytes < 100;
                    assert!(
                        progress.skip.is_zero() || is_large,
                        "a read that starts there would repeat items"
                    );
                }
            }
        }
    }

    fn take(&mut self, part: &Part) {
        let Part::Items { text, count } = part else {
            panic!("{part:?}")
        };
        assert!(!self.in_outage, "data end an outage");
        self.succeeded = true;
        let text = std::str::from_utf8(text).unwrap();
        let expected: Vec<String> = (self.handed_out..).map(item).take(*count).collect();
        assert_eq!(text, expected.join(","), "items must come in order, each exactly once");
        self.handed_out += *count as u64;
        self.position.skip += part.units();
        self.idle_requests = 0;
    }

    fn fault(&mut self) -> Option<NetworkFault> {
        if self.remaining_faults == 0 || (self.patient && !self.succeeded) || self.rng.u32(..3) > 0 {
            return None;
        }
        self.remaining_faults -= 1;
        Some(match self.rng.u32(..13) {
            0 => NetworkFault::Refused,
            1 => NetworkFault::ResponseLost,
            2 | 3 => NetworkFault::Cut,
            4 => NetworkFault::Silent,
            5 => NetworkFault::Status(503),
            6 => NetworkFault::Status(429),
            7 => NetworkFault::ErrorEvent,
            8 => NetworkFault::Lag,
            9 => NetworkFault::RefusesSse,
            10 => NetworkFault::TimesOutLate,
            11 => NetworkFault::DataBefore,
            _ => NetworkFault::Stale,
        })
    }

    fn request(&mut self) {
        let request = self.machine.request(self.now);
        let offset = request
            .query
            .iter()
            .find(|(name, _)| *name == "offset")
            .unwrap()
            .1
            .clone();
        match offset == self.last_offset {
            true => self.idle_requests += 1,
            false => self.idle_requests = 1,
        }
        self.last_offset = offset;
        assert!(self.idle_requests < 12, "too many requests without a pause or progress");
        let is_sse = request.query.contains(&("live", "sse".to_owned()));
        let is_long_poll = request.query.contains(&("live", "long-poll".to_owned()));
        // Caches do not store SSE streams.
        let fault = self.fault().filter(|fault| *fault != NetworkFault::Stale || !is_sse);
        let response = match fault {
            Some(NetworkFault::Refused) => return self.fail(RequestFailure::NotSent(error(Kind::Connection))),
            Some(NetworkFault::ResponseLost) => {
                return self.fail(RequestFailure::ResponseLost(error(Kind::Connection)));
            }
            Some(NetworkFault::Status(status)) => self.error_response(status),
            Some(NetworkFault::Stale) => ServerResponse::stale(self.server.form, &request),
            Some(NetworkFault::Lag) => self.server.respond_late(&mut self.rng, &request),
            Some(NetworkFault::ErrorEvent) if is_sse => self.error_event(&request),
            Some(NetworkFault::RefusesSse) if is_sse && self.options.live == Live::Auto => self.error_response(406),
            Some(NetworkFault::TimesOutLate) if is_long_poll => self.server.poll_timeout(),
            // A patient read does not retry here, and what an event stream sends before its control event counts.
            Some(NetworkFault::DataBefore) if !is_sse && !self.patient => {
                self.server.respond_before(&mut self.rng, &request)
            }
            _ => self.server.respond(&mut self.rng, &request),
        };
        self.deliver(&response, fault);
    }

    /// An event stream that an error event cuts off.
    fn error_event(&mut self, request: &Request) -> ServerResponse {
        let mut response = self.server.respond(&mut self.rng, request);
        let text = String::from_utf8(response.body).unwrap();
        let events: Vec<&str> = text.split_inclusive("\n\n").collect();
        let mut body = events[..self.rng.usize(..=events.len())].concat();
        body.push_str("event: error\ndata:{\"error\":{\"code\":\"NO_LEADER\",\"message\":\"try later\"}}\n\n");
        response.body = body.into_bytes();
        response
    }

    fn error_response(&mut self, status: u16) -> ServerResponse {
        match self.rng.bool() {
            true => ServerResponse::error(status, &[(RETRY_AFTER, "3")]),
            false => ServerResponse::error(status, &[]),
        }
    }

    fn deliver(&mut self, response: &ServerResponse, fault: Option<NetworkFault>) {
        let length = response.body.len() as u64;
        let (status, headers) = (response.status, &response.headers);
        self.machine
            .handle_response(self.now, SystemTime::UNIX_EPOCH, status, headers, Some(length));
        let whole = response.body.len();
        let end = if fault == Some(NetworkFault::Cut) {
            self.rng.usize(..=whole)
        } else {
            whole
        };
        let mut at = 0;
        loop {
            self.take_events();
            match self.machine.poll_action(self.now) {
                ReadAction::Receive { live } => {
                    if at < end {
                        let to = self.rng.usize(at + 1..=end);
                        self.machine
                            .handle_piece(self.now, Bytes::copy_from_slice(&response.body[at..to]));
                        at = to;
                    } else if fault == Some(NetworkFault::Cut) {
                        self.fail(RequestFailure::ResponseLost(error(Kind::Connection)));
                    } else if live && fault == Some(NetworkFault::Silent) {
                        self.wait();
                        self.machine.handle_silence(self.now);
                    } else {
                        self.now += Duration::from_millis(response.takes_ms);
                        self.machine.handle_end(self.now);
                    }
                }
                ReadAction::ReceiveErrorBody => {
                    let response = Response {
                        status,
                        headers: headers.clone(),
                        body: Bytes::copy_from_slice(&response.body),
                        tries: Default::default(),
                        redirected: None,
                    };
                    self.machine
                        .handle_error_response(self.now, SystemTime::UNIX_EPOCH, response);
                }
                _ => return,
            }
        }
    }

    fn fail(&mut self, failure: RequestFailure) {
        self.wait();
        self.machine.handle_failure(self.now, failure);
    }

    fn wait(&mut self) {
        self.now += Duration::from_millis(self.rng.u64(..1_000));
    }

    fn check_end(&self) {
        match self.options.live {
            Live::Off => assert!(self.handed_out <= self.server.items),
            _ => {
                assert!(self.server.closed, "a live read must end only with the stream");
                assert_eq!(self.handed_out, self.server.items);
            }
        }
    }
}

fn machine(rng: &mut Rng, options: ReadOptions, patient: bool) -> ReadMachine {
    let retry = RetryPolicy {
        // More than there are faults. Other tests check that a read gives up.
        max_retries: if patient { 0 } else { 100 },
        ..RetryPolicy::for_tests()
    };
    let config = ReadConfig {
        patient,
        ..config(retry)
    };
    let mut jitter = rng.fork();
    let mut machine = ReadMachine::new(options, config, Jitter::new(move || jitter.f64()));
    if rng.bool() {
        machine.batch.max_bytes = rng.usize(..100);
    }
    if rng.bool() {
        machine.early_bytes = rng.usize(1..100);
    }
    machine
}

fn error(kind: Kind) -> Error {
    Error::plain(kind, "a fault".to_owned())
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn run(seed: u64) {
    struct SeedReport(u64);
    impl Drop for SeedReport {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("read simulation failed: READ_SIM_SEED={}", self.0);
            }
        }
    }
    let _report = SeedReport(seed);
    ReadRun::new(seed).run();
}

#[test]
fn hands_out_every_item_once_and_in_order() {
    if let Some(seed) = number("READ_SIM_SEED") {
        return run(seed);
    }
    for seed in 0..number("READ_SIM_SEEDS").unwrap_or(4_000) {
        run(seed);
    }
}
