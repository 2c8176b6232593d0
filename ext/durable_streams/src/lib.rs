//! The Ruby extension of the `durable_streams` gem: the bridge between Ruby and the client crate.
//!
//! - `client`, `stream`, `reader`, `producer`, `worker`, `request`, `stop_signal`: one file for each class of
//!   `DurableStreams::Native`;
//! - `subscriptions`: the requests of the subscription APIs;
//! - `wait`: the one module in which a thread waits; `caller`: which thread and fiber waits;
//! - `convert`: the one module that builds Ruby objects from content;
//! - `errors`: the one map from errors to exceptions; `producer_error`: the exception for a failed producer;
//! - `ruby_calls`: what requests need from Ruby; `values`: headers and parameters; `nested`: appends within value
//!   callables; `caller_work`: what a waiting caller does for its request;
//! - `events`: events for subscribers;
//! - `callback_threads`, `queue`: work of the callback threads;
//! - `handles`: GC handles; `fiber_guard`: what a parked fiber owns; `pinned_string`: Strings that are sent without
//!   copying; `memory`: native memory reported to the GC;
//! - `options`: options that cross the bridge by name; `class`: defines Ruby classes;
//! - `url`, `content_type`: URLs and content types for Ruby.

#![allow(
    missing_docs,
    reason = "the only public item is the entry point, which a macro generates"
)]

use magnus::{Error, Module, RModule, Ruby};

mod callback_threads;
mod caller;
mod caller_work;
mod class;
mod client;
mod content_type;
mod convert;
mod errors;
mod events;
mod fiber_guard;
mod handles;
mod log;
mod memory;
mod nested;
mod options;
#[cfg(debug_assertions)]
mod panics;
mod pinned_string;
mod producer;
mod producer_error;
mod queue;
mod reader;
mod request;
mod ruby_calls;
mod stop_signal;
mod stream;
mod subscriptions;
mod url;
mod values;
#[cfg(test)]
mod vm_tests;
mod wait;
mod worker;

/// The module `DurableStreams`.
fn library(ruby: &Ruby) -> Result<RModule, Error> {
    ruby.class_object().const_get("DurableStreams")
}

/// Defines `DurableStreams::Native`. Starts nothing.
#[magnus::init]
fn init(ruby: &Ruby) -> Result<(), Error> {
    // SAFETY: on the thread that loads the library, with the GVL; neither allocates nor raises. The claim is true:
    // state that the process shares is behind locks or atomics, and objects of one Ractor are not passed to another.
    unsafe { rb_sys::rb_ext_ractor_safe(true) };
    durable_streams_client::fork::watch_forks();
    let native = ruby.define_module("DurableStreams")?.define_module("Native")?;
    wait::init(ruby, native)?;
    caller::init(ruby);
    nested::init(ruby);
    errors::init(native)?;
    handles::init(ruby, native)?;
    fiber_guard::init(ruby, native)?;
    convert::init(native)?;
    client::init(ruby, native)?;
    url::init(native)?;
    content_type::init(native)?;
    stop_signal::init(ruby, native)?;
    stream::init(ruby, native)?;
    reader::init(ruby, native)?;
    producer::init(ruby, native)?;
    subscriptions::init(native)?;
    worker::init(ruby, native)?;
    log::init(native)?;
    request::init(ruby, native)?;
    #[cfg(debug_assertions)]
    panics::init(native)?;
    events::init(native)?;
    callback_threads::init(native)
}
