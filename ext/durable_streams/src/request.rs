//! `DurableStreams::Native::Request`: a request that a Ruby transport responds to, at once or later, on any thread.

use bytes::Bytes;
use durable_streams_client::fork::ProcessBound;
use durable_streams_client::lock::Mutex;
use durable_streams_client::transport::{TransportBody, TransportError, TransportRequest, TransportResponse};
use durable_streams_protocol::error::{Operation, Purpose};
use magnus::typed_data::Obj;
use magnus::{Error, Module, RHash, RModule, RString, Ruby, Symbol, method, r_hash::ForEach};
use tokio::sync::{mpsc, oneshot};

use crate::class::define;
use crate::errors;
use crate::memory::ReportedMemory;
use crate::values::{header_name, header_value};

/// A request, and the sender of its response. If it is freed without a response, the request fails.
#[magnus::wrap(class = "DurableStreams::Native::Request", free_immediately, size)]
pub(crate) struct Request {
    outgoing: TransportRequest,
    // The receiver belongs to a task of the process that made the request.
    state: ProcessBound<Mutex<RequestState>>,
    memory: ReportedMemory,
}

/// Sends the response of a request.
pub(crate) type ResponseSender = oneshot::Sender<Result<TransportResponse, TransportError>>;

enum RequestState {
    Waiting(ResponseSender),
    Streaming(mpsc::UnboundedSender<Bytes>),
    Done,
}

impl Request {
    /// The Ruby object for a request.
    pub(crate) fn wrap(ruby: &Ruby, outgoing: TransportRequest, sender: ResponseSender) -> Obj<Self> {
        let bytes = outgoing.body.as_ref().map_or(0, Bytes::len);
        let request = ruby.obj_wrap(Self {
            outgoing,
            state: ProcessBound::new(Mutex::new(RequestState::Waiting(sender))),
            memory: ReportedMemory::default(),
        });
        request.memory.set(ruby, bytes);
        request
    }

    /// Fails the request, unless it has a response.
    pub(crate) fn fail_with(&self, fault: TransportError) {
        self.settle(Err(fault), RequestState::Done);
    }

    /// The request and its response sender, unless it has a response. If the sender is dropped, the request learns that
    /// nobody responds here.
    pub(crate) fn take_back(&self) -> Option<(TransportRequest, ResponseSender)> {
        match std::mem::replace(&mut *self.state.get()?.lock(), RequestState::Done) {
            RequestState::Waiting(sender) => Some((self.outgoing.clone(), sender)),
            RequestState::Streaming(_) | RequestState::Done => None,
        }
    }

    fn settle(&self, outcome: Result<TransportResponse, TransportError>, next: RequestState) {
        let Some(state) = self.state.get() else { return };
        let mut state = state.lock();
        if let RequestState::Waiting(_) = *state
            && let RequestState::Waiting(sender) = std::mem::replace(&mut *state, next)
        {
            // Fails only if the request was cancelled meanwhile.
            let _cancelled = sender.send(outcome);
        }
    }

    /// `http_method` -> `:get`, …
    fn http_method(ruby: &Ruby, this: &Self) -> Symbol {
        ruby.to_symbol(this.outgoing.method.as_str().to_ascii_lowercase())
    }

    /// `lookup?`: whether it is a HEAD that looks up what another operation has to know about the stream.
    fn is_lookup(&self) -> bool {
        matches!(self.outgoing.operation, Operation::HeadFor(purpose) if !matches!(purpose, Purpose::Connect | Purpose::Fork))
    }

    fn url(&self) -> &str {
        self.outgoing.url.as_str()
    }

    /// `headers` -> name (lower case) => value.
    fn headers(ruby: &Ruby, this: &Self) -> Result<RHash, Error> {
        let hash = ruby.hash_new();
        for (name, value) in &this.outgoing.headers {
            hash.aset(ruby.str_new(name.as_str()), errors::text(ruby, value.as_bytes()))?;
        }
        Ok(hash)
    }

