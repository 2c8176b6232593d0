//! What a producer's owner and its driver share: the machine, the callers that wait, and how the producer ended.

use durable_streams_protocol::error::Operation;
use durable_streams_protocol::producer::{Delivery, ProducerEvent, ProducerMachine};
use tokio::sync::{Notify, oneshot};

use super::error::ProducerError;
use super::instrumentation::ProducerName;
use super::lost_messages::{self, LostMessages};
use super::notice::{Notice, NoticeListener, SpaceGeneration};
use crate::lock::Mutex;
use crate::log::{self, LogLine};

/// The outcome of a wait: the delivery that ended it, if it was one.
pub type WaitOutcome = Result<Option<Delivery>, ProducerError>;

/// What a caller waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitFor {
    /// All messages with a lower token are acknowledged.
    Delivered(u64),
    /// Buffer space has become free since.
    Space(SpaceGeneration),
    /// The producer has ended.
    Ended,
}

struct Waiter {
    condition: WaitFor,
    sender: oneshot::Sender<WaitOutcome>,
}

pub(crate) struct Shared {
    pub(super) name: ProducerName,
    pub(super) state: Mutex<ProducerState>,
    /// Wakes the driver.
    pub(super) driver_wakeup: Notify,
}

pub(super) struct ProducerState {
    pub(super) machine: ProducerMachine,
    /// All messages with a lower token are acknowledged.
    pub(super) delivered: u64,
    /// The token of the next message.
    pub(super) appended: u64,
    /// How often buffer space has become free.
    pub(super) space_generation: u64,
    pub(super) final_offset: Option<String>,
    pub(super) ended: bool,
    pub(super) failed: Option<ProducerError>,
    waiters: Vec<Waiter>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(lost) = self.lost_messages() {
            lost_messages::record(lost);
        }
    }
}

impl Shared {
    pub(super) fn new(name: ProducerName, machine: ProducerMachine) -> Self {
        let state = ProducerState {
            machine,
            delivered: 0,
            appended: 0,
            space_generation: 0,
            final_offset: None,
            ended: false,
            failed: None,
            waiters: Vec::new(),
        };
        Self {
            name,
            state: Mutex::new(state),
            driver_wakeup: Notify::new(),
        }
    }

    /// Has lingering messages sent now. Gives the token of the next message.
    pub(super) fn flush_soon(&self) -> u64 {
        let mut state = self.state.lock();
        // A machine that has failed refuses. Callers that wait get the error.
        let _refused = state.machine.flush();
        let target = state.appended;
        drop(state);
        self.driver_wakeup.notify_one();
        target
    }

    pub(super) async fn flush(&self) -> Result<(), ProducerError> {
        let target = self.flush_soon();
        self.wait(WaitFor::Delivered(target)).await.map(|_| ())
    }

    pub(super) async fn close(&self) -> Result<(), ProducerError> {
        // A machine that has failed refuses. The wait below gives the error.
        let _refused = self.state.lock().machine.close();
        self.driver_wakeup.notify_one();
        self.wait(WaitFor::Ended).await.map(|_| ())
    }

    pub(super) async fn wait(&self, condition: WaitFor) -> WaitOutcome {
        let receiver = {
            let mut state = self.state.lock();
            if let Some(failed) = &state.failed {
                return Err(failed.clone());
            }
            if state.reached(condition) {
                return Ok(None);
            }
            state.waiter(condition)
        };
        receiver
            .await
            .unwrap_or_else(|_| Err(ProducerError::silent(&self.name.url)))
    }

    /// The messages that are lost if the process ends now, unless the owner has got the producer's error.
    pub(super) fn lost_messages(&self) -> Option<LostMessages> {
        let state = self.state.lock();
        let (count, reason) = match &state.failed {
            Some(failed) if failed.reported() => (0, None),
            Some(failed) => (
                failed.undelivered().len() as u64,
                Some(failed.error().reason().to_owned()),
            ),
            None => (state.machine.pending(), None),
        };
        let url = self.name.url.clone();
        (count > 0).then_some(LostMessages { url, count, reason })
    }

    /// Whether the producer still has to send, close or report something.
    pub(super) fn busy(&self) -> bool {
        let state = self.state.lock();
        let under_way = state.delivered < state.appended || state.machine.ending();
        under_way && !state.ended && state.failed.is_none()
    }

    /// Call it when the driver ends. If the producer has neither ended nor failed, the driver has panicked: fails the
    /// producer.
    pub(super) fn driver_ended(&self) {
        let mut state = self.state.lock();
        if !state.ended && state.failed.is_none() {
            state.fail(ProducerError::silent(&self.name.url));
        }
    }
}

impl ProducerState {
    /// Adds a waiting caller, and removes those that have given up.
    pub(super) fn waiter(&mut self, condition: WaitFor) -> oneshot::Receiver<WaitOutcome> {
        let (sender, receiver) = oneshot::channel();
        self.waiters.retain(|waiter| !waiter.sender.is_closed());
        self.waiters.push(Waiter { condition, sender });
        receiver
    }

    fn reached(&self, condition: WaitFor) -> bool {
        match condition {
            WaitFor::Delivered(token) => self.delivered >= token,
            WaitFor::Space(SpaceGeneration(before)) => self.space_generation > before,
            WaitFor::Ended => self.ended,
        }
    }

