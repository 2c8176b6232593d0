//! [`Event`], and which events somebody wants.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use durable_streams_protocol::error::{Error, Operation};
use durable_streams_protocol::read::cursor::Mode;
use durable_streams_protocol::read::event::ReadOutage;
use durable_streams_protocol::retry::outage::OutageEvent;
use reqwest::Method;

/// The names of events that begin in Rust, or that Rust code checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventName {
    /// One HTTP request ended.
    Request,
    /// A failed try is followed by another one.
    Retry,
    /// An append ended.
    Append,
    /// A producer's batch was settled.
    Batch,
    /// A producer claimed an epoch.
    Claim,
    /// A producer failed.
    ProducerFailed,
    /// A batch was handed out.
    Read,
    /// A live read lost its connection.
    Disconnect,
    /// A live read has its connection back.
    Reconnect,
}

impl EventName {
    const ALL: [Self; 9] = [
        Self::Request,
        Self::Retry,
        Self::Append,
        Self::Batch,
        Self::Claim,
        Self::ProducerFailed,
        Self::Read,
        Self::Disconnect,
        Self::Reconnect,
    ];

    /// The name for users.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request.durable_streams",
            Self::Retry => "retry.durable_streams",
            Self::Append => "append.durable_streams",
            Self::Batch => "batch.durable_streams",
            Self::Claim => "claim.durable_streams",
            Self::ProducerFailed => "producer_failed.durable_streams",
            Self::Read => "read.durable_streams",
            Self::Disconnect => "disconnect.durable_streams",
            Self::Reconnect => "reconnect.durable_streams",
        }
    }

    fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// The names that somebody wants, one bit each.
static WANTED: AtomicU32 = AtomicU32::new(0);

/// Whether somebody wants events of this name. It is one load, so it may be called for every request and message.
#[inline]
pub fn is_wanted(name: EventName) -> bool {
    WANTED.load(Ordering::Relaxed) & name.bit() != 0
}

/// Whether somebody wants any of these events.
#[inline]
pub fn any_wanted() -> bool {
    WANTED.load(Ordering::Relaxed) != 0
}

/// From now on the events of these names are wanted, and no others. Unknown names have no effect.
pub fn want<'a>(names: impl IntoIterator<Item = &'a str>) {
    let bit = |text: &str| EventName::ALL.into_iter().find(|name| name.as_str() == text);
    let bits = names.into_iter().filter_map(bit).map(EventName::bit);
    WANTED.store(bits.fold(0, |all, bit| all | bit), Ordering::Relaxed);
}

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// When it began.
    pub time: SystemTime,
    /// How long it took.
    pub duration: Duration,
    /// What it was.
    pub details: EventDetails,
}

impl Event {
    /// An event that began at `started` and ends now.
    pub fn since(started: Instant, details: EventDetails) -> Self {
        Self::after(started.elapsed(), details)
    }

    /// An event that has taken this time, and ends now.
    pub fn after(duration: Duration, details: EventDetails) -> Self {
        let now = SystemTime::now();
        Self {
            time: now.checked_sub(duration).unwrap_or(now),
            duration,
            details,
        }
    }

    /// An event of this moment.
    pub fn now(details: EventDetails) -> Self {
        Self::after(Duration::ZERO, details)
    }
}

