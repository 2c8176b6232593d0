//! What a producer's owner and its driver share: the machine, those who wait for it, and how it ended.

use durable_streams_protocol::producer::{Delivery, ProducerEvent, ProducerMachine};
use tokio::sync::{Notify, oneshot};

use super::error::ProducerError;
use super::lost_messages::{LostMessages, ReportSink};
use super::notice::{Notice, NoticeListener, SpaceGeneration};
use crate::lock::Mutex;

/// What a wait comes to: the delivery that ended it, if one did.
pub type WaitOutcome = std::result::Result<Option<Delivery>, ProducerError>;

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitFor {
    /// All messages below this token are acknowledged.
    Delivered(u64),
    /// There was room since.
    Space(SpaceGeneration),
    /// The producer is at its end.
    Ended,
}

struct Waiter {
    until: WaitFor,
    owner: oneshot::Sender<WaitOutcome>,
}

pub(crate) struct Shared {
    /// Of the stream, without credentials.
    pub(super) url: String,
    pub(super) state: Mutex<ProducerState>,
    /// There is something to do for the driver.
    pub(super) driver_wakeup: Notify,
    sink: ReportSink,
}

pub(super) struct ProducerState {
    pub(super) machine: ProducerMachine,
    /// All tokens below it are acknowledged.
    pub(super) delivered: u64,
    /// The token after the last one that was given out.
    pub(super) appended: u64,
    /// How often there was room again.
    pub(super) space_generation: u64,
    pub(super) final_offset: Option<String>,
    pub(super) ended: bool,
    pub(super) failed: Option<ProducerError>,
    waiters: Vec<Waiter>,
    warn: fn(String),
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(lost) = self.lost_messages() {
            (self.sink.record_lost)(lost);
        }
    }
}

impl Shared {
    pub(super) fn new(url: String, machine: ProducerMachine, sink: ReportSink) -> Shared {
        let state = ProducerState {
            machine,
            delivered: 0,
            appended: 0,
            space_generation: 0,
            final_offset: None,
            ended: false,
            failed: None,
            waiters: Vec::new(),
            warn: sink.warn,
        };
        Shared {
            url,
            state: Mutex::new(state),
            driver_wakeup: Notify::new(),
            sink,
        }
    }

    /// Has what waits for company sent. Gives the token after the last one.
    pub(super) fn flush_soon(&self) -> u64 {
        let mut state = self.state.lock();
        // A machine that has failed refuses; whoever waits is told why.
        let _refused = state.machine.flush();
        let target = state.appended;
        drop(state);
        self.driver_wakeup.notify_one();
        target
    }

    pub(super) async fn flush(&self) -> std::result::Result<(), ProducerError> {
        let target = self.flush_soon();
        self.wait(WaitFor::Delivered(target)).await.map(|_| ())
    }

    pub(super) async fn close(&self) -> std::result::Result<(), ProducerError> {
        // A machine that has failed refuses; the wait tells why.
        let _refused = self.state.lock().machine.close();
        self.driver_wakeup.notify_one();
        self.wait(WaitFor::Ended).await.map(|_| ())
    }

    pub(super) async fn wait(&self, until: WaitFor) -> WaitOutcome {
        let told = {
            let mut state = self.state.lock();
            if let Some(failed) = &state.failed {
                return Err(failed.clone());
            }
            if state.reached(until) {
                return Ok(None);
            }
            state.waiter(until)
        };
        told.await.unwrap_or_else(|_| Err(ProducerError::silent(&self.url)))
    }

    /// What is lost if the process ends now and nobody asks any more.
    pub(super) fn lost_messages(&self) -> Option<LostMessages> {
        let state = self.state.lock();
        let (count, reason) = match &state.failed {
            Some(failed) if failed.reported() => (0, None),
            Some(failed) => (
                failed.undelivered().len() as u64,
                Some(failed.error().message().to_owned()),
            ),
            None => (state.machine.pending(), None),
        };
        let url = self.url.clone();
        (count > 0).then_some(LostMessages { url, count, reason })
    }

    /// Whether the driver has something to do, or to tell.
    pub(super) fn busy(&self) -> bool {
        let state = self.state.lock();
        let under_way = state.delivered < state.appended || state.machine.ending();
        under_way && !state.ended && state.failed.is_none()
    }

    /// The driver is at its end. One that has told nothing has panicked.
    pub(super) fn driver_ended(&self) {
        let mut state = self.state.lock();
        if !state.ended && state.failed.is_none() {
            state.fail(ProducerError::silent(&self.url));
        }
    }
}

impl ProducerState {
    /// Registers somebody who waits, and forgets those who gave up.
    pub(super) fn waiter(&mut self, until: WaitFor) -> oneshot::Receiver<WaitOutcome> {
        let (owner, told) = oneshot::channel();
        self.waiters.retain(|waiter| !waiter.owner.is_closed());
        self.waiters.push(Waiter { until, owner });
        told
    }

    fn reached(&self, until: WaitFor) -> bool {
        match until {
            WaitFor::Delivered(token) => self.delivered >= token,
            WaitFor::Space(SpaceGeneration(before)) => self.space_generation > before,
            WaitFor::Ended => self.ended,
        }
    }

    /// Takes what the machine has to tell.
    pub(super) fn take_events(&mut self, url: &str, listener: Option<&NoticeListener>) {
        let tell = |notice| {
            if let Some(listener) = listener {
                listener(notice);
            }
        };
        while let Some(event) = self.machine.poll_event() {
            match event {
                ProducerEvent::Delivered(delivery) => {
                    self.delivered = delivery.first + delivery.count;
                    self.wake(Some(&delivery));
                    tell(Notice::Delivered(delivery));
                }
                ProducerEvent::Assumed {
                    count, epoch, found, ..
                } => (self.warn)(assumed(url, count, epoch, found)),
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
                    let undelivered = undelivered.messages().collect();
                    let failed = ProducerError::new(url, &failure, undelivered);
                    self.fail(failed.clone());
                    tell(Notice::Failed(failed));
                }
                // The epoch in use is read from the machine.
                ProducerEvent::Claimed { .. } => {}
            }
        }
    }

    fn fail(&mut self, failed: ProducerError) {
        self.failed = Some(failed.clone());
        for waiter in self.waiters.drain(..) {
            // Whoever gave up waiting wants no answer.
            let _gone = waiter.owner.send(Err(failed.clone()));
        }
    }

    /// Answers those whose wait is over, with the delivery that ended it, if one did.
    fn wake(&mut self, delivery: Option<&Delivery>) {
        let waiters = std::mem::take(&mut self.waiters).into_iter();
        let (ready, waiting): (Vec<_>, Vec<_>) = waiters.partition(|waiter| self.reached(waiter.until));
        self.waiters = waiting;
        for waiter in ready {
            let _gone = waiter.owner.send(Ok(delivery.cloned()));
        }
    }
}

/// The warning for a batch that may be another producer's.
fn assumed(url: &str, count: u64, epoch: u64, found: bool) -> String {
    let what = match count {
        0 => format!("{url} is closed"),
        1 => format!("1 message reached {url}"),
        _ => format!("{count} messages reached {url}"),
    };
    let why = if found {
        "Equal data are in the stream. Either something on the way has sent the request twice, or another producer with the \
         same id and epoch has stored them"
    } else {
        "The stream could not be searched to find out whether this producer stored it, or another one with the same id and \
         epoch"
    };
    format!(
        "it is not certain that {what}: the server says that it had the request's number in epoch {epoch} \
         already. {why}"
    )
}
