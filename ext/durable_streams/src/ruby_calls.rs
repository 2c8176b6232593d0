//! What HTTP requests need from Ruby: the values of value callables, and, with a transport in Ruby, the response
//! itself.
//!
//! Ruby code runs on Ruby threads only. So a request sends a [`RubyCall`] and waits for its reply. The receiver is the
//! caller that waits for this request (see `caller_work`), or, for a producer, the queue of the callback threads
//! (`callback_threads`). A caller runs the Ruby code of its own request only. So whatever the code raises, even an
//! interrupt meant for that thread, belongs to that caller. If several callers wait for one request and the first one
//! gives up, the request sends a new Ruby call to the next one.
//!
//! The HTTP request itself knows nothing of Ruby. Read [`RubyCall`], [`CallSender`] and [`ApplicationCode`] first.

use std::any::Any;
use std::sync::Arc;

use durable_streams_client::endpoint::{DynamicValues, OriginTrust, TrustFuture, ValuesFuture};
use durable_streams_client::fork::ProcessBound;
use durable_streams_client::transport::{ResponseFuture, Transport, TransportError, TransportRequest};
use durable_streams_protocol::error::Kind;
use durable_streams_protocol::target::Values;
use magnus::error::ErrorType;
use magnus::value::{Opaque, ReprValue};
use magnus::{Class, Error, Ruby, Value, gc};
use tokio::sync::{mpsc, oneshot};

use crate::errors;
use crate::fiber_guard::FiberGuard;
use crate::handles::GcHandle;
use crate::nested::computing;
use crate::request::{self, Request};
use crate::values::Callables;

/// Ruby code that a request waits for.
pub(crate) enum RubyCall {
    /// Evaluate the value callables.
    Values(oneshot::Sender<Result<Values, Kind>>),
    /// Ask `trusted_origins` whether redirects may take the user's headers to this origin.
    Trust(String, oneshot::Sender<Result<bool, Kind>>),
    /// Pass the request to the Ruby transport, which responds instead of a server.
    Execute(Box<TransportRequest>, request::ResponseSender),
}

impl RubyCall {
    /// Whether the request was cancelled meanwhile.
    fn is_cancelled(&self) -> bool {
        match self {
            Self::Values(reply) => reply.is_closed(),
            Self::Trust(_, reply) => reply.is_closed(),
            Self::Execute(_, reply) => reply.is_closed(),
        }
    }

    /// Fails the request with an exception.
    pub(crate) fn fail(self, exception: GcHandle) {
        let exception = Arc::new(exception);
        // Sending fails only if the request was cancelled meanwhile.
        match self {
            Self::Values(reply) => drop(reply.send(Err(Kind::Application(exception)))),
            Self::Trust(_, reply) => drop(reply.send(Err(Kind::Application(exception)))),
            Self::Execute(_, reply) => drop(reply.send(Err(TransportError::Application(exception)))),
        }
    }
}

/// What a caller waits with while Ruby code runs.
type WaitState = Box<dyn Any + Send>;

/// Receives the Ruby calls of the requests of one caller, or of one reader.
pub(crate) type CallReceiver = mpsc::UnboundedReceiver<RubyCall>;

/// A channel from requests to the caller that waits for them.
pub(crate) fn channel() -> (Arc<CallSender>, CallReceiver) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let sender = CallSender::new(move |call| {
        // Without a receiver the call is dropped. The request notices.
        let _no_receiver = sender.send(call);
    });
    (sender, receiver)
}

/// Sends the Ruby calls of requests. If a call is dropped without a reply, its request learns that its receiver is
/// gone.
pub(crate) struct CallSender(Box<dyn Fn(RubyCall) + Send + Sync>);

impl CallSender {
    /// A sender that passes every call to `send`.
    pub(crate) fn new(send: impl Fn(RubyCall) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self(Box::new(send)))
    }
}

impl DynamicValues for CallSender {
    fn resolve(&self) -> ValuesFuture {
        let (reply, replied) = oneshot::channel();
        (self.0)(RubyCall::Values(reply));
        Box::pin(async move { replied.await.unwrap_or(Err(Kind::Abandoned)) })
    }
}

impl OriginTrust for CallSender {
    fn trusts(&self, origin: &str) -> TrustFuture {
        let (reply, replied) = oneshot::channel();
        (self.0)(RubyCall::Trust(origin.to_owned(), reply));
        Box::pin(async move { replied.await.unwrap_or(Err(Kind::Abandoned)) })
    }
}

