//! Ruby objects that native work refers to while it runs on other threads: ids into one table that the GC marks.
//!
//! Other threads hold a [`Held`], which is a number and nothing of Ruby. Dropping the last one only notes that the
//! number is free; the table is swept when the GC marks it, or a Ruby thread adds to it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use durable_streams_core::lock::Mutex;
use durable_streams_core::process::ProcessLocal;
use magnus::value::{Opaque, ReprValue};
use magnus::{Class, DataTypeFunctions, Error, Module, RModule, Ruby, TypedData, Value, gc, typed_data};

/// A Ruby object that stays alive as long as this does.
#[derive(Clone, Debug)]
pub(crate) struct Held(Arc<Id>);

#[derive(Debug)]
struct Id(u64);

impl Drop for Id {
    fn drop(&mut self) {
        FREED.get_or_make(Mutex::default).lock().push(self.0);
    }
}

static NEXT: AtomicU64 = AtomicU64::new(0);
/// Each process has its own: another thread may hold the lock at the moment of a fork.
static FREED: ProcessLocal<Mutex<Vec<u64>>> = ProcessLocal::new();
static TABLE: OnceLock<Mutex<HashMap<u64, Opaque<Value>>>> = OnceLock::new();

/// What the GC sees of the table.
#[derive(TypedData)]
#[magnus(class = "DurableStreams::Native::Held", mark)]
struct Marker;

impl DataTypeFunctions for Marker {
    fn mark(&self, marker: &gc::Marker) {
        // The lock is free: it is never held while Ruby allocates, and every Ruby thread is stopped here.
        if let Some(table) = TABLE.get() {
            let mut table = table.lock();
            sweep(&mut table);
            for value in table.values() {
                marker.mark(*value);
            }
        }
    }
}

/// Makes the table known to the GC. Called once, from Init.
pub(crate) fn init(ruby: &Ruby, native: RModule) -> Result<(), Error> {
    let class = native.define_class("Held", ruby.class_object())?;
    class.undef_default_alloc_func();
    TABLE.get_or_init(Mutex::default);
    let marker: typed_data::Obj<Marker> = ruby.obj_wrap(Marker);
    gc::register_mark_object(marker);
    Ok(())
}

/// Keeps `value` alive.
pub(crate) fn hold(value: impl ReprValue) -> Held {
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    if let Some(table) = TABLE.get() {
        let mut table = table.lock();
        sweep(&mut table);
        table.insert(id, Opaque::from(value.as_value()));
    }
    Held(Arc::new(Id(id)))
}

/// Forgets what nobody refers to any more.
fn sweep(table: &mut HashMap<u64, Opaque<Value>>) {
    let freed = std::mem::take(&mut *FREED.get_or_make(Mutex::default).lock());
    for id in freed {
        table.remove(&id);
    }
}

impl Held {
    /// The object.
    pub(crate) fn get(&self, ruby: &Ruby) -> Option<Value> {
        TABLE.get()?.lock().get(&self.0.0).map(|value| ruby.get_inner(*value))
    }
}
