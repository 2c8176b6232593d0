//! Delivers events to the subscribers, which `DurableStreams::Events` has.

use std::sync::Arc;

use durable_streams_client::events::{
    Event, EventDetails, EventName, EventOwner, EventQueue, Owner, any_wanted, is_wanted, next_unowned, on_unowned,
    put_unowned, want,
};
use durable_streams_client::fork::generation;
use magnus::value::ReprValue;
use magnus::{Error, IntoValue, Module, Object, RArray, RModule, Ruby, Value, function};

use crate::callback_threads::notices::{QueuedNotice, notices};
use crate::errors;
use crate::handles::GcHandle;
use crate::library;
use crate::log::write_log;
use crate::queue::QueueThreads;

mod payload;

use payload::{frozen, payload};

/// The owner of the events of a call or a reader that begins now, and the queue for its requests; `None` if nobody has
/// subscribed.
pub(crate) fn owner(owner: Owner) -> Option<(EventOwner, Arc<EventQueue>)> {
    any_wanted().then(|| EventOwner::new(owner))
}

/// Starts the thread that delivers events without an owner, if somebody has subscribed and there is no such thread.
///
/// # Errors
/// An interrupt. That the thread cannot be started is only logged.
#[inline]
pub(crate) fn keep_served(ruby: &Ruby) -> Result<(), Error> {
    if any_wanted() && notices().is_short() {
        let _nil: Value = events_module(ruby)?.funcall("keep_running", ())?;
    }
    Ok(())
}

/// Delivers events to the subscribers, on this thread. If a subscriber forks, the child stops: the events are its
/// parent's.
///
/// # Errors
/// An interrupt. The other events are unowned then. What subscribers raise is logged in Ruby.
pub(crate) fn deliver(ruby: &Ruby, events: Vec<Event>) -> Result<(), Error> {
    let process = generation();
    let mut events = events.into_iter();
    while let Some(event) = events.next() {
        let published = publish(ruby, &event);
        if generation() != process {
            return published;
        }
        if published.is_err() {
            events.for_each(put_unowned);
            return published;
        }
    }
    // It may say that events were dropped.
    write_log(ruby)
}

fn publish(ruby: &Ruby, event: &Event) -> Result<(), Error> {
    let _nil: Value = match application_event(ruby, event) {
        Some(event) => events_module(ruby)?.funcall("publish_event", (event,))?,
        None => events_module(ruby)?.funcall("publish", arguments(ruby, event)?)?,
    };
    Ok(())
}

/// The next event without an owner, for `Native.next_notice`: `[DurableStreams::Events, event]`, or what the arguments
/// of `DurableStreams::Events.publish` are in place of `event`.
pub(crate) fn next_notice(ruby: &Ruby) -> Result<Option<RArray>, Error> {
    let Some((event, has_more)) = next_unowned() else {
        return Ok(None);
    };
    if has_more {
        notices().put(QueuedNotice::Events);
    }
    let array = ruby.ary_new();
    array.push(events_module(ruby)?)?;
    match application_event(ruby, &event) {
        Some(event) => array.push(event)?,
        None => array.cat(&arguments(ruby, &event)?)?,
    }
    Ok(Some(array))
}

/// The module `DurableStreams::Events`.
fn events_module(ruby: &Ruby) -> Result<RModule, Error> {
    library(ruby)?.const_get("Events")
}

/// The Ruby object of an event that was made in Ruby.
fn application_event(ruby: &Ruby, event: &Event) -> Option<Value> {
    match &event.details {
        EventDetails::Application(event) => event.downcast_ref::<GcHandle>()?.get(ruby),
        _ => None,
    }
}

/// The arguments of `DurableStreams::Events.publish`: name, time, duration, payload, error.
fn arguments(ruby: &Ruby, event: &Event) -> Result<[Value; 5], Error> {
    let details = &event.details;
    let Some(name) = details.name() else {
        return Err(errors::internal(ruby, "an event that is not a Ruby object"));
    };
    let error = details
        .error()
        .map(|error| errors::exception(ruby, error))
        .transpose()?;
    Ok([
        frozen(ruby, name.as_str()),
        event.time.into_value_with(ruby),
        event.duration.as_secs_f64().into_value_with(ruby),
        payload(ruby, details, error)?.as_value(),
        error.into_value_with(ruby),
    ])
}

/// `Native.want_events(names)`: from now on the events of these names are wanted, and no others.
fn want_events(names: Vec<String>) {
    want(names.iter().map(String::as_str));
}

/// `Native.append_events?`: whether somebody wants the events of appends.
fn append_events() -> bool {
    is_wanted(EventName::Append)
}

/// `Native.defer_event(event)`: has the callback thread deliver an event that was made in Ruby.
fn defer_event(event: Value) {
    put_unowned(Event::now(EventDetails::Application(Arc::new(GcHandle::new(event)))));
}

/// Defines the module functions.
pub(crate) fn init(native: RModule) -> Result<(), Error> {
    on_unowned(|| notices().put(QueuedNotice::Events));
    native.define_singleton_method("want_events", function!(want_events, 1))?;
    native.define_singleton_method("append_events?", function!(append_events, 0))?;
    native.define_singleton_method("defer_event", function!(defer_event, 1))
}