impl Transport for CallSender {
    fn execute(&self, request: TransportRequest) -> ResponseFuture {
        let (reply, replied) = oneshot::channel();
        (self.0)(RubyCall::Execute(Box::new(request), reply));
        Box::pin(async move { replied.await.unwrap_or(Err(TransportError::Abandoned)) })
    }
}

/// The application's code that requests of a stream handle run.
pub(crate) struct ApplicationCode {
    callables: Option<Callables>,
    transport: Option<Opaque<Value>>,
    trusted_origins: Option<Opaque<Value>>,
}

impl ApplicationCode {
    /// `None` if there is none. The transport responds to `call` with a `Native::Request`, `trusted_origins` to `call`
    /// with an origin.
    pub(crate) fn new(
        callables: Option<Callables>,
        transport: Option<Value>,
        trusted_origins: Option<Value>,
    ) -> Option<Self> {
        let is_some = callables.is_some() || transport.is_some() || trusted_origins.is_some();
        is_some.then(|| Self {
            callables,
            transport: transport.map(Opaque::from),
            trusted_origins: trusted_origins.map(Opaque::from),
        })
    }

    /// Whether there are value callables.
    pub(crate) fn has_values(&self) -> bool {
        self.callables.is_some()
    }

    /// Whether a Ruby transport executes the requests.
    pub(crate) fn has_transport(&self) -> bool {
        self.transport.is_some()
    }

    /// Whether a callable decides which origins are trusted.
    pub(crate) fn has_trusted_origins(&self) -> bool {
        self.trusted_origins.is_some()
    }

    /// Marks the Ruby objects for the GC.
    pub(crate) fn mark(&self, marker: &gc::Marker) {
        if let Some(callables) = &self.callables {
            callables.mark(marker);
        }
        for object in [self.transport, self.trusted_origins].into_iter().flatten() {
            marker.mark(object);
        }
    }

    /// What the callable says of an origin. Runs Ruby code: with the GVL, and no lock locked.
    fn trusts(&self, ruby: &Ruby, origin: &str) -> Result<bool, Error> {
        let Some(callable) = self.trusted_origins else {
            return Ok(false);
        };
        let trusts: Value = computing(ruby, || ruby.get_inner(callable).funcall("call", (origin,)))?;
        Ok(trusts.to_bool())
    }

    /// The values of the value callables. Runs Ruby code, as [`ApplicationCode::trusts`] does.
    fn values(&self, ruby: &Ruby) -> Result<Values, Error> {
        self.callables
            .as_ref()
            .map_or_else(|| Ok(Values::default()), |callables| callables.evaluate(ruby))
    }