    /// Handles the machine's events.
    pub(super) fn take_events(&mut self, name: &ProducerName, listener: Option<&NoticeListener>) {
        let url = &name.url;
        let notify = |notice| {
            if let Some(listener) = listener {
                listener(notice);
            }
        };
        while let Some(event) = self.machine.poll_event() {
            match event {
                ProducerEvent::Delivered(delivery) => {
                    self.delivered = delivery.first + delivery.count;
                    // Before a caller goes on, which may end the process.
                    name.report_delivery(&delivery);
                    self.wake(Some(&delivery));
                    notify(Notice::Delivered(delivery));
                }
                ProducerEvent::Assumed {
                    count, epoch, found, ..
                } => log::add(LogLine::warning(assumed(url, count, epoch, found))),
                ProducerEvent::Retry(failed) => name.report_retry(failed),
                ProducerEvent::Outage(event) => log::add(LogLine::outage(Operation::Produce, url, event)),
                ProducerEvent::Room => {
                    self.space_generation += 1;
                    self.wake(None);
                }
                ProducerEvent::StreamClosed { final_offset } => self.final_offset = final_offset,
                ProducerEvent::Closed => {
                    self.ended = true;
                    self.wake(None);
                }
                ProducerEvent::Failed { failure, undelivered } => {
                    let failed = ProducerError::new(url, &failure, &undelivered);
                    name.report_failure(self.machine.epoch(), failed.error(), &undelivered);
                    self.fail(failed.clone());
                    notify(Notice::Failed(failed));
                }
                // The epoch in use is read from the machine.
                ProducerEvent::Claimed { from, to } => name.report_claim(from, to),
            }
        }
    }

    fn fail(&mut self, failed: ProducerError) {
        self.failed = Some(failed.clone());
        for waiter in self.waiters.drain(..) {
            // A caller that has given up needs no outcome.
            let _given_up = waiter.sender.send(Err(failed.clone()));
        }
    }

    /// Wakes the callers whose wait is over, with the delivery that ended it, if it was one.
    fn wake(&mut self, delivery: Option<&Delivery>) {
        let waiters = std::mem::take(&mut self.waiters).into_iter();
        let (ready, waiting): (Vec<_>, Vec<_>) = waiters.partition(|waiter| self.reached(waiter.condition));
        self.waiters = waiting;
        for waiter in ready {
            let _given_up = waiter.sender.send(Ok(delivery.cloned()));
        }
    }
}

/// The warning for a batch that another producer may have stored.
fn assumed(url: &str, count: u64, epoch: u64, found: bool) -> String {
    let what = match count {
        0 => format!("{url} is closed"),
        1 => format!("1 message reached {url}"),
        _ => format!("{count} messages reached {url}"),
    };
    let why = if found {
        "Equal data are in the stream. Either a proxy sent the request twice, or another producer with the same id \
         and epoch stored them"
    } else {
        "The stream could not be searched, so it is unknown whether this producer or another one with the same id \
         and epoch stored the request"
    };
    format!(
        "it is not certain that {what}: the server reports that it already had a request with this sequence number \
         in epoch {epoch}. {why}"
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use durable_streams_protocol::error::{Error, Kind};
    use durable_streams_protocol::producer::{BodyKind, ClaimLimits, ProducerConfig};
    use durable_streams_protocol::request::RequestFailure;
    use durable_streams_protocol::retry::jitter::Jitter;
    use durable_streams_protocol::retry::policy::RetryPolicy;

    use super::*;
    use crate::connections::Config;

    /// A producer whose only batch has failed for good after `elapsed`.
    fn failed_after(elapsed: Duration) -> Shared {
        let config = ProducerConfig {
            body: BodyKind::Json,
            epoch: 0,
            next_seq: Some(0),
            auto_claim: false,
            claims: ClaimLimits::default(),
            max_batch_bytes: 1000,
            max_batch_items: 1,
            linger: Duration::ZERO,
            max_in_flight: 1,
            max_buffered_bytes: 1000,
            retry: RetryPolicy {
                max_retries: 1,
                ..Config::for_tests().retry
            },
            patient: false,
            delivery_timeout: None,
        };
        let machine = ProducerMachine::new(config, Jitter::new(|| 1.0)).unwrap();
        let name = ProducerName {
            url: "http://h/s".to_owned(),
            id: "p".to_owned(),
        };
        let shared = Shared::new(name.clone(), machine);
        let mut state = shared.state.lock();
        let mut now = std::time::Instant::now();
        state.machine.append_shared(Bytes::from_static(b"1")).unwrap();
        while let Some(transmit) = state.machine.poll_transmit(now) {
            let refused = Error::new(Kind::Connection, Operation::Produce, "http://h/s", "refused");
            let failure = RequestFailure::NotSent(refused);
            now += elapsed;
            state.machine.handle_failure(now, transmit.id, failure);
            now = state.machine.poll_timeout().unwrap_or(now);
        }
        state.take_events(&name, None);
        drop(state);
        shared
    }

    #[test]
    fn the_reason_for_lost_messages_does_not_depend_on_the_tries() {
        let [fast, slow] = [1, 5].map(|seconds| failed_after(Duration::from_secs(seconds)));
        let message = |shared: &Shared| shared.state.lock().failed.as_ref().unwrap().error().message();
        assert_ne!(message(&fast), message(&slow));
        let lost = fast.lost_messages().unwrap();
        assert_eq!(lost.reason.as_deref(), Some("produce to http://h/s: refused"));
        assert_eq!(Some(lost), slow.lost_messages());
    }
}