/// What happened. URLs have no credentials and no query.
#[derive(Clone, Debug)]
pub enum EventDetails {
    /// One HTTP request ended: its response is complete, or was given up, or none came.
    Request {
        /// The operation that it belongs to.
        operation: Operation,
        /// Its method.
        method: Method,
        /// Its URL, which is another one after a redirect.
        url: String,
        /// The response's status, if a response came.
        status: Option<u16>,
        /// The number of the try.
        attempt: u32,
        /// How many bytes of the body were sent.
        bytes_sent: usize,
        /// How many bytes of the response's body arrived, after decompression.
        bytes_received: usize,
        /// Why there is no complete response. `None` also if the application cancelled the request.
        error: Option<Error>,
    },
    /// A failed try is followed by another one, after a pause that begins now.
    Retry {
        /// The operation.
        operation: Operation,
        /// The stream's URL.
        url: String,
        /// The number of the failed try.
        attempt: u32,
        /// How long the pause is.
        delay: Duration,
        /// Why the try failed.
        reason: String,
    },
    /// The outcome of a producer's batch is known.
    Batch {
        /// The stream's URL.
        url: String,
        /// The producer's id.
        producer_id: String,
        /// The epoch in which it was sent.
        epoch: u64,
        /// Its sequence number.
        seq: u64,
        /// The number of its messages. 0 if it only closes the stream.
        messages: u64,
        /// The size of its body.
        bytes: usize,
        /// The number of its requests in this epoch.
        attempts: u32,
        /// Whether the server had it already.
        duplicate: bool,
        /// The offset after it, if it is known.
        next_offset: Option<String>,
        /// Why it was not delivered.
        error: Option<Error>,
    },
    /// A producer claimed an epoch.
    Claim {
        /// The stream's URL.
        url: String,
        /// The producer's id.
        producer_id: String,
        /// The epoch before.
        from: u64,
        /// The new epoch.
        to: u64,
    },
    /// A producer failed.
    ProducerFailed {
        /// The stream's URL.
        url: String,
        /// The producer's id.
        producer_id: String,
        /// How many messages were not delivered.
        undelivered: usize,
        /// Why it failed.
        error: Error,
    },
    /// A batch was handed out.
    Read {
        /// The stream's URL.
        url: String,
        /// The kind of the request that brought its end.
        mode: Mode,
        /// How much it had.
        count: ReadCount,
        /// The offset after it.
        next_offset: String,
        /// Whether it reached the stream's tail.
        up_to_date: bool,
    },
    /// A live read lost its connection, or has it back.
    Outage {
        /// The stream's URL.
        url: String,
        /// What happened.
        outage: ReadOutage,
    },
    /// An event of the application's language, which was built in a place where it could not be delivered.
    Application(Arc<dyn Any + Send + Sync>),
}

impl EventDetails {
    /// The name; `None` for an event of the application's language.
    pub fn name(&self) -> Option<EventName> {
        Some(match self {
            Self::Request { .. } => EventName::Request,
            Self::Retry { .. } => EventName::Retry,
            Self::Batch { .. } => EventName::Batch,
            Self::Claim { .. } => EventName::Claim,
            Self::ProducerFailed { .. } => EventName::ProducerFailed,
            Self::Read { .. } => EventName::Read,
            Self::Outage { outage, .. } => match outage.event {
                OutageEvent::Began { .. } => EventName::Disconnect,
                OutageEvent::Ended { .. } => EventName::Reconnect,
            },
            Self::Application(_) => return None,
        })
    }

    /// Why it failed, if it did.
    pub fn error(&self) -> Option<&Error> {
        match self {
            Self::Request { error, .. } | Self::Batch { error, .. } => error.as_ref(),
            Self::ProducerFailed { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// How much a batch has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadCount {
    /// So many items.
    Items(u64),
    /// So many bytes.
    Bytes(u64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_an_event_is_its_beginning() {
        let before = SystemTime::now();
        let Some(started) = Instant::now().checked_sub(Duration::from_secs(2)) else {
            return;
        };
        let event = Event::since(started, EventDetails::Application(Arc::new(())));
        assert!(event.duration >= Duration::from_secs(2));
        assert!(event.time < before && event.time + event.duration >= before);
    }

    #[test]
    fn each_name_has_a_bit_of_its_own() {
        let bits: u32 = EventName::ALL.into_iter().map(EventName::bit).sum();
        assert_eq!(bits.count_ones() as usize, EventName::ALL.len());
    }
}
