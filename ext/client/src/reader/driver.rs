//! Sends the requests that a read's [`ReadMachine`] wants sent, feeds it what comes back, and hands out what it gives.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use durable_streams_protocol::error::{Error, Kind, Operation, Result};
use durable_streams_protocol::read::event::{ReadEvent, ReadOutage};
use durable_streams_protocol::read::machine::{ReadAction, ReadConfig, ReadMachine, ReadOptions};
use durable_streams_protocol::request::RequestFailure;
use durable_streams_protocol::retry::jitter::Jitter;
use durable_streams_protocol::retry::outage::OutageEvent;
use futures_util::FutureExt;
use reqwest::StatusCode;
use tokio::sync::OwnedSemaphorePermit;

use super::channel::EventSender;
use super::shared_poll::{self, Joined, PollLeader, PollOutcome, WholeResponse};
use crate::connections::Pool;
use crate::endpoint::Endpoint;
use crate::events::{Event, EventDetails, EventName};
use crate::exchange::retry::report_retry;
use crate::exchange::{self, Incoming, LiveBodyError};
use crate::runtime::panicked;

/// The network side of a read.
pub(super) struct Driver {
    endpoint: Arc<Endpoint>,
    pool: Pool,
    machine: ReadMachine,
    /// The response whose body goes to the machine.
    response: Option<Incoming>,
    /// The permit for the current response. It is released when the application takes the response's end.
    request_permit: Option<OwnedSemaphorePermit>,
    sender: EventSender,
}

impl Driver {
    /// Makes a read that has not begun. Its events go to `sender`.
    pub(super) fn new(endpoint: Arc<Endpoint>, pool: Pool, options: ReadOptions, sender: EventSender) -> Self {
        let client = endpoint.client().config();
        let config = ReadConfig {
            url: endpoint.display().to_owned(),
            retry: client.retry.clone(),
            patient: client.patient,
            max_message_bytes: client.max_message_bytes,
            live_timeout: client.live_timeout,
            fresh_values: endpoint.is_dynamic(),
        };
        Self {
            machine: ReadMachine::new(options, config, Jitter::new(fastrand::f64)),
            endpoint,
            pool,
            response: None,
            request_permit: None,
            sender,
        }
    }

    /// Runs the read to its end. The future is boxed here: it has kilobytes, and moved by value through the functions
    /// that start a task, it would leave a large stack in every fiber that reads.
    #[inline(never)]
    pub(super) fn drive(mut self) -> Pin<Box<dyn Future<Output = Result<()>> + Send>> {
        Box::pin(async move {
            let outcome = AssertUnwindSafe(self.run()).catch_unwind().await;
            // Its event comes before the end of the read.
            self.response = None;
            if let Err(error) = outcome.unwrap_or_else(|payload| Err(panicked(payload.as_ref()))) {
                self.sender.send_unbounded(Err(error));
            }
            self.sender.end();
            Ok(())
        })
    }

    async fn run(&mut self) -> Result<()> {
        loop {
            while let Some(event) = self.machine.poll_event() {
                self.send_event(event).await;
            }
            match self.machine.poll_action(Instant::now()) {
                ReadAction::End(outcome) => return outcome.map_or(Ok(()), Err),
                ReadAction::Wait(until) => {
                    self.response = None;
                    self.wait(until).await;
                }
                ReadAction::Request => self.request().await,
                ReadAction::Receive { live } => self.receive(live).await,
                ReadAction::ReceiveErrorBody => self.receive_error_response().await,
            }
        }
    }

    async fn send_event(&mut self, event: ReadEvent) {
        match event {
            ReadEvent::Length(_) => self.sender.send_unbounded(Ok(event)),
            ReadEvent::Retry(failed) => report_retry(&self.endpoint, Operation::Read, failed),
            ReadEvent::Outage(outage) => {
                self.report_outage(&outage);
                self.sender.send_unbounded(Ok(ReadEvent::Outage(outage)));
            }
            ReadEvent::Part(_) => self.sender.send(event, None).await,
            ReadEvent::End(..) => {
                let permit = self.request_permit.take();
                self.sender.send(event, permit).await;
            }
        }
    }

    fn report_outage(&self, outage: &ReadOutage) {
        let (name, duration) = match &outage.event {
            OutageEvent::Began { .. } => (EventName::Disconnect, Duration::ZERO),
            OutageEvent::Ended { duration, .. } => (EventName::Reconnect, *duration),
        };
        self.endpoint.report(name, || {
            let outage = outage.clone();
            let url = self.endpoint.display().to_owned();
            Event::after(duration, EventDetails::Outage { url, outage })
        });
    }

    /// Waits until this time. If the client is closed meanwhile, the read fails.
    async fn wait(&mut self, until: Instant) {
        let closed = tokio::select! {
            () = self.endpoint.client().closed() => self.endpoint.check_open(Operation::Read),
            () = tokio::time::sleep_until(until.into()) => Ok(()),
        };
        if let Err(error) = closed {
            self.fail(RequestFailure::Final(error));
        }
    }

