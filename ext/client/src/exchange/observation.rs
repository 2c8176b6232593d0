//! Observes a request for its event, if somebody wants it.

use std::sync::Arc;
use std::time::Instant;

use durable_streams_protocol::error::{Error, Kind, Operation};
use durable_streams_protocol::request::Request;
use durable_streams_protocol::url::displayed;
use reqwest::{Method, StatusCode, Url};

use crate::endpoint::Endpoint;
use crate::events::{self, Event, EventDetails, EventName, EventQueue, is_wanted};

/// One try of a request.
#[derive(Clone, Copy)]
pub(super) struct Attempt<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) request: &'a Request,
    /// The stream's URL, with all parameters.
    pub(super) own_url: &'a Url,
    /// Its number.
    pub(super) number: u32,
}

/// A request that has begun. When this is dropped, the request has ended: its response is complete, or nobody needs the
/// rest of it, or the application cancelled the request.
#[derive(Debug)]
pub(crate) struct Observation(Box<Observed>);

#[derive(Debug)]
struct Observed {
    owner: Option<Arc<EventQueue>>,
    began: Instant,
    operation: Operation,
    method: Method,
    url: String,
    attempt: u32,
    status: Option<StatusCode>,
    bytes_sent: usize,
    bytes_received: usize,
    error: Option<Error>,
}

impl Observation {
    /// A try of a request that begins now, if somebody wants its event. It goes to `url`, which is not the stream's own
    /// after a redirect.
    pub(super) fn begin(attempt: Attempt<'_>, url: &Url) -> Option<Self> {
        let Attempt { endpoint, request, .. } = attempt;
        is_wanted(EventName::Request).then(|| {
            Self(Box::new(Observed {
                owner: endpoint.events().cloned(),
                began: Instant::now(),
                operation: request.operation,
                method: request.method.clone(),
                url: match url == attempt.own_url {
                    true => endpoint.display().to_owned(),
                    false => displayed(url),
                },
                attempt: attempt.number,
                status: None,
                bytes_sent: 0,
                bytes_received: 0,
                error: None,
            }))
        })
    }

    /// So many bytes of the request's body were sent.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.0.bytes_sent = bytes;
    }

    /// The response's headers have arrived.
    pub(super) fn responded(&mut self, status: StatusCode) {
        self.0.status = Some(status);
    }

    /// So many more bytes of the response's body have arrived.
    pub(super) fn received(&mut self, bytes: usize) {
        self.0.bytes_received += bytes;
    }

    /// The request has failed.
    pub(super) fn failed(&mut self, error: &Error) {
        // The caller has gone, which is not the request's failure.
        if !matches!(error.kind(), Kind::Abandoned) {
            self.0.error = Some(error.clone());
        }
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        let observed = &mut *self.0;
        let details = EventDetails::Request {
            operation: observed.operation,
            method: std::mem::take(&mut observed.method),
            url: std::mem::take(&mut observed.url),
            status: observed.status.map(|status| status.as_u16()),
            attempt: observed.attempt,
            bytes_sent: observed.bytes_sent,
            bytes_received: observed.bytes_received,
            error: observed.error.take(),
        };
        events::put(observed.owner.as_ref(), Event::since(observed.began, details));
    }
}
