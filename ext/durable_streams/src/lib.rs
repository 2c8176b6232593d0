//! The Ruby extension of the `durable_streams` gem: Ruby on one side, the client crate on the other.
//!
//! - `wait`: the one place where a thread waits; `caller`: who it is that waits;
//! - `convert`: the one place where content becomes Ruby objects;
//! - `errors`: the one map from failures to exceptions; `producer_error`: that of a producer that has failed;
//! - `ruby_calls`: what requests ask of Ruby; `values`: headers and parameters, callables included;
//!   `request`: requests that Ruby answers; `queue`, `held`: what other threads hand to Ruby, and refer to;
//!   `options`: settings that Ruby gives by name; `kept`: what a parked fiber owns; `shared`: Strings that other threads read;
//! - `url`: paths joined to a base, and URLs without their secrets; `content_type`: what types mean;
//! - `dispatch`: what a Ruby thread does for producers while no caller waits;
//! - `client`, `stream`, `reader`, `producer`: the classes of `DurableStreams::Native`.

#![allow(missing_docs, reason = "the one public item is the entry point, which a macro makes")]

use magnus::{Error, Module, Ruby};

mod caller;
mod client;
mod content_type;
mod convert;
mod dispatch;
mod errors;
mod fiber_guard;
mod handles;
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
mod stream;
mod url;
mod values;
#[cfg(test)]
mod vm_tests;
mod wait;

/// Defines `DurableStreams::Native`. Starts nothing.
#[magnus::init]
fn init(ruby: &Ruby) -> Result<(), Error> {
    // SAFETY: on the thread that loads the library, with the GVL; neither allocates nor raises. It is true: all that is
    // shared by the process is behind locks or atomics, and objects of one Ractor are not handed to another.
    unsafe { rb_sys::rb_ext_ractor_safe(true) };
    durable_streams_client::fork::watch_forks();
    let native = ruby.define_module("DurableStreams")?.define_module("Native")?;
    wait::init(ruby, native)?;
    errors::init(native)?;
    handles::init(ruby, native)?;
    fiber_guard::init(ruby, native)?;
    convert::init(ruby, native)?;
    client::init(ruby, native)?;
    url::init(native)?;
    content_type::init(native)?;
    stream::init(ruby, native)?;
    reader::init(ruby, native)?;
    producer::init(ruby, native)?;
    request::init(ruby, native)?;
    #[cfg(debug_assertions)]
    panics::init(native)?;
    dispatch::init(native)
}
