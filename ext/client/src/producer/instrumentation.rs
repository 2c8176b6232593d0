//! The events of a producer, for subscribers. No caller waits for a batch, so they are unowned.

use std::time::{Duration, Instant};

use durable_streams_protocol::error::{Error, Operation};
use durable_streams_protocol::producer::{Delivery, SentBatch, Undelivered};
use durable_streams_protocol::retry::so_far::FailedTry;

use crate::events::{Event, EventDetails, EventName, is_wanted, put_unowned};

/// What the events of a producer name.
#[derive(Clone, Debug)]
pub(super) struct ProducerName {
    /// The stream's URL, without credentials.
    pub(super) url: String,
    /// The producer's id.
    pub(super) id: String,
}

impl ProducerName {
    /// A batch was delivered.
    pub(super) fn report_delivery(&self, delivery: &Delivery) {
        report(EventName::Batch, since(delivery.first_try), || EventDetails::Batch {
            url: self.url.clone(),
            producer_id: self.id.clone(),
            epoch: delivery.epoch,
            seq: delivery.seq,
            messages: delivery.count,
            bytes: delivery.bytes,
            attempts: delivery.attempts,
            // Servers respond to a request that only closes the stream as to a duplicate, also the first time.
            duplicate: delivery.duplicate && delivery.count > 0,
            next_offset: delivery.next_offset.clone(),
            error: None,
        });
    }

    /// The producer has failed in this epoch: an event for each batch of which there were requests, and one for the
    /// producer.
    pub(super) fn report_failure(&self, epoch: u64, error: &Error, undelivered: &Undelivered) {
        for batch in undelivered.sent() {
            self.report_undelivered(epoch, error, batch);
        }
        report(EventName::ProducerFailed, Duration::ZERO, || {
            EventDetails::ProducerFailed {
                url: self.url.clone(),
                producer_id: self.id.clone(),
                undelivered: undelivered.len(),
                error: error.clone(),
            }
        });
    }

    fn report_undelivered(&self, epoch: u64, error: &Error, batch: &SentBatch) {
        report(EventName::Batch, since(batch.first_try), || EventDetails::Batch {
            url: self.url.clone(),
            producer_id: self.id.clone(),
            epoch,
            seq: batch.seq,
            messages: batch.count,
            bytes: batch.bytes,
            attempts: batch.attempts,
            duplicate: false,
            next_offset: None,
            error: Some(error.clone()),
        });
    }

    /// The producer has claimed an epoch.
    pub(super) fn report_claim(&self, from: u64, to: u64) {
        report(EventName::Claim, Duration::ZERO, || EventDetails::Claim {
            url: self.url.clone(),
            producer_id: self.id.clone(),
            from,
            to,
        });
    }

    /// A batch is sent again after a pause.
    pub(super) fn report_retry(&self, failed: FailedTry) {
        let FailedTry { attempt, delay, reason } = failed;
        report(EventName::Retry, Duration::ZERO, || EventDetails::Retry {
            operation: Operation::Produce,
            url: self.url.clone(),
            attempt,
            delay,
            reason,
        });
    }
}

fn since(first_try: Option<Instant>) -> Duration {
    first_try.map_or(Duration::ZERO, |first| first.elapsed())
}

fn report(name: EventName, took: Duration, details: impl FnOnce() -> EventDetails) {
    if is_wanted(name) {
        put_unowned(Event::after(took, details()));
    }
}