    /// Runs `call` for the caller that waits for the request. `wait_state` is what the caller waits with; a fiber guard
    /// owns it while Ruby code runs.
    ///
    /// # Errors
    /// Whatever the application's code raises; it belongs to the caller, which stops waiting. So `wait_state` is
    /// dropped first and the call after it: a request that others wait for then sends its call to one of them.
    pub(crate) fn run_for_caller<T: Send + 'static>(
        &self,
        ruby: &Ruby,
        call: RubyCall,
        wait_state: T,
    ) -> Result<T, Error> {
        let wait_state = self.run_with_state(ruby, call, Box::new(wait_state))?;
        let wait_state = wait_state.downcast::<T>();
        wait_state
            .map(|state| *state)
            .map_err(|_| errors::internal(ruby, "a call returned another's state"))
    }

    /// As [`ApplicationCode::run_for_caller`]; compiled once instead of for every type of state.
    fn run_with_state(&self, ruby: &Ruby, call: RubyCall, wait_state: WaitState) -> Result<WaitState, Error> {
        if call.is_cancelled() {
            return Ok(wait_state);
        }
        match call {
            RubyCall::Values(reply) => reply_for_caller(ruby, wait_state, reply, || self.values(ruby)),
            RubyCall::Trust(origin, reply) => reply_for_caller(ruby, wait_state, reply, || self.trusts(ruby, &origin)),
            RubyCall::Execute(request, reply) => {
                let Some(transport) = self.transport else {
                    return Ok(wait_state);
                };
                let request = Request::wrap(ruby, *request, reply);
                let guard = FiberGuard::new(ruby, wait_state);
                let called: Result<Value, Error> = ruby.get_inner(transport).funcall("call", (request,));
                let wait_state = guard.take(ruby)?;
                match called {
                    Ok(_) => Ok(wait_state),
                    Err(error) => {
                        drop(wait_state);
                        drop(request.take_back());
                        Err(error)
                    }
                }
            }
        }
    }

    /// Runs `call` on a callback thread, where no caller waits: an exception goes to the request as it is. If the
    /// application's code forks, the child sends no reply, since the request belongs to the parent.
    ///
    /// # Errors
    /// What ends the thread: `Thread#kill`, a `throw` or a signal. The call is passed to `retry` first.
    pub(crate) fn run_on_callback_thread(
        &self,
        ruby: &Ruby,
        call: RubyCall,
        retry: impl FnOnce(RubyCall) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if call.is_cancelled() {
            return Ok(());
        }
        match call {
            RubyCall::Values(reply) => {
                let compute = || self.values(ruby);
                reply_from_callback_thread(ruby, reply, compute, |reply| retry(RubyCall::Values(reply)))?;
            }
            RubyCall::Trust(origin, reply) => {
                let compute = || self.trusts(ruby, &origin);
                reply_from_callback_thread(ruby, reply, compute, |reply| {
                    retry(RubyCall::Trust(origin.clone(), reply))
                })?;
            }
            RubyCall::Execute(request, reply) => {
                let Some(transport) = self.transport else { return Ok(()) };
                let request = Request::wrap(ruby, *request, reply);
                let called: Result<Value, Error> = ruby.get_inner(transport).funcall("call", (request,));
                match called.map_err(|error| exception_of(ruby, error)) {
                    Ok(_) => {}
                    Err(Ok(exception)) => request.fail_with(TransportError::Application(Arc::new(exception))),
                    Err(Err(error)) => {
                        if let Some((outgoing, reply)) = request.take_back() {
                            retry(RubyCall::Execute(Box::new(outgoing), reply))?;
                        }
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Runs `compute` for the caller that waits with `wait_state`, and sends the result to the request. See
/// [`ApplicationCode::run_for_caller`].
fn reply_for_caller<R: Send + 'static>(
    ruby: &Ruby,
    wait_state: WaitState,
    reply: oneshot::Sender<Result<R, Kind>>,
    compute: impl FnOnce() -> Result<R, Error>,
) -> Result<WaitState, Error> {
    let guard = FiberGuard::new(ruby, (wait_state, reply));
    let computed = compute();
    let (wait_state, reply) = guard.take(ruby)?;
    match computed {
        Ok(value) => {
            // Fails only if the request was cancelled meanwhile.
            let _cancelled = reply.send(Ok(value));
            Ok(wait_state)
        }
        Err(error) => {
            drop(wait_state);
            drop(reply);
            Err(error)
        }
    }
}

/// Runs `compute` on a callback thread, and sends its result to the request. See
/// [`ApplicationCode::run_on_callback_thread`].
fn reply_from_callback_thread<R>(
    ruby: &Ruby,
    reply: oneshot::Sender<Result<R, Kind>>,
    compute: impl FnOnce() -> Result<R, Error>,
    retry: impl FnOnce(oneshot::Sender<Result<R, Kind>>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut reply = ProcessBound::new(Some(reply));
    let computed = compute();
    // `compute` has forked, and this is the child.
    let Some(reply) = reply.get_mut().and_then(Option::take) else {
        return computed.map(|_| ());
    };
    let computed = match computed.map_err(|error| exception_of(ruby, error)) {
        Ok(value) => Ok(value),
        Err(Ok(exception)) => Err(Kind::Application(Arc::new(exception))),
        Err(Err(error)) => {
            retry(reply)?;
            return Err(error);
        }
    };
    // Fails only if the request was cancelled meanwhile.
    let _cancelled = reply.send(computed);
    Ok(())
}

/// The exception that the request fails with. It is `Err` for what concerns the thread itself: a signal, the end of the
/// process, or a jump without an exception.
fn exception_of(ruby: &Ruby, error: Error) -> Result<GcHandle, Error> {
    if error.is_kind_of(ruby.exception_signal()) || error.is_kind_of(ruby.exception_system_exit()) {
        return Err(error);
    }
    match error.error_type() {
        ErrorType::Exception(exception) => Ok(GcHandle::new(*exception)),
        // From this crate, for a value that cannot be sent.
        ErrorType::Error(class, message) => class.new_instance((message.as_ref(),)).map(GcHandle::new),
        ErrorType::Jump(_) => Err(error),
    }
}
