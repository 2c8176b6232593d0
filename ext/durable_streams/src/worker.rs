//! `DurableStreams::Native::Worker`: a worker of one subscription. It decides; `lib/durable_streams/worker` has the
//! threads.

use std::time::Instant;

use durable_streams_client::events::Owner;
use durable_streams_client::lock::Mutex;
use durable_streams_client::log::{self, LogLine};
use durable_streams_client::subscriptions as requests;
use durable_streams_protocol::error::{Error as CoreError, Kind, Operation};
use durable_streams_protocol::request::{Request, RequestFailure};
use durable_streams_protocol::subscriptions::SubscriptionOperation;
use durable_streams_protocol::worker::{BlockProgress, WorkerEvent, WorkerMachine};
use magnus::typed_data::Obj;
use magnus::value::{Opaque, ReprValue};
use magnus::{DataTypeFunctions, Error, Module, Object, RModule, Ruby, Symbol, TypedData, Value, function, gc, method};

use crate::caller_work::run_job;
use crate::class::define;
use crate::errors::{self, guard};
use crate::events;
use crate::stream::Stream;

/// A worker. Any Ruby thread may call it.
#[derive(TypedData)]
#[magnus(class = "DurableStreams::Native::Worker", free_immediately, mark, size)]
pub(crate) struct Worker {
    /// Locked only while the calling thread has the GVL: a fork happens on the thread that has the GVL, so no child
    /// inherits it locked.
    state: Mutex<WorkerState>,
    /// The endpoints of its requests.
    claim: Opaque<Obj<Stream>>,
    ack: Opaque<Obj<Stream>>,
    release: Opaque<Obj<Stream>>,
}

struct WorkerState {
    machine: WorkerMachine,
    /// A request that `poll` has announced.
    due: Option<(SubscriptionOperation, Request)>,
}

/// What `event` returns: what has happened, the generation of the claim, and the exception.
type RubyEvent = (Symbol, u64, Option<Value>);

impl DataTypeFunctions for Worker {
    fn mark(&self, marker: &gc::Marker) {
        for stream in [self.claim, self.ack, self.release] {
            marker.mark(stream);
        }
    }
}

impl Worker {
    /// `Native::Worker.new(name, claim, ack, release)`: a worker that claims under this name, and the endpoints of its
    /// requests.
    fn new(name: String, claim: Obj<Stream>, ack: Obj<Stream>, release: Obj<Stream>) -> Self {
        let machine = requests::worker(&claim.endpoint, name);
        Self {
            state: Mutex::new(WorkerState { machine, due: None }),
            claim: claim.into(),
            ack: ack.into(),
            release: release.into(),
        }
    }

    fn with_machine<T>(&self, work: impl FnOnce(&mut WorkerMachine) -> T) -> T {
        work(&mut self.state.lock().machine)
    }

    /// The endpoint of these requests.
    fn stream(&self, ruby: &Ruby, operation: SubscriptionOperation) -> Obj<Stream> {
        ruby.get_inner(match operation {
            SubscriptionOperation::Claim => self.claim,
            SubscriptionOperation::Release => self.release,
            _ => self.ack,
        })
    }

    /// `poll(has_capacity)` -> `:request` if `request` is to be called, `:ended`, or how many seconds to wait at most
    /// for a change (nil: without limit). `has_capacity`: whether a thread is free to run blocks.
    fn poll(ruby: &Ruby, this: &Self, has_capacity: bool) -> Value {
        let now = Instant::now();
        let mut state = this.state.lock();
        if state.due.is_none() {
            state.due = state.machine.poll_request(now, has_capacity);
        }
        if state.due.is_some() {
            return ruby.to_symbol("request").as_value();
        }
        if state.machine.poll_end().is_some() {
            return ruby.to_symbol("ended").as_value();
        }
        match state.machine.poll_timeout(now, has_capacity) {
            Some(at) => {
                let seconds = at.saturating_duration_since(now).as_secs_f64();
                ruby.float_from_f64(seconds).as_value()
            }
            None => ruby.qnil().as_value(),
        }
    }

    /// `claim_in` -> in how many seconds it claims, if a thread is free then; 0 while it claims; nil if it has a claim, or
    /// ends.
    fn claim_in(&self) -> Option<f64> {
        let at = self.with_machine(|machine| machine.poll_claim())?;
        Some(at.saturating_duration_since(Instant::now()).as_secs_f64())
    }

    /// `ended?`: whether nothing is to be sent any more.
    fn has_ended(&self) -> bool {
        self.with_machine(|machine| machine.poll_end().is_some())
    }

