//! Appends that share a request.

use std::future::Future;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use durable_streams_protocol::error::{Error, Kind, Result};
use durable_streams_protocol::operations;
use durable_streams_protocol::request::Request;
use tokio::sync::oneshot;

use crate::connections::Pool;
use crate::endpoint::Endpoint;

/// One append.
#[derive(Debug)]
pub struct Append {
    /// The stream; what its application is asked for goes to whoever waits for this append.
    pub endpoint: Arc<Endpoint>,
    /// The message: one JSON value, already checked, or bytes.
    pub data: Bytes,
    /// The stream's content type.
    pub content_type: Arc<str>,
    /// Whether `data` is a JSON message.
    pub json: bool,
    /// `Stream-Seq`; such an append travels by itself.
    pub seq: Option<String>,
}

/// An append that waits to share a request.
pub(super) struct Entry {
    pub(super) append: Append,
    pub(super) pool: Pool,
    pub(super) owner: oneshot::Sender<Result<String>>,
}

impl Entry {
    /// Whether its caller waits no more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.owner.is_closed()
    }
}

/// The appends of one request, in their order.
#[derive(Default)]
pub(super) struct Load(Vec<Entry>);

impl Load {
    pub(super) fn push(&mut self, entry: Entry) {
        self.0.push(entry);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn first(&self) -> Option<&Entry> {
        self.0.first()
    }

    /// Whether the caller of the first append waits no more.
    pub(super) fn first_is_abandoned(&self) -> bool {
        self.first().is_some_and(Entry::is_abandoned)
    }

    /// Leaves out the appends whose callers wait no more, and gives the first of the others.
    pub(super) fn first_with_caller(&mut self) -> Option<&Entry> {
        self.0.retain(|entry| !entry.is_abandoned());
        self.first()
    }

    /// Waits for `work`; `None` as soon as no caller waits any more, and then `work` is cancelled.
    pub(super) async fn unless_abandoned<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            outcome = work => Some(outcome),
            () = self.abandoned() => None,
        }
    }

    async fn abandoned(&mut self) {
        for entry in &mut self.0 {
            entry.owner.closed().await;
        }
    }

    /// One request for all of them.
    pub(super) fn request(&self) -> Result<Request> {
        request(self.0.iter().map(|entry| &entry.append))
    }

    /// Both halves, the first one first.
    pub(super) fn halves(mut self) -> [Load; 2] {
        let rest = self.0.split_off(self.0.len() / 2);
        [self, Load(rest)]
    }

    /// Gives every caller the outcome.
    pub(super) fn settle(self, outcome: &Result<String>) {
        for entry in self.0 {
            // A caller that has left needs none.
            let _left = entry.owner.send(outcome.clone());
        }
    }
}

/// Whether `next` may share a request with `first`.
pub(super) fn can_share(first: &Append, next: &Append) -> bool {
    first.seq.is_none() && next.seq.is_none() && first.json == next.json && first.content_type == next.content_type
}

/// One request for `appends`, which can share one.
pub(super) fn request<'a>(appends: impl Iterator<Item = &'a Append> + Clone) -> Result<Request> {
    let first = appends.clone().next();
    let Some(first) = first else {
        let reason = "internal error: a request without an append".to_owned();
        return Err(Error::plain(Kind::Internal, reason));
    };
    let body = body_of(appends, first.json);
    operations::append(
        first.endpoint.display(),
        &first.content_type,
        body,
        first.seq.as_deref(),
    )
}

fn body_of<'a>(appends: impl Iterator<Item = &'a Append> + Clone, json: bool) -> Bytes {
    let mut rest = appends.clone();
    if let (false, Some(only), None) = (json, rest.next(), rest.next()) {
        return only.data.clone();
    }
    let size = appends.clone().map(|append| append.data.len() + 1).sum::<usize>() + 1;
    let mut body = BytesMut::with_capacity(size);
    for (index, append) in appends.enumerate() {
        if json {
            body.put_u8(if index == 0 { b'[' } else { b',' });
        }
        body.put_slice(&append.data);
    }
    if json {
        body.put_u8(b']');
    }
    body.freeze()
}

#[cfg(test)]
mod tests {
    use durable_streams_protocol::error::Operation;
    use durable_streams_protocol::target::Values;

    use super::*;
    use crate::connections::{Client, Config};

    type Caller = oneshot::Receiver<Result<String>>;

    /// A load of JSON messages, and their callers.
    fn load(messages: &[&'static str]) -> (Load, Vec<Caller>) {
        let client = Client::new(Config::for_trials());
        let endpoint = Arc::new(Endpoint::new(client, "http://h/s", Values::default(), None).unwrap());
        let (mut load, mut callers) = (Load::default(), Vec::new());
        for message in messages {
            let (owner, caller) = oneshot::channel();
            load.push(Entry {
                append: append(&endpoint, message, None),
                pool: endpoint.pool(Operation::Append).unwrap(),
                owner,
            });
            callers.push(caller);
        }
        (load, callers)
    }

    fn append(endpoint: &Arc<Endpoint>, message: &'static str, seq: Option<&str>) -> Append {
        Append {
            endpoint: Arc::clone(endpoint),
            data: Bytes::from_static(message.as_bytes()),
            content_type: "application/json".into(),
            json: true,
            seq: seq.map(str::to_owned),
        }
    }

    fn body(load: &Load) -> Bytes {
        load.request().unwrap().body.unwrap()
    }

    #[tokio::test]
    async fn a_request_has_the_appends_whose_callers_still_wait() {
        let (mut load, mut callers) = load(&["1", "2", "3"]);
        assert_eq!(body(&load), "[1,2,3]");
        drop(callers.remove(1));
        assert!(!load.first_is_abandoned());
        assert!(load.first_with_caller().is_some());
        assert_eq!(body(&load), "[1,3]");
        drop(callers.remove(0));
        assert!(load.first_is_abandoned());
        assert_eq!(load.first_with_caller().unwrap().append.data, "3");
        assert_eq!(body(&load), "[3]");
        callers.clear();
        assert!(load.first_with_caller().is_none());
    }

    #[tokio::test]
    async fn work_is_cancelled_once_no_caller_waits_for_it() {
        let (mut load, callers) = load(&["1", "2"]);
        assert_eq!(load.unless_abandoned(async { 7 }).await, Some(7));
        drop(callers);
        assert_eq!(load.unless_abandoned(std::future::pending::<()>()).await, None);
    }

    #[tokio::test]
    async fn halves_keep_the_order() {
        let (load, _callers) = load(&["1", "2", "3"]);
        assert_eq!(load.halves().map(|half| body(&half)), ["[1]", "[2,3]"]);
    }

    #[tokio::test]
    async fn appends_with_a_seq_or_of_another_type_share_no_request() {
        let (load, _callers) = load(&["1"]);
        let first = &load.first().unwrap().append;
        let plain = append(&first.endpoint, "2", None);
        let with_seq = append(&first.endpoint, "2", Some("a"));
        assert!(can_share(first, &plain));
        assert!(!can_share(first, &with_seq) && !can_share(&with_seq, &plain));
        let other = Append {
            content_type: "application/problem+json".into(),
            ..append(&first.endpoint, "2", None)
        };
        assert!(!can_share(first, &other));
    }
}
