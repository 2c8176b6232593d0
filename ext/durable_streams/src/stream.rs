//! `DurableStreams::Native::Stream`: the requests of one stream. Each method starts a request, waits for it, and
//! returns plain values.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use durable_streams_client::append::Appender;
use durable_streams_client::endpoint::Endpoint;
use durable_streams_client::events::Owner;
use durable_streams_client::fork::ProcessLocal;
use durable_streams_client::inline::job::Job;
use durable_streams_client::requests;
use durable_streams_protocol::append::Append;
use durable_streams_protocol::error::{Operation, Purpose, Result as CoreResult};
use durable_streams_protocol::json::validate;
use durable_streams_protocol::operations::{Create, one_message};
use magnus::typed_data::Obj;
use magnus::value::ReprValue;
use magnus::{
    DataTypeFunctions, Error, Module, Object, RHash, RModule, RString, Ruby, Symbol, TypedData, Value, function, gc,
    method,
};

use crate::caller_work::{CallerWork, run_job, wait_for_call};
use crate::class::define;
use crate::client::Client;
use crate::errors::{self, guard};
use crate::events;
use crate::options::options;
use crate::pinned_string::pin;
use crate::ruby_calls::{self, ApplicationCode};
use crate::stop_signal::StopSignal;
use crate::values::given;

mod appends;

/// A stream's URL, and what its requests need.
#[derive(TypedData)]
#[magnus(class = "DurableStreams::Native::Stream", free_immediately, mark, size)]
pub(crate) struct Stream {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) application: Option<ApplicationCode>,
    appender: ProcessLocal<Appender>,
    /// Whether appends carry a producer's headers.
    exactly_once: bool,
    /// Whether the last read that reached its end was small.
    pub(crate) reads_are_small: AtomicBool,
}

impl DataTypeFunctions for Stream {
    fn mark(&self, marker: &gc::Marker) {
        if let Some(application) = &self.application {
            application.mark(marker);
        }
    }
}

options! {
    /// The options of a create request.
    pub(crate) struct CreateOptions {
        content_type: Option<String>,
        ttl_seconds: Option<u64>,
        expires_at: Option<String>,
        closed: bool,
        /// For a fork: the source's path.
        forked_from: Option<String>,
        fork_offset: Option<String>,
        fork_sub_offset: Option<u64>,
        /// For a fork: the source's tail, and its content type, as far as they are known.
        source_tail: Option<String>,
        source_content_type: Option<String>,
        body: Option<RString>,
        /// Whether the body is one JSON value, which is checked.
        json: bool,
    }
}

options! {
    /// What the requests of a stream handle carry, and the application's code that they run.
    pub(crate) struct StreamOptions {
        headers: RHash,
        params: RHash,
        /// Responds to requests by its `call`, which gets a `Native::Request`; nil: the network.
        transport: Option<Value>,
        /// Whether appends carry a producer's headers, so that they are stored once although they are retried.
        exactly_once: bool,
        /// Says by its `call` whether an origin is trusted; nil: the client's list counts.
        trusted_origins: Option<Value>,
    }
}

impl Stream {
    /// `Native::Stream.new(client, url, **options)`: see [`StreamOptions`].
    fn new(ruby: &Ruby, client: &Client, url: String, options: StreamOptions) -> Result<Obj<Self>, Error> {
        guard(ruby, || {
            let (transport, trusted_origins) = (options.transport, options.trusted_origins);
            let given = given(ruby, options.headers, options.params)?;
            let pins = given.pins;
            let application = ApplicationCode::new(given.callables, transport, trusted_origins);
            // Every call and every reader has its own channel (see `call_endpoint`). This sender has no receiver.
            let (sender, _) = ruby_calls::channel();
            let has = |code: fn(&ApplicationCode) -> bool| application.as_ref().is_some_and(code);
            let values = has(ApplicationCode::has_values).then(|| Arc::clone(&sender) as _);
            let endpoint = Endpoint::new(Arc::clone(&client.0), &url, given.fixed, values);
            let mut endpoint = endpoint.map_err(|error| errors::raise(ruby, error))?;
            if has(ApplicationCode::has_transport) {
                endpoint = endpoint.with_transport(Arc::clone(&sender) as _);
            }
            if has(ApplicationCode::has_trusted_origins) {
                endpoint = endpoint.with_origin_trust(sender);
            }
            let stream = ruby.obj_wrap(Self {
                endpoint: Arc::new(endpoint),
                application,
                appender: ProcessLocal::default(),
                exactly_once: options.exactly_once,
                reads_are_small: AtomicBool::new(false),
            });
            drop(pins);
            // Until the Ruby object exists, only the caller's frames and this one refer to these objects.
            std::hint::black_box((transport, trusted_origins));
            Ok(stream)
        })
    }

    /// `runs_application_code?`: whether requests run value callables, a Ruby transport, or a callable
    /// `trusted_origins`.
    fn runs_application_code(&self) -> bool {
        self.application.is_some()
    }

