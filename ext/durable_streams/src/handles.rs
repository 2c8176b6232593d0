//! Ruby objects that native work refers to while it runs on other threads: ids into one table that the GC marks.
//!
//! Other threads hold a [`GcHandle`], which is a number and nothing of Ruby. Dropping the last one only notes that the
//! number is free; the table is swept when the GC marks it, or a Ruby thread adds to it.
//!
//! What native work refers to may refer to the owner of that work: a callback is a closure, and most closures see the
//! variable that their producer is in. Such an object is [`WorkHandle`]: kept alive only while there is work, or the owner would
//! keep itself alive.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use durable_streams_client::fork::ProcessLocal;
use durable_streams_client::lock::Mutex;
use magnus::value::{Opaque, ReprValue};
use magnus::{Class, DataTypeFunctions, Error, Module, RModule, Ruby, TypedData, Value, gc, typed_data};

/// A Ruby object that stays alive as long as this does.
#[derive(Clone, Debug)]
pub(crate) struct GcHandle(Arc<HandleId>);

#[derive(Debug)]
struct HandleId(u64);

impl Drop for HandleId {
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
    /// Of what is lent.
    work: Option<Arc<OwnerWork>>,
}

impl Entry {
    fn is_needed(&self) -> bool {
        self.work.as_ref().is_none_or(|work| work.is_needed())
    }
}

/// Whether a lent object is needed.
#[derive(Default)]
struct OwnerWork {
    under_way: OnceLock<Box<dyn Fn() -> bool + Send + Sync>>,
    users: AtomicUsize,
}

impl OwnerWork {
    fn is_needed(&self) -> bool {
        // In this order: users come while work is under way.
        self.under_way.get().is_none_or(|under_way| under_way()) || self.users.load(Ordering::SeqCst) > 0
    }
}

/// What the GC sees of the table. It has no write barriers, like all of this crate's objects: so the GC looks through it at
/// every collection, however old it is, and finds what was added meanwhile.
#[derive(TypedData)]
#[magnus(class = "DurableStreams::Native::HandleTable", mark)]
struct HandleTable;

impl DataTypeFunctions for HandleTable {
    fn mark(&self, marker: &gc::Marker) {
        // The lock is free: it is never locked while Ruby allocates, and every Ruby thread is stopped here.
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
    let class = native.define_class("HandleTable", ruby.class_object())?;
    class.undef_default_alloc_func();
    TABLE.get_or_init(Mutex::default);
    let marker: typed_data::Obj<HandleTable> = ruby.obj_wrap(HandleTable);
    gc::register_mark_object(marker);
    Ok(())
}

fn add(value: impl ReprValue, work: Option<Arc<OwnerWork>>) -> GcHandle {
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    if let Some(table) = TABLE.get() {
        let mut table = table.lock();
        sweep(&mut table);
        let value = Opaque::from(value.as_value());
        table.insert(id, Entry { value, work });
    }
    GcHandle(Arc::new(HandleId(id)))
}

/// Forgets what nobody refers to any more.
fn sweep(table: &mut HashMap<u64, Entry>) {
    let freed = std::mem::take(&mut *FREED.get_or_make(Mutex::default).lock());
    for id in freed {
        table.remove(&id);
    }
}

impl GcHandle {
    /// Keeps `value` alive.
    pub(crate) fn new(value: impl ReprValue) -> GcHandle {
        add(value, None)
    }

    /// The object.
    pub(crate) fn get(&self, ruby: &Ruby) -> Option<Value> {
        let table = TABLE.get()?.lock();
        table.get(&self.0.0).map(|entry| ruby.get_inner(entry.value))
    }
}

/// A Ruby object that is alive as long as its owner is, an object of Ruby's that marks it, and longer while there is work.
#[derive(Clone)]
pub(crate) struct WorkHandle {
    handle: GcHandle,
    work: Arc<OwnerWork>,
}

impl WorkHandle {
    /// Keeps `value` alive for the work of its owner; for good, until it is told what that is.
    pub(crate) fn new(value: impl ReprValue) -> WorkHandle {
        let work = Arc::<OwnerWork>::default();
        let handle = add(value, Some(Arc::clone(&work)));
        WorkHandle { handle, work }
    }

    /// From now on keeps the object alive only while `under_way` says so, or somebody uses it. The owner begins no work
    /// once it is garbage, and calls [`WorkHandle::release`] when it is freed. `under_way` is asked in the midst of a garbage
    /// collection: it waits for nothing that a Ruby thread does.
    pub(crate) fn keep_alive_while(&self, under_way: impl Fn() -> bool + Send + Sync + 'static) {
        // Told once.
        let _again = self.work.under_way.set(Box::new(under_way));
    }

    /// Keeps the object alive until what this gives is dropped. Only while work is under way.
    pub(crate) fn use_guard(&self) -> UseGuard {
        self.work.users.fetch_add(1, Ordering::SeqCst);
        UseGuard(self.clone())
    }

    /// The owner is being freed, and with it, unless there is work, the object.
    pub(crate) fn release(&self) {
        if let Some(table) = TABLE.get()
            && !self.work.is_needed()
        {
            table.lock().remove(&self.handle.0.0);
        }
    }
}

/// A lent object in use.
pub(crate) struct UseGuard(WorkHandle);

impl UseGuard {
    /// The object.
    pub(crate) fn get(&self, ruby: &Ruby) -> Option<Value> {
        self.0.handle.get(ruby)
    }
}

impl Drop for UseGuard {
    fn drop(&mut self) {
        self.0.work.users.fetch_sub(1, Ordering::SeqCst);
    }
}
