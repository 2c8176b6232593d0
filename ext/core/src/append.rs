//! Appends that ride together: while one request of a handle is out, the appends that arrive wait and go out with the
//! next one (api.md, `append`). Every append has its own outcome.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::lock::Mutex;
use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::oneshot;

use crate::call::Request;
use crate::endpoint::Endpoint;
use crate::error::{Error, Kind, Operation, Result};
use crate::operations;
use crate::process::{self, ProcessBound};

/// Appends ride together up to this many bytes; a larger one travels alone.
const MOST_BYTES: usize = 1024 * 1024;

/// One append.
#[derive(Debug)]
pub struct Append {
    /// The message: one JSON value, already checked, or bytes.
    pub data: Bytes,
    /// The stream's content type.
    pub content_type: Arc<str>,
    /// Whether `data` is a JSON message.
    pub json: bool,
    /// `Stream-Seq`; such an append travels by itself.
    pub seq: Option<String>,
}

/// The appends of one handle.
pub struct Appender {
    endpoint: Arc<Endpoint>,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Entry>,
    /// Whether somebody is sending, and will look at the queue again afterwards.
    sending: bool,
}

struct Entry {
    append: Append,
    owner: oneshot::Sender<Result<String>>,
}

/// An append under way: its new tail, once stored. Dropped before it was sent, it is not sent.
pub struct Ticket(ProcessBound<oneshot::Receiver<Result<String>>>);

impl Future for Ticket {
    type Output = Result<String>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<String>> {
        let Some(told) = self.0.get_mut() else {
            return Poll::Ready(Err(process::forked()));
        };
        Pin::new(told).poll(context).map(|told| {
            told.unwrap_or_else(|_| {
                let reason = "internal error: the append was dropped without an outcome".to_owned();
                Err(Error::plain(Kind::Internal, reason))
            })
        })
    }
}

impl Appender {
    /// The appends of a handle on `endpoint`.
    pub fn new(endpoint: Arc<Endpoint>) -> Appender {
        Appender {
            endpoint,
            queue: Mutex::new(Queue::default()),
        }
    }

    /// Takes an append. It goes out at once, or with the next request if one is out.
    ///
    /// # Errors
    /// If the client is closed or the runtime cannot be started.
    pub fn append(self: &Arc<Self>, append: Append) -> Result<Ticket> {
        // Asked for here, on the application's thread, for the reason given at `Client::pool`.
        let pool = self.endpoint.pool(Operation::Append)?;
        let runtime = process::runtime()?;
        let (owner, ticket) = oneshot::channel();
        let mut queue = self.queue.lock();
        queue.waiting.push_back(Entry { append, owner });
        if !queue.sending {
            queue.sending = true;
            let sender = Sender {
                appender: Arc::clone(self),
                pool,
                in_charge: true,
            };
            runtime.spawn(sender.run());
        }
        Ok(Ticket(ProcessBound::new(ticket)))
    }

    /// What goes out next, or nothing, and then nobody is sending any more.
    fn next_load(&self) -> Vec<Entry> {
        let mut queue = self.queue.lock();
        let mut load: Vec<Entry> = Vec::new();
        let mut size = 0;
        while let Some(entry) = queue.waiting.front() {
            let fits = load
                .first()
                .is_none_or(|first| rides_with(&first.append, &entry.append))
                && (load.is_empty() || size + entry.append.data.len() < MOST_BYTES);
            if !fits {
                break;
            }
            size += entry.append.data.len() + 1;
            if let Some(entry) = queue.waiting.pop_front()
                && !entry.owner.is_closed()
            {
                load.push(entry);
            }
        }
        queue.sending = !load.is_empty();
        load
    }
}

fn rides_with(first: &Append, next: &Append) -> bool {
    first.seq.is_none() && next.seq.is_none() && first.json == next.json && first.content_type == next.content_type
}

/// The one who sends. If it ends early (a panic), those who wait are told, and the next append starts another.
struct Sender {
    appender: Arc<Appender>,
    pool: reqwest::Client,
    /// Whether the queue still counts on it. When it does not, another may be at work already.
    in_charge: bool,
}

impl Drop for Sender {
    fn drop(&mut self) {
        if self.in_charge {
            let mut queue = self.appender.queue.lock();
            queue.sending = false;
            queue.waiting.clear();
        }
    }
}

impl Sender {
    async fn run(mut self) {
        loop {
            let load = self.appender.next_load();
            self.in_charge = !load.is_empty();
            if load.is_empty() {
                return;
            }
            self.deliver(load).await;
        }
    }

    /// Sends a load and tells the owners. What the server refuses, having taken nothing of it, goes again in halves: one
    /// append may be at fault, or all together are too large.
    async fn deliver(&self, load: Vec<Entry>) {
        let mut loads = vec![load];
        while let Some(mut load) = loads.pop() {
            load.retain(|entry| !entry.owner.is_closed());
            let Some(first) = load.first() else { continue };
            let request = self.request(&first.append, &load);
            let sending = async { operations::send_append(&self.appender.endpoint, &self.pool, request?).await };
            let outcome = tokio::select! {
                outcome = sending => outcome,
                () = abandoned(&mut load) => continue,
            };
            match outcome {
                Err(error) if load.len() > 1 && refuses_load(&error) => {
                    let rest = load.split_off(load.len() / 2);
                    loads.extend([rest, load]);
                }
                outcome => {
                    for entry in load {
                        // An owner that is gone wants no answer.
                        let _gone = entry.owner.send(outcome.clone());
                    }
                }
            }
        }
    }

    fn request(&self, first: &Append, load: &[Entry]) -> Result<Request> {
        let (endpoint, body) = (&self.appender.endpoint, body_of(load, first.json));
        operations::append_request(endpoint, &first.content_type, body, first.seq.as_deref())
    }
}

/// Ends when no owner waits any more.
async fn abandoned(load: &mut [Entry]) {
    for entry in load {
        entry.owner.closed().await;
    }
}

fn refuses_load(error: &Error) -> bool {
    matches!(error.kind(), Kind::BadRequest | Kind::PayloadTooLarge)
}

fn body_of(load: &[Entry], json: bool) -> Bytes {
    if let ([only], false) = (load, json) {
        return only.append.data.clone();
    }
    let size = load.iter().map(|entry| entry.append.data.len() + 1).sum::<usize>() + 1;
    let mut body = BytesMut::with_capacity(size);
    for (index, entry) in load.iter().enumerate() {
        if json {
            body.put_u8(if index == 0 { b'[' } else { b',' });
        }
        body.put_slice(&entry.append.data);
    }
    if json {
        body.put_u8(b']');
    }
    body.freeze()
}
