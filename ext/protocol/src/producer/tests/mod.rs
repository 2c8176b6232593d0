//! The producer, case by case and in simulation.

mod answers;
mod batching;
mod claims;
mod ending;
mod reruns;
mod sim;

use std::time::{Duration, Instant};

use super::*;
use crate::retry::Policy;

/// A machine, its clock, and what it has told.
struct Bench {
    machine: Machine,
    now: Instant,
    started: Instant,
}

/// Settings that send at once and one message at a time, unless a test says otherwise.
fn config() -> Config {
    Config {
        body: BodyKind::Bytes,
        linger: Duration::ZERO,
        max_batch_items: 1,
        retry: Policy {
            max_retries: 2,
            ..Policy::default()
        },
        ..Config::default()
    }
}

/// Those, but with one try for each request.
fn without_retries() -> Config {
    Config {
        retry: Policy {
            max_retries: 0,
            ..Policy::default()
        },
        ..config()
    }
}

fn ok(status: u16, seq: u64) -> Answer {
    Answer {
        status,
        producer_seq: Some(seq),
        next_offset: Some(format!("after {seq}")),
        ..Answer::default()
    }
}

fn status(status: u16) -> Answer {
    Answer {
        status,
        ..Answer::default()
    }
}

fn gap(expected: u64, received: u64) -> Answer {
    Answer {
        expected_seq: Some(expected),
        received_seq: Some(received),
        ..status(409)
    }
}

fn stale(epoch: u64) -> Answer {
    Answer {
        producer_epoch: Some(epoch),
        ..status(403)
    }
}

impl Bench {
    fn new(config: Config) -> Bench {
        let now = Instant::now();
        let machine = Machine::new(config, Box::new(|| 1.0)).expect("a valid configuration");
        Bench {
            machine,
            now,
            started: now,
        }
    }

    /// A machine whose epoch the server has acknowledged already.
    fn established(config: Config) -> Bench {
        let mut bench = Bench::new(config);
        let first = bench.append_and_send(&["first"]);
        bench.machine.handle_response(bench.now, first[0].id, ok(200, 0));
        bench.events();
        bench
    }

    /// Such a machine that has just sent these messages.
    fn sending(config: Config, messages: &[&str]) -> (Bench, Vec<Transmit>) {
        let mut bench = Bench::established(config);
        let sent = bench.append_and_send(messages);
        (bench, sent)
    }

    fn append(&mut self, messages: &[&str]) {
        for message in messages {
            self.machine.append(message.as_bytes()).expect("room");
        }
    }

    /// All requests that may go out now. The tail of the stream, if it is asked for, is at "tail".
    fn send(&mut self) -> Vec<Transmit> {
        match self.machine.poll_lookup(self.now) {
            Some(Lookup::Tail { .. }) => self.machine.handle_tail(Some("tail".to_owned())),
            Some(lookup) => panic!("{lookup:?}"),
            None => {}
        }
        std::iter::from_fn(|| self.machine.poll_transmit(self.now)).collect()
    }

    /// Has a batch looked for, with this result. Tells from where on.
    fn looked_for(&mut self, found: Found) -> String {
        let Some(Lookup::Batch { from, .. }) = self.machine.poll_lookup(self.now) else {
            panic!("no batch is looked for")
        };
        self.machine.handle_found(self.now, found);
        from
    }

    fn append_and_send(&mut self, messages: &[&str]) -> Vec<Transmit> {
        self.append(messages);
        self.send()
    }

    fn answer(&mut self, transmit: &Transmit, answer: Answer) {
        self.machine.handle_response(self.now, transmit.id, answer);
    }

    fn accept(&mut self, transmit: &Transmit) {
        self.answer(transmit, ok(200, transmit.seq));
    }

    fn lose(&mut self, transmit: &Transmit) {
        self.machine.handle_lost(self.now, transmit.id, Lost::TimedOut);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// When the timer is set to, from the start on.
    fn timer(&self) -> Option<Duration> {
        self.machine.poll_timeout().map(|at| at - self.started)
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.machine.poll_event()).collect()
    }

    /// The deliveries told so far, as (first token, count, number).
    fn delivered(&mut self) -> Vec<(u64, u64, u64)> {
        let deliveries = self.events().into_iter().filter_map(|event| match event {
            Event::Delivered(delivery) => Some((delivery.first, delivery.count, delivery.seq)),
            _ => None,
        });
        deliveries.collect()
    }

    /// The failure that was told, and the undelivered messages with their outcomes.
    fn failed(&mut self) -> Option<(Failure, Vec<(String, Outcome)>)> {
        self.events().into_iter().find_map(|event| match event {
            Event::Failed { failure, undelivered } => Some((
                failure,
                undelivered
                    .messages()
                    .map(|m| (String::from_utf8_lossy(&m.data).into_owned(), m.outcome))
                    .collect(),
            )),
            _ => None,
        })
    }
}

fn bodies(transmits: &[Transmit]) -> Vec<(u64, String)> {
    transmits
        .iter()
        .map(|t| (t.seq, String::from_utf8_lossy(&t.body).into_owned()))
        .collect()
}

fn not_delivered(message: &str) -> (String, Outcome) {
    (message.to_owned(), Outcome::NotDelivered)
}

fn unknown(message: &str) -> (String, Outcome) {
    (message.to_owned(), Outcome::Unknown)
}
