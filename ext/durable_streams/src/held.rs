//! Ruby objects that native work refers to while it runs on other threads: ids into one table that the GC marks.
//!
//! Other threads hold a [`Held`], which is a number and nothing of Ruby. Dropping the last one only notes that the
//! number is free; the table is swept when the GC marks it, or a Ruby thread adds to it.
//!
//! What native work refers to may refer to the owner of that work: a callback is a closure, and most closures see the
//! variable that their producer is in. Such an object is held only while there is work ([`Held::only_while`]), or the
//! owner would keep itself alive.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

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
static TABLE: OnceLock<Mutex<HashMap<u64, Entry>>> = OnceLock::new();

/// What the table knows of an object.
struct Entry {
    value: Opaque<Value>,
    work: Option<Work>,
}

/// When an object is needed that another one keeps alive too.
struct Work {
    busy: Box<dyn Fn() -> bool + Send + Sync>,
    id: Weak<Id>,
    /// How many references there are to it while there is no work: one more is somebody who is about to use it.
    idle: usize,
}

impl Entry {
    fn is_needed(&self) -> bool {
        // In this order: whoever takes a reference does so while it is busy.
        let needed = |work: &Work| (work.busy)() || work.id.strong_count() > work.idle;
        self.work.as_ref().is_none_or(needed)
    }
}

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
            for entry in table.values().filter(|entry| entry.is_needed()) {
                marker.mark(entry.value);
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
        let value = Opaque::from(value.as_value());
        table.insert(id, Entry { value, work: None });
    }
    Held(Arc::new(Id(id)))
}

/// Forgets what nobody refers to any more.
fn sweep(table: &mut HashMap<u64, Entry>) {
    let freed = std::mem::take(&mut *FREED.get_or_make(Mutex::default).lock());
    for id in freed {
        table.remove(&id);
    }
}

impl Held {
    /// The object.
    pub(crate) fn get(&self, ruby: &Ruby) -> Option<Value> {
        let table = TABLE.get()?.lock();
        table.get(&self.0.0).map(|entry| ruby.get_inner(entry.value))
    }

    /// From now on keeps the object alive only while `busy` says so, or somebody has taken another reference, which they do
    /// while it is busy. The caller, who is Ruby's too, marks the object itself, begins no work once it is garbage, and
    /// then calls [`Held::forget`]. `busy` is asked in the midst of a garbage collection: it waits for nothing that a
    /// Ruby thread does.
    pub(crate) fn only_while(&self, busy: impl Fn() -> bool + Send + Sync + 'static) {
        let work = Work {
            busy: Box::new(busy),
            id: Arc::downgrade(&self.0),
            idle: Arc::strong_count(&self.0),
        };
        if let Some(table) = TABLE.get()
            && let Some(entry) = table.lock().get_mut(&self.0.0)
        {
            entry.work = Some(work);
        }
    }

    /// The object's other owner is being freed, and with it, unless there is work, the object.
    pub(crate) fn forget(&self) {
        if let Some(table) = TABLE.get() {
            let mut table = table.lock();
            if table.get(&self.0.0).is_some_and(|entry| !entry.is_needed()) {
                table.remove(&self.0.0);
            }
        }
    }
}