    async fn request(&mut self) {
        (self.response, self.request_permit) = (None, None);
        self.request_permit = self.sender.request_permit().await;
        let attempt = self.machine.attempt();
        let request = Arc::new(self.machine.request(Instant::now()));
        let leader = match shared_poll::join(&self.endpoint, &request, attempt).await {
            Joined::Outcome { sent, outcome } => {
                self.machine.handle_earlier_request(sent);
                return self.handle_outcome(&outcome);
            }
            Joined::Leader(leader) => Some(leader),
            Joined::Alone => None,
        };
        let outcome = exchange::send(&self.endpoint, &self.pool, &request, attempt).await;
        match outcome {
            Ok(response) => match leader.and_then(PollLeader::if_followed) {
                Some(leader) => Box::pin(self.share(leader, response)).await,
                None => self.handle_head(response),
            },
            Err(failure) => match leader {
                Some(leader) => self.end_shared(leader, PollOutcome::Failed(failure)),
                None => self.fail(failure),
            },
        }
    }

    fn handle_head(&mut self, response: Incoming) {
        self.machine.handle_response(
            Instant::now(),
            SystemTime::now(),
            response.status(),
            response.headers(),
            response.content_length(),
        );
        // A response whose body is not needed ends here.
        let action = self.machine.poll_action(Instant::now());
        let wants_body = matches!(action, ReadAction::Receive { .. } | ReadAction::ReceiveErrorBody);
        self.response = wants_body.then_some(response);
    }

    /// Receives the response, and lets the readers that wait for it have it, if it is small.
    async fn share(&mut self, leader: PollLeader, mut response: Incoming) {
        if !matches!(response.status(), StatusCode::OK | StatusCode::NO_CONTENT) {
            let response = exchange::read_response(&self.endpoint, Operation::Read, response).await;
            return self.end_shared(leader, PollOutcome::Refused(response));
        }
        let mut whole = WholeResponse {
            status: response.status(),
            headers: response.headers().clone(),
            content_length: response.content_length(),
            pieces: Vec::new(),
        };
        let mut bytes = 0;
        while bytes <= shared_poll::MAX_BYTES {
            match exchange::next_piece(&self.endpoint, Operation::Read, &mut response).await {
                Ok(Some(piece)) => {
                    bytes += piece.len();
                    whole.pieces.push(piece);
                }
                Ok(None) => return self.end_shared(leader, PollOutcome::Whole(whole)),
                Err(error) => {
                    let failure = RequestFailure::ResponseLost(error);
                    return self.end_shared(leader, PollOutcome::Failed(failure));
                }
            }
        }
        leader.end(None);
        self.handle_beginning(&whole);
        self.response = Some(response);
    }

    fn end_shared(&mut self, leader: PollLeader, outcome: PollOutcome) {
        let outcome = Arc::new(outcome);
        leader.end(Some(Arc::clone(&outcome)));
        self.handle_outcome(&outcome);
    }

    fn handle_outcome(&mut self, outcome: &PollOutcome) {
        let (now, wall) = (Instant::now(), SystemTime::now());
        match outcome {
            PollOutcome::Whole(response) => {
                self.handle_beginning(response);
                self.machine.handle_end(now);
            }
            PollOutcome::Refused(response) => {
                self.machine
                    .handle_response(now, wall, response.status, &response.headers, None);
                // Not if the machine wants another request at once.
                if matches!(self.machine.poll_action(now), ReadAction::ReceiveErrorBody) {
                    self.machine.handle_error_response(now, wall, response.clone());
                }
            }
            PollOutcome::Failed(failure) => self.fail(failure.clone()),
        }
    }

    fn handle_beginning(&mut self, response: &WholeResponse) {
        self.machine.handle_response(
            Instant::now(),
            SystemTime::now(),
            response.status,
            &response.headers,
            response.content_length,
        );
        for piece in &response.pieces {
            self.machine.handle_piece(Instant::now(), piece.clone());
        }
    }

    async fn receive(&mut self, live: bool) {
        let Some(response) = &mut self.response else {
            return self.fail(RequestFailure::Final(self.lacks_response()));
        };
        let piece = if live {
            // The server sends further data without a request, so there is no response end to wait for.
            self.request_permit = None;
            exchange::next_live_piece(&self.endpoint, Operation::Read, response).await
        } else {
            let piece = exchange::next_piece(&self.endpoint, Operation::Read, response).await;
            piece.map_err(LiveBodyError::Broken)
        };
        match piece {
            Ok(Some(piece)) => self.machine.handle_piece(Instant::now(), piece),
            Ok(None) => self.machine.handle_end(Instant::now()),
            Err(LiveBodyError::Broken(error)) => self.fail(RequestFailure::ResponseLost(error)),
            Err(LiveBodyError::Idle) => self.machine.handle_silence(Instant::now()),
        }
    }

    async fn receive_error_response(&mut self) {
        let Some(response) = self.response.take() else {
            return self.fail(RequestFailure::Final(self.lacks_response()));
        };
        let response = exchange::read_response(&self.endpoint, Operation::Read, response).await;
        self.machine
            .handle_error_response(Instant::now(), SystemTime::now(), response);
    }

    fn lacks_response(&self) -> Error {
        let about = self.endpoint.about(Operation::Read);
        about.error(Kind::Internal, "internal error: there is no response to read")
    }

    fn fail(&mut self, failure: RequestFailure) {
        self.machine.handle_failure(Instant::now(), failure);
    }
}