    /// `content_type(purpose, stop)` -> the content type by a HEAD request, or nil: see [`Stream::head`]. Ends, with nil,
    /// when `stop`, a `StopSignal`, is stopped.
    fn content_type(ruby: &Ruby, this: &Self, purpose: Symbol, stop: &StopSignal) -> Result<Option<RString>, Error> {
        guard(ruby, || {
            events::keep_served(ruby)?;
            let (endpoint, todo) = this.call_endpoint(Owner::Call);
            let head = requests::head(&endpoint, Some(self::purpose(ruby, purpose)?)).spawn();
            let head = head.map_err(|error| errors::raise(ruby, error))?;
            let stop = Arc::clone(&stop.0);
            let unless_stopped = async move {
                tokio::select! {
                    biased;
                    () = stop.closed() => None,
                    head = head => Some(head),
                }
            };
            let head = wait_for_call(ruby, this.application.as_ref(), todo, unless_stopped)?;
            let head = head.transpose().map_err(|error| errors::raise(ruby, error))?;
            Ok(head.and_then(|head| head.content_type).map(|text| frozen(ruby, &text)))
        })
    }

    /// `head(purpose)` -> a Hash of `content_type`, `next_offset`, `etag`, `cache_control`, `stream_closed`,
    /// `ttl_seconds` and `expires_at`. The purpose, nil or a Symbol for [`purpose`], is named in errors.
    fn head(ruby: &Ruby, this: &Self, purpose: Option<Symbol>) -> Result<RHash, Error> {
        let purpose = purpose.map(|name| self::purpose(ruby, name)).transpose()?;
        let head = this.request(ruby, |endpoint| Ok(requests::head(endpoint, purpose)))?;
        let text = |value: &Option<String>| value.as_deref().map(|text| frozen(ruby, text));
        let hash = ruby.hash_new();
        hash.aset(ruby.to_symbol("content_type"), text(&head.content_type))?;
        hash.aset(ruby.to_symbol("next_offset"), text(&head.next_offset))?;
        hash.aset(ruby.to_symbol("etag"), text(&head.etag))?;
        hash.aset(ruby.to_symbol("cache_control"), text(&head.cache_control))?;
        hash.aset(ruby.to_symbol("stream_closed"), head.closed)?;
        hash.aset(ruby.to_symbol("ttl_seconds"), head.ttl_seconds)?;
        hash.aset(ruby.to_symbol("expires_at"), text(&head.expires_at))?;
        Ok(hash)
    }

    /// `create(**options)` -> the stream's content type, or nil. See [`CreateOptions`].
    fn create(ruby: &Ruby, this: &Self, options: CreateOptions) -> Result<Option<RString>, Error> {
        let body = options
            .body
            .map(|data| this.payload(ruby, Operation::Create, data, options.json))
            .transpose()?;
        let how = Create {
            content_type: options.content_type,
            ttl_seconds: options.ttl_seconds,
            expires_at: options.expires_at,
            closed: options.closed,
            forked_from: options.forked_from,
            fork_offset: options.fork_offset,
            fork_sub_offset: options.fork_sub_offset,
            source_tail: options.source_tail,
            source_content_type: options.source_content_type,
            body,
        };
        let content_type = this.request(ruby, |endpoint| requests::create(endpoint, how))?;
        Ok(content_type.map(|text| frozen(ruby, &text)))
    }

    /// `close_stream(data, content_type, json)` -> the final offset. nil if the response to a duplicate does not have
    /// it.
    fn close_stream(
        ruby: &Ruby,
        this: &Self,
        data: Option<RString>,
        content_type: Option<String>,
        json: bool,
    ) -> Result<Option<RString>, Error> {
        let offset = match (data, content_type) {
            (Some(data), Some(content_type)) if this.exactly_once => {
                let append = Append {
                    data: this.checked(ruby, Operation::Close, data, json)?,
                    content_type: content_type.into(),
                    json,
                    seq: None,
                    alone: true,
                    closes: true,
                };
                let appended = this.append_in_group(ruby, append)?.outcome;
                appended.map_err(|error| errors::raise(ruby, error))?.next_offset
            }
            (data, content_type) => {
                let body = data
                    .map(|data| this.payload(ruby, Operation::Close, data, json))
                    .transpose()?;
                let offset = this.request(ruby, move |endpoint| {
                    requests::close(endpoint, content_type.as_deref(), body)
                })?;
                Some(offset)
            }
        };
        Ok(offset.map(|text| frozen(ruby, &text)))
    }

    /// `delete` -> nil.
    fn delete(ruby: &Ruby, this: &Self) -> Result<(), Error> {
        this.request(ruby, |endpoint| Ok(requests::delete(endpoint)))
    }