    /// `request`: sends the request that `poll` has announced, and waits for its end. Raises what value callables
    /// raise, or what interrupts the wait: the request may have been carried out then.
    fn request(ruby: &Ruby, this: &Self) -> Result<(), Error> {
        guard(ruby, || {
            // May raise, so the request is taken after it.
            events::keep_served(ruby)?;
            let Some((operation, request)) = this.state.lock().due.take() else {
                return Ok(());
            };
            let stream = this.stream(ruby, operation);
            let (endpoint, todo) = stream.call_endpoint(Owner::Call);
            let attempt = this.with_machine(|machine| machine.attempt());
            let job = requests::send_once(&endpoint, request, attempt);
            let ended = run_job(ruby, stream.application.as_ref(), todo, job);
            let context = endpoint.context(Operation::Subscription(operation));
            let (outcome, raised) = match ended {
                Ok(Ok(outcome)) => (outcome, Ok(())),
                Ok(Err(error)) => (Err(RequestFailure::Final(error)), Ok(())),
                Err(raised) => {
                    let abandoned = CoreError::plain(Kind::Abandoned, "interrupted".to_owned());
                    (Err(RequestFailure::ResponseLost(abandoned)), Err(raised))
                }
            };
            let failed = this.with_machine(|machine| machine.handle_outcome(Instant::now(), &context, outcome));
            if let Some(failed) = failed {
                requests::report_retry(&endpoint, operation, failed);
            }
            raised
        })
    }

    /// `error` -> the exception that the worker has ended with, or nil.
    fn error(ruby: &Ruby, this: &Self) -> Result<Option<Value>, Error> {
        match this.with_machine(|machine| machine.poll_end()) {
            Some(Err(error)) => Ok(Some(errors::exception(ruby, &error)?.as_value())),
            Some(Ok(())) | None => Ok(None),
        }
    }

    /// `event` -> the next of `[:claimed, generation, nil]` and `[:lost, generation, exception]`, or nil. Outages are
    /// logged.
    fn event(ruby: &Ruby, this: &Self) -> Result<Option<RubyEvent>, Error> {
        loop {
            match this.with_machine(WorkerMachine::poll_event) {
                None => return Ok(None),
                Some(WorkerEvent::Claimed { generation }) => {
                    return Ok(Some((ruby.to_symbol("claimed"), generation, None)));
                }
                Some(WorkerEvent::Lost { generation, error }) => {
                    let exception = errors::exception(ruby, &error)?.as_value();
                    return Ok(Some((ruby.to_symbol("lost"), generation, Some(exception))));
                }
                Some(WorkerEvent::Outage(operation, event)) => {
                    let stream = this.stream(ruby, operation);
                    let operation = Operation::Subscription(operation);
                    log::add(LogLine::outage(operation, stream.endpoint.display(), event));
                }
            }
        }
    }

    /// `work` -> `[generation, path, offset]` of a stream to run the block for, or nil.
    fn work(&self) -> Option<(u64, String, String)> {
        let work = self.with_machine(|machine| machine.poll_work(Instant::now()))?;
        Some((work.generation, work.stream, work.from))
    }

    /// `handled(path, offset, up_to_date)`: the block has returned for a batch that ends there.
    fn handled(&self, path: String, offset: String, up_to_date: bool) {
        self.with_machine(|machine| machine.handle_batch(&path, &offset, up_to_date));
    }

    /// `progress(path)` -> `:go_on`, `:finished`, the exception for a batch that is not acked, or nil if that is not
    /// known yet.
    fn progress(ruby: &Ruby, this: &Self, path: String) -> Result<Option<Value>, Error> {
        let progress = this.with_machine(|machine| machine.poll_progress(Instant::now(), &path));
        Ok(match progress {
            None => None,
            Some(BlockProgress::GoOn) => Some(ruby.to_symbol("go_on").as_value()),
            Some(BlockProgress::Finished) => Some(ruby.to_symbol("finished").as_value()),
            Some(BlockProgress::Failed(error)) => Some(errors::exception(ruby, &error)?.as_value()),
        })
    }

    /// `failed(generation, path)`: the block failed, or the stream could not be read.
    fn failed(&self, generation: u64, path: String) {
        self.with_machine(|machine| machine.handle_failure(Instant::now(), generation, &path));
    }

    /// `wake(generation)`: an event of the wake stream; nil if it has no generation.
    fn wake(&self, generation: Option<u64>) {
        self.with_machine(|machine| machine.handle_wake(Instant::now(), generation));
    }

    /// `stop`: begins to give the claim back.
    fn stop(&self) {
        self.with_machine(WorkerMachine::stop);
    }
}

/// Defines the class.
pub(crate) fn init(ruby: &Ruby, native: RModule) -> Result<(), Error> {
    let class = define::<Worker>(ruby, native, "Worker")?;
    class.define_singleton_method("new", function!(Worker::new, 4))?;
    class.define_method("poll", method!(Worker::poll, 1))?;
    class.define_method("claim_in", method!(Worker::claim_in, 0))?;
    class.define_method("ended?", method!(Worker::has_ended, 0))?;
    class.define_method("request", method!(Worker::request, 0))?;
    class.define_method("error", method!(Worker::error, 0))?;
    class.define_method("event", method!(Worker::event, 0))?;
    class.define_method("work", method!(Worker::work, 0))?;
    class.define_method("handled", method!(Worker::handled, 3))?;
    class.define_method("progress", method!(Worker::progress, 1))?;
    class.define_method("failed", method!(Worker::failed, 2))?;
    class.define_method("wake", method!(Worker::wake, 1))?;
    class.define_method("stop", method!(Worker::stop, 0))?;
    Ok(())
}
