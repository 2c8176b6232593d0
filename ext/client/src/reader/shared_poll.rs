//! Long-polls that the readers of a client share.
//!
//! Readers that wait at the same position of the same stream send the same request, and get the same response. So one
//! of them sends it, and the others wait for its response. (Where 200 threads follow one stream, a delivery takes 40 %
//! less time and 40 % less processor time then, and the server gets as many requests as it has given out cursors.)
//!
//! A session's first request is never shared, so it gets nothing older than the read. Only small responses are shared:
//! the readers that wait for a large one send requests of their own. They share a failure, too. Each then retries by its
//! own policy and after its own delay, so a server in trouble does not get the requests of all of them at once.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, VacantEntry};
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use durable_streams_protocol::request::{Request, RequestFailure, Response, ResponseTimeout};
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use tokio::sync::SetOnce;

use crate::endpoint::Endpoint;
use crate::fork::ProcessLocal;
use crate::lock::Mutex;

/// How many bytes a shared response has at most: it is in memory as long as a reader has not taken it.
pub(super) const MAX_BYTES: usize = 64 * 1024;

/// The long-polls of all clients that further readers may wait for.
static POLLS: ProcessLocal<Mutex<HashMap<PollKey, Arc<Poll>>>> = ProcessLocal::new();

/// Equal for requests that are the same.
#[derive(Clone)]
struct PollKey {
    endpoint: Arc<Endpoint>,
    request: Arc<Request>,
}

impl PartialEq for PollKey {
    fn eq(&self, other: &Self) -> bool {
        self.request.query == other.request.query && self.endpoint.sends_the_same_as(&other.endpoint)
    }
}

impl Eq for PollKey {}

impl Hash for PollKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.endpoint.target().hash(state);
        // The last parameter is the offset. Those before it rarely differ, and hashing takes the most of what sharing
        // costs a reader that shares with nobody.
        self.request.query.last().hash(state);
    }
}

/// A long-poll, and how it ended for the readers that wait for its response.
type Poll = SetOnce<PollEnd>;

enum PollEnd {
    /// With this outcome.
    Shared { sent: Instant, outcome: Arc<PollOutcome> },
    /// With something that is not shared.
    Unshared,
    /// Its reader has gone.
    Cancelled,
}

/// The outcome of a long-poll that readers share.
pub(super) enum PollOutcome {
    /// A success.
    Whole(WholeResponse),
    /// A response with another status.
    Refused(Response),
    /// There was no complete response.
    Failed(RequestFailure),
}

/// A complete response with content.
pub(super) struct WholeResponse {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) content_length: Option<u64>,
    pub(super) pieces: Vec<Bytes>,
}

/// How a reader gets the response to a request.
pub(super) enum Joined {
    /// It sends the request. Others may wait for the response.
    Leader(PollLeader),
    /// It sends the request for itself.
    Alone,
    /// Another reader has sent the same request at this time, with this outcome.
    Outcome { sent: Instant, outcome: Arc<PollOutcome> },
}

/// Joins the readers that wait for the same response. `attempt` is the number of the try.
pub(super) async fn join(endpoint: &Arc<Endpoint>, request: &Arc<Request>, attempt: u32) -> Joined {
    let is_long_poll = request.response_timeout == ResponseTimeout::Live && request.headers.is_empty();
    if !is_long_poll || attempt > 1 || endpoint.has_application() {
        return Joined::Alone;
    }
    let polls = POLLS.get_or_make(Mutex::default);
    let key = PollKey {
        endpoint: Arc::clone(endpoint),
        request: Arc::clone(request),
    };
    loop {
        let poll = match polls.lock().entry(key.clone()) {
            Entry::Vacant(place) => return Joined::Leader(PollLeader::new(key, place)),
            Entry::Occupied(poll) => Arc::clone(poll.get()),
        };
        match poll.wait().await {
            PollEnd::Shared { sent, outcome } => {
                return Joined::Outcome {
                    sent: *sent,
                    outcome: Arc::clone(outcome),
                };
            }
            PollEnd::Unshared => return Joined::Alone,
            PollEnd::Cancelled => {}
        }
    }
}

/// The reader that sends the request. If it is dropped before the end, another one sends the request again.
pub(super) struct PollLeader {
    /// As long as further readers may wait for the response.
    key: Option<PollKey>,
    poll: Arc<Poll>,
    sent: Instant,
}

impl PollLeader {
    fn new(key: PollKey, place: VacantEntry<'_, PollKey, Arc<Poll>>) -> Self {
        let poll = Arc::new(Poll::new());
        place.insert(Arc::clone(&poll));
        Self {
            key: Some(key),
            poll,
            sent: Instant::now(),
        }
    }

    /// The same, if readers wait for the response, which has begun. No further ones will.
    pub(super) fn if_followed(mut self) -> Option<Self> {
        self.admit_no_more();
        (Arc::strong_count(&self.poll) > 1).then_some(self)
    }

    /// Ends the long-poll: with this outcome, or without one for others.
    pub(super) fn end(mut self, outcome: Option<Arc<PollOutcome>>) {
        let sent = self.sent;
        self.finish(outcome.map_or(PollEnd::Unshared, |outcome| PollEnd::Shared { sent, outcome }));
    }

    fn finish(&mut self, end: PollEnd) {
        self.admit_no_more();
        // It has ended already if `end` was called before the drop.
        let _first = self.poll.set(end);
    }

    fn admit_no_more(&mut self) {
        if let Some(key) = self.key.take()
            && let Some(polls) = POLLS.get()
        {
            polls.lock().remove(&key);
        }
    }
}

impl Drop for PollLeader {
    fn drop(&mut self) {
        self.finish(PollEnd::Cancelled);
    }
}
