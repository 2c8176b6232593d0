//! What a caller does on its thread while it waits for a request: it runs the Ruby calls of the request, and delivers
//! the events of the call. Read [`CallerWork`] first.

use std::future::Future;
use std::ops::DerefMut;
use std::pin::Pin;
use std::task::{Context, Poll};

use durable_streams_client::events::{Event, EventOwner};
use durable_streams_client::inline::job::{AnyJob, AnyResult, Job};
use durable_streams_protocol::error::Result as CoreResult;
use magnus::{Error, Ruby};

use crate::events::deliver;
use crate::fiber_guard::FiberGuard;
use crate::ruby_calls::{ApplicationCode, CallReceiver, RubyCall};
use crate::wait::{InlineOutcome, check_stack, start_inline, wait};

/// The work of one caller, or of one reader, whose callers do it.
pub(crate) struct CallerWork {
    calls: Option<CallReceiver>,
    events: Option<EventOwner>,
}

/// Something to do.
pub(crate) enum WorkItem {
    /// Run a Ruby call.
    Call(RubyCall),
    /// Deliver these events.
    Events(Vec<Event>),
}

impl CallerWork {
    /// The work that requests send to these receivers; `None` if there are no receivers.
    pub(crate) fn new(calls: Option<CallReceiver>, events: Option<EventOwner>) -> Option<Self> {
        (calls.is_some() || events.is_some()).then_some(Self { calls, events })
    }

    /// The events that were not delivered yet.
    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        self.events.as_mut().map(EventOwner::take).unwrap_or_default()
    }

    /// The events that were not delivered yet. If there are none, the task is woken when there are.
    pub(crate) fn poll_events(&mut self, context: &mut Context<'_>) -> Poll<Vec<Event>> {
        match &mut self.events {
            Some(events) => events.poll_take(context),
            None => Poll::Pending,
        }
    }

    /// The next thing to do.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<WorkItem> {
        if let Some(calls) = &mut self.calls
            // Once all senders are gone, there are no more calls.
            && let Poll::Ready(Some(call)) = calls.poll_recv(context)
        {
            return Poll::Ready(WorkItem::Call(call));
        }
        self.poll_events(context).map(WorkItem::Events)
    }
}

/// Does `item` for the caller that waits with `wait_state`, which a fiber guard owns meanwhile.
///
/// # Errors
/// Whatever the application's code raises in a Ruby call, and interrupts. Then `wait_state` is dropped.
fn work<T: Send + 'static>(
    ruby: &Ruby,
    application: Option<&ApplicationCode>,
    item: WorkItem,
    wait_state: T,
) -> Result<T, Error> {
    match (item, application) {
        (WorkItem::Call(call), Some(application)) => application.run_for_caller(ruby, call, wait_state),
        (WorkItem::Call(_), None) => Ok(wait_state),
        (WorkItem::Events(events), _) => deliver_during(ruby, events, wait_state),
    }
}

/// Delivers events. A fiber guard owns `state` meanwhile.
///
/// # Errors
/// An interrupt. Then `state` is dropped.
pub(crate) fn deliver_during<T: Send + 'static>(ruby: &Ruby, events: Vec<Event>, state: T) -> Result<T, Error> {
    if events.is_empty() {
        return Ok(state);
    }
    let guard = FiberGuard::new(ruby, state);
    let delivered = deliver(ruby, events);
    let state = guard.take(ruby)?;
    delivered.map(|()| state)
}

/// Waits for `future` and does `todo` meanwhile. Returns `todo` too: there may be events left to deliver.
pub(crate) fn wait_with_work<F, Q>(
    ruby: &Ruby,
    application: Option<&ApplicationCode>,
    todo: Option<Q>,
    future: F,
) -> Result<(F::Output, Option<Q>), Error>
where
    F: Future<Output: Send> + Send + 'static,
    Q: DerefMut<Target = CallerWork> + Send + Unpin + 'static,
{
    let Some(todo) = todo else {
        return Ok((wait(ruby, future)?, None));
    };
    let mut waiting = WaitWithWork::new(future, todo);
    loop {
        match wait(ruby, waiting)? {
            WaitEvent::Done(output, todo) => return Ok((output, Some(todo))),
            WaitEvent::Work(item, rest) => waiting = work(ruby, application, item, rest)?,
        }
    }
}

/// Waits for `future`, and does all the work of its caller.
pub(crate) fn wait_for_call<F: Future<Output: Send> + Send + 'static>(
    ruby: &Ruby,
    application: Option<&ApplicationCode>,
    todo: Option<CallerWork>,
    future: F,
) -> Result<F::Output, Error> {
    let (output, todo) = wait_with_work(ruby, application, todo.map(Box::new), future)?;
    finish(ruby, todo.map(|todo| *todo), output)
}

/// Runs `job`, inline if possible, waits for it, and does all the work of its caller.
pub(crate) fn run_job<T: Send + 'static>(
    ruby: &Ruby,
    application: Option<&ApplicationCode>,
    todo: Option<CallerWork>,
    job: Job<T>,
) -> Result<CoreResult<T>, Error> {
    run_any_job(ruby, application, todo, job.into_any()).map(Job::result)
}

fn run_any_job(
    ruby: &Ruby,
    application: Option<&ApplicationCode>,
    mut todo: Option<CallerWork>,
    job: AnyJob,
) -> Result<CoreResult<AnyResult>, Error> {
    let spawned = match start_inline(job) {
        Ok(Ok(mut inline)) => loop {
            let poll_work = |context: &mut Context<'_>| match &mut todo {
                Some(todo) => todo.poll(context),
                None => Poll::Pending,
            };
            match inline.run(ruby, poll_work)? {
                InlineOutcome::Done(outcome) => {
                    drop(inline);
                    return finish(ruby, todo, outcome);
                }
                InlineOutcome::Other(item) => inline = work(ruby, application, item, inline)?,
            }
        },
        Ok(Err(job)) => {
            check_stack(ruby)?;
            job.spawn()
        }
        Err(error) => Err(error),
    };
    match spawned {
        Ok(task) => wait_for_call(ruby, application, todo, task),
        Err(error) => Ok(Err(error)),
    }
}

/// The call ends with this outcome: delivers the events that are left.
fn finish<T: Send + 'static>(ruby: &Ruby, todo: Option<CallerWork>, outcome: T) -> Result<T, Error> {
    let events = todo.map(|mut todo| todo.take_events());
    deliver_during(ruby, events.unwrap_or_default(), outcome)
}

/// Waits for a future or for work, whichever comes first. After work, the future goes on in the next wait.
struct WaitWithWork<F, Q>(Option<(Pin<Box<F>>, Q)>);

enum WaitEvent<F: Future, Q> {
    Done(F::Output, Q),
    Work(WorkItem, WaitWithWork<F, Q>),
}

impl<F, Q> WaitWithWork<F, Q> {
    fn new(future: F, todo: Q) -> Self {
        Self(Some((Box::pin(future), todo)))
    }
}

impl<F: Future, Q: DerefMut<Target = CallerWork> + Unpin> Future for WaitWithWork<F, Q> {
    type Output = WaitEvent<F, Q>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some((mut future, mut todo)) = self.0.take() else {
            return Poll::Pending;
        };
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(WaitEvent::Done(output, todo));
        }
        let item = todo.poll(context);
        let rest = Some((future, todo));
        if let Poll::Ready(item) = item {
            return Poll::Ready(WaitEvent::Work(item, Self(rest)));
        }
        self.0 = rest;
        Poll::Pending
    }
}
