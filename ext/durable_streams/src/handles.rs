//! GC handles: how native work refers to Ruby objects while it runs on other threads.
//!
//! A [`GcHandle`] is an id into one handle table, which the GC marks. It holds no Ruby reference, so any thread may use
//! and drop it. Dropping the last clone only records that the id is free. The table is swept when the GC marks it, or
//! when a Ruby thread adds to it.
//!
//! An object that native work refers to may itself refer to the owner of that work: a callback is a closure, and most
//! closures see the variable that stores their producer. A [`GcHandle`] to it would keep the owner alive for ever. A
//! [`WorkHandle`] keeps its object alive only while the owner has work.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use durable_streams_client::fork::ProcessLocal;
use durable_streams_client::lock::Mutex;
use magnus::value::{Opaque, ReprValue};
use magnus::{DataTypeFunctions, Error, RModule, Ruby, TypedData, Value, gc, typed_data};

use crate::class::define;

/// Keeps a Ruby object alive until the last clone is dropped.
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
/// Ids that the next sweep removes. Each process has its own: at a fork another thread may have locked it.
static FREED: ProcessLocal<Mutex<Vec<u64>>> = ProcessLocal::new();
static TABLE: OnceLock<Mutex<HashMap<u64, Entry>>> = OnceLock::new();

/// An object in the table.
struct Entry {
    value: Opaque<Value>,
    /// Only for a [`WorkHandle`].
    work: Option<Arc<OwnerWork>>,
}

impl Entry {
    fn is_needed(&self) -> bool {
        self.work.as_ref().is_none_or(|work| work.is_needed())
    }
}

/// Whether the object of a [`WorkHandle`] is needed.
#[derive(Default)]
struct OwnerWork {
    is_running: OnceLock<Box<dyn Fn() -> bool + Send + Sync>>,
    users: AtomicUsize,
}

impl OwnerWork {
    fn is_needed(&self) -> bool {
        // In this order, since use guards are made only while work is running.
        self.is_running.get().is_none_or(|is_running| is_running()) || self.users.load(Ordering::SeqCst) > 0
    }
}

/// The Ruby object through which the GC marks the table. Like all objects of this crate it has no write barrier. So the
/// GC marks it at every collection, however old it is, and finds new entries.
#[derive(TypedData)]
#[magnus(class = "DurableStreams::Native::HandleTable", mark)]
struct HandleTable;

impl DataTypeFunctions for HandleTable {
    fn mark(&self, marker: &gc::Marker) {
        // The lock is free: all Ruby threads are stopped now, and none allocates Ruby objects while it has the lock.
        if let Some(table) = TABLE.get() {
            let mut table = table.lock();
            sweep(&mut table);
            for entry in table.values().filter(|entry| entry.is_needed()) {
                marker.mark(entry.value);
            }
        }
    }
}

/// Registers the table with the GC. Called once, from Init.
pub(crate) fn init(ruby: &Ruby, native: RModule) -> Result<(), Error> {
    define::<HandleTable>(ruby, native, "HandleTable")?;
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

/// Removes the entries whose handles were dropped.
fn sweep(table: &mut HashMap<u64, Entry>) {
    let freed = std::mem::take(&mut *FREED.get_or_make(Mutex::default).lock());
    for id in freed {
        table.remove(&id);
    }
}

impl GcHandle {
    /// Keeps `value` alive.
    pub(crate) fn new(value: impl ReprValue) -> Self {
        add(value, None)
    }

    /// The object.
    pub(crate) fn get(&self, ruby: &Ruby) -> Option<Value> {
        let table = TABLE.get()?.lock();
        table.get(&self.0.0).map(|entry| ruby.get_inner(entry.value))
    }
}

/// Keeps a Ruby object alive while its owner has work. The owner is a Ruby object that marks the object itself.
#[derive(Clone)]
pub(crate) struct WorkHandle {
    handle: GcHandle,
    work: Arc<OwnerWork>,
}

impl WorkHandle {
    /// Keeps `value` alive, unconditionally until [`WorkHandle::keep_alive_while`] is called.
    pub(crate) fn new(value: impl ReprValue) -> Self {
        let work = Arc::<OwnerWork>::default();
        let handle = add(value, Some(Arc::clone(&work)));
        Self { handle, work }
    }

    /// From now on keeps the object alive only while `is_running` returns true or a [`UseGuard`] exists. The owner must
    /// not start work once it is garbage, and must call [`WorkHandle::release`] when it is freed. `is_running` is
    /// called during garbage collection: it must not wait for anything that a Ruby thread does.
    pub(crate) fn keep_alive_while(&self, is_running: impl Fn() -> bool + Send + Sync + 'static) {
        // Set only once.
        let _set_before = self.work.is_running.set(Box::new(is_running));
    }

    /// Keeps the object alive until the guard is dropped. Call it only while work is running.
    pub(crate) fn use_guard(&self) -> UseGuard {
        self.work.users.fetch_add(1, Ordering::SeqCst);
        UseGuard(self.clone())
    }

    /// To be called when the owner is freed. Unless there is work, the object is freed too.
    pub(crate) fn release(&self) {
        if let Some(table) = TABLE.get()
            && !self.work.is_needed()
        {
            table.lock().remove(&self.handle.0.0);
        }
    }
}

/// Keeps the object of a [`WorkHandle`] alive while it is used.
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