    /// The endpoint for the requests of one call or one reader, and the work that they send to it.
    pub(crate) fn call_endpoint(&self, owner: Owner) -> (Arc<Endpoint>, Option<CallerWork>) {
        let owner = events::owner(owner);
        if self.application.is_none() && owner.is_none() {
            return (Arc::clone(&self.endpoint), None);
        }
        let (mut endpoint, calls) = match self.application {
            None => (Endpoint::clone(&self.endpoint), None),
            Some(_) => {
                let (sender, calls) = ruby_calls::channel();
                (self.endpoint.with_application(&sender), Some(calls))
            }
        };
        let mut events = None;
        if let Some((owner, queue)) = owner {
            endpoint = endpoint.with_events(queue);
            events = Some(owner);
        }
        (Arc::new(endpoint), CallerWork::new(calls, events))
    }

    /// Runs a request and waits for its result.
    pub(crate) fn request<T: Send + 'static>(
        &self,
        ruby: &Ruby,
        make: impl FnOnce(&Arc<Endpoint>) -> CoreResult<Job<T>>,
    ) -> Result<T, Error> {
        let outcome = self.outcome(ruby, make)?;
        outcome.map_err(|error| errors::raise(ruby, error))
    }

    /// As [`Stream::request`]. The inner result is that of the request.
    fn outcome<T: Send + 'static>(
        &self,
        ruby: &Ruby,
        make: impl FnOnce(&Arc<Endpoint>) -> CoreResult<Job<T>>,
    ) -> Result<CoreResult<T>, Error> {
        guard(ruby, || {
            events::keep_served(ruby)?;
            let (endpoint, todo) = self.call_endpoint(Owner::Call);
            match make(&endpoint) {
                Ok(job) => self.run(ruby, todo, job),
                Err(error) => Ok(Err(error)),
            }
        })
    }

    fn run<T: Send + 'static>(
        &self,
        ruby: &Ruby,
        todo: Option<CallerWork>,
        job: Job<T>,
    ) -> Result<CoreResult<T>, Error> {
        run_job(ruby, self.application.as_ref(), todo, job)
    }

    /// A copy of `data`, or `data` as a pinned string. On a JSON stream it must be one JSON value.
    fn checked(&self, ruby: &Ruby, operation: Operation, data: RString, json: bool) -> Result<Bytes, Error> {
        // SAFETY: the bytes are read, and copied or pinned, before any Ruby code can run.
        let bytes = unsafe { data.as_slice() };
        if json {
            self.check_json(ruby, operation, bytes)?;
        }
        Ok(pin(data).unwrap_or_else(|| Bytes::copy_from_slice(bytes)))
    }

    /// `data` as a request's body.
    fn payload(&self, ruby: &Ruby, operation: Operation, data: RString, json: bool) -> Result<Bytes, Error> {
        if !json {
            return self.checked(ruby, operation, data, json);
        }
        // SAFETY: the bytes are read and copied before any Ruby code can run.
        let bytes = unsafe { data.as_slice() };
        self.check_json(ruby, operation, bytes)?;
        Ok(one_message(bytes))
    }

    /// Checks JSON text before it is sent. Raises `DurableStreams::ParseError` with the position and the reason.
    pub(crate) fn check_json(&self, ruby: &Ruby, operation: Operation, text: &[u8]) -> Result<(), Error> {
        validate(text).map_err(|invalid| {
            let reason =
                format!("{invalid} (a String is taken as JSON: append a Hash or Array itself, and for a JSON string its to_json)");
            errors::refusal(ruby, "ParseError", self.endpoint.about(operation), &reason)
        })
    }
}

/// The purpose of a HEAD, by its name in Ruby.
fn purpose(ruby: &Ruby, name: Symbol) -> Result<Purpose, Error> {
    match &*name.name()? {
        "connect" => Ok(Purpose::Connect),
        "fork" => Ok(Purpose::Fork),
        "append" => Ok(Purpose::Append),
        "close" => Ok(Purpose::Close),
        "read" => Ok(Purpose::Read),
        "produce" => Ok(Purpose::Produce),
        other => Err(errors::argument(
            ruby,
            format!("purpose must be :connect, :fork, :append, :close, :read or :produce, got :{other}"),
        )),
    }
}

/// A frozen UTF-8 string, for metadata.
pub(crate) fn frozen(ruby: &Ruby, text: &str) -> RString {
    let string = ruby.str_new(text);
    string.freeze();
    string
}

/// Defines the class.
pub(crate) fn init(ruby: &Ruby, native: RModule) -> Result<(), Error> {
    let class = define::<Stream>(ruby, native, "Stream")?;
    class.define_singleton_method("new", function!(Stream::new, 3))?;
    class.define_method("runs_application_code?", method!(Stream::runs_application_code, 0))?;
    class.define_method("content_type", method!(Stream::content_type, 2))?;
    class.define_method("head", method!(Stream::head, 1))?;
    class.define_method("create", method!(Stream::create, 1))?;
    class.define_method("append", method!(Stream::append, 6))?;
    class.define_method("close_stream", method!(Stream::close_stream, 3))?;
    class.define_method("delete", method!(Stream::delete, 0))?;
    Ok(())
}