    /// `body` -> a binary String, or nil.
    fn body(ruby: &Ruby, this: &Self) -> Option<RString> {
        this.outgoing.body.as_ref().map(|body| ruby.str_from_slice(body))
    }

    /// `respond(status, headers, body)`: sends the response. If body is nil, the body follows by `push` and ends with
    /// `finish`. Does nothing if the request has a response.
    fn respond(ruby: &Ruby, this: &Self, status: u16, headers: RHash, body: Option<RString>) -> Result<(), Error> {
        let mut response = TransportResponse {
            status: status
                .try_into()
                .map_err(|_| errors::argument(ruby, format!("status must be from 100 to 999, got {status}")))?,
            headers: Default::default(),
            body: TransportBody::Whole(Bytes::new()),
        };
        headers.foreach(|name: String, value: RString| {
            let value = header_value(ruby, &name, value)?;
            response.headers.append(header_name(ruby, name)?, value);
            Ok(ForEach::Continue)
        })?;
        let next = match body {
            Some(body) => {
                // SAFETY: the bytes are copied before any Ruby code can run.
                response.body = TransportBody::Whole(Bytes::copy_from_slice(unsafe { body.as_slice() }));
                RequestState::Done
            }
            None => {
                let (pieces, body) = mpsc::unbounded_channel();
                response.body = TransportBody::Streamed(body);
                RequestState::Streaming(pieces)
            }
        };
        this.settle(Ok(response), next);
        Ok(())
    }

    /// `push(piece)`: sends a part of the body.
    fn push(&self, piece: RString) {
        // SAFETY: the bytes are copied before any Ruby code can run.
        let piece = Bytes::copy_from_slice(unsafe { piece.as_slice() });
        if let Some(state) = self.state.get()
            && let RequestState::Streaming(pieces) = &*state.lock()
        {
            // Fails only if the request was cancelled meanwhile.
            let _cancelled = pieces.send(piece);
        }
    }

    /// `finish`: ends the body.
    fn finish(&self) {
        if let Some(state) = self.state.get() {
            *state.lock() = RequestState::Done;
        }
    }

    /// `fail(fault)`: fails the request by `:refused` (no connection), `:connection` (lost) or `:timeout`.
    fn fail(ruby: &Ruby, this: &Self, fault: Symbol) -> Result<(), Error> {
        this.fail_with(match &*fault.name()? {
            "refused" => TransportError::Refused,
            "connection" => TransportError::Lost,
            "timeout" => TransportError::TimedOut,
            other => {
                let message = format!("fault must be :refused, :connection or :timeout, got :{other}");
                return Err(errors::argument(ruby, message));
            }
        });
        Ok(())
    }

    /// `wanted?`: whether the request still waits for the response, or for more of its body.
    fn is_wanted(&self) -> bool {
        self.state.get().is_some_and(|state| match &*state.lock() {
            RequestState::Waiting(sender) => !sender.is_closed(),
            RequestState::Streaming(pieces) => !pieces.is_closed(),
            RequestState::Done => false,
        })
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        // `Closed`, not `Abandoned`: the transport got the request and did not respond. A second try would end the same
        // way.
        self.fail_with(TransportError::Closed);
    }
}

/// Defines the class.
pub(crate) fn init(ruby: &Ruby, native: RModule) -> Result<(), Error> {
    let class = define::<Request>(ruby, native, "Request")?;
    class.define_method("http_method", method!(Request::http_method, 0))?;
    class.define_method("lookup?", method!(Request::is_lookup, 0))?;
    class.define_method("url", method!(Request::url, 0))?;
    class.define_method("headers", method!(Request::headers, 0))?;
    class.define_method("body", method!(Request::body, 0))?;
    class.define_method("respond", method!(Request::respond, 3))?;
    class.define_method("push", method!(Request::push, 1))?;
    class.define_method("finish", method!(Request::finish, 0))?;
    class.define_method("fail", method!(Request::fail, 1))?;
    class.define_method("wanted?", method!(Request::is_wanted, 0))?;
    Ok(())
}
