//! Waiting in a non-blocking fiber: the fiber parks with the thread's Fiber scheduler, and the thread's other fibers
//! run.
//!
//! The scheduler waits for a [`Notifier`] through its `io_wait`, which every scheduler has. Native threads notify it
//! directly, without another Ruby thread. An exception raised into the fiber (it is cancelled, or the scheduler closes)
//! comes out of the wait like any other.

use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::sync::Arc;
use std::task::Waker;

use durable_streams_client::fork::generation;
use magnus::rb_sys::{AsRawValue, FromRawValue, protect};
use magnus::typed_data::Obj;
use magnus::value::{Opaque, ReprValue};
use magnus::{DataTypeFunctions, Error, RModule, Ruby, TryConvert, TypedData, Value, gc};
use rb_sys::VALUE;

use super::notifier::Notifier;
use super::outcome::PolledFuture;
use crate::class::define;
use crate::errors;
use crate::fiber_guard::FiberGuard;

/// How many unused notifiers a thread stores. More are needed only if more fibers are woken at the same time.
const MAX_POOLED: usize = 256;
/// The thread variable that holds a thread's unused notifiers.
const VARIABLE: &str = "__durable_streams_notifiers";

/// A Fiber scheduler. It lives on the stack of the waiting fiber, where the GC finds it.
#[derive(Clone, Copy)]
pub(super) struct Scheduler(VALUE);

/// The scheduler that the calling fiber waits through; `None` for a blocking fiber.
pub(super) fn current() -> Option<Scheduler> {
    // SAFETY: on a Ruby thread with the GVL. Neither allocates nor raises.
    let scheduler = unsafe { rb_sys::rb_fiber_scheduler_current() };
    (scheduler != rb_sys::Qnil as VALUE).then_some(Scheduler(scheduler))
}

/// See [`super::wait`].
pub(super) fn wait<F>(ruby: &Ruby, scheduler: Scheduler, polled: PolledFuture<F>) -> Result<F::Output, Error>
where
    F: Future<Output: Send> + Send + 'static,
{
    let mut polled = Box::new(polled);
    // A future that is ready already needs no notifier.
    if !polled.poll(Waker::noop()) {
        let work: Box<dyn Any + Send> = wait_for(ruby, scheduler, polled)?;
        let returned = work.downcast::<PolledFuture<F>>();
        polled = returned.map_err(|_| errors::internal(ruby, "a wait returned another's work"))?;
    }
    polled.result(ruby)
}

/// What a fiber waits for.
trait Work: Any + Send {
    /// Returns true once it has ended.
    fn poll(&mut self, waker: &Waker) -> bool;
}

impl<F: Future<Output: Send> + Send + 'static> Work for PolledFuture<F> {
    fn poll(&mut self, waker: &Waker) -> bool {
        Self::poll(self, waker)
    }
}

/// Waits until `work` has ended, and returns it. Takes a trait object, so that it is compiled once instead of for every
/// future.
fn wait_for(ruby: &Ruby, scheduler: Scheduler, work: Box<dyn Work>) -> Result<Box<dyn Work>, Error> {
    let pool = NotifierPool::of_this_thread(ruby)?;
    let PooledNotifier { notifier, io } = pool.take(ruby)?;
    // While the fiber is parked, its stack owns nothing: the GC may free it without running destructors.
    let guard = FiberGuard::new(ruby, (work, notifier));
    let waited = loop {
        let ended = guard.with(ruby, |(work, notifier)| {
            notifier.clear();
            work.poll(&Waker::from(Arc::clone(notifier)))
        });
        if ended? {
            break Ok(());
        }
        if let Err(raised) = park(scheduler, ruby.get_inner(io)) {
            break Err(raised);
        }
    };
    let (work, notifier) = guard.take(ruby)?;
    pool.put_back(PooledNotifier { notifier, io });
    waited.map(|()| work)
}

/// Lets other fibers run until `io` is readable. It may return early. The error is what was raised into the fiber.
fn park(scheduler: Scheduler, io: Value) -> Result<(), Error> {
    let io = io.as_raw();
    protect(|| {
        // SAFETY: on a Ruby thread with the GVL. The fiber's stack refers to both objects. Other fibers run, and
        // exceptions are raised, inside `protect`; the closure owns nothing.
        unsafe { rb_sys::rb_fiber_scheduler_io_wait_readable(scheduler.0, io) }
    })
    .map(|_| ())
}

/// A notifier, and the IO object that schedulers wait for.
struct PooledNotifier {
    notifier: Arc<Notifier>,
    io: Opaque<Value>,
}

/// A thread's unused notifiers. They belong to one thread and so to one Ractor, since two Ractors must not share an IO.
#[derive(TypedData)]
#[magnus(class = "DurableStreams::Native::NotifierPool", free_immediately, mark, size)]
struct NotifierPool {
    generation: u64,
    unused: RefCell<Vec<PooledNotifier>>,
}

// SAFETY: the cell is used by the one thread whose variable this is, with the GVL, and by the GC while that thread is
// stopped. It is not borrowed then, since no Ruby object is allocated during a borrow.
unsafe impl Send for NotifierPool {}

impl DataTypeFunctions for NotifierPool {
    fn mark(&self, marker: &gc::Marker) {
        if let Ok(unused) = self.unused.try_borrow() {
            for pooled in unused.iter() {
                marker.mark(pooled.io);
            }
        }
    }
}

impl NotifierPool {
    /// The calling thread's pool. A forked child makes its own: it shares descriptors with its parent and would clear
    /// them.
    fn of_this_thread(ruby: &Ruby) -> Result<Obj<Self>, Error> {
        let thread = ruby.thread_current();
        let found: Value = thread.funcall("thread_variable_get", (VARIABLE,))?;
        if let Ok(pool) = Obj::<Self>::try_convert(found)
            && pool.generation == generation()
        {
            return Ok(pool);
        }
        let pool = ruby.obj_wrap(Self {
            generation: generation(),
            unused: RefCell::default(),
        });
        thread.funcall::<_, _, Value>("thread_variable_set", (VARIABLE, pool))?;
        Ok(pool)
    }

    fn take(&self, ruby: &Ruby) -> Result<PooledNotifier, Error> {
        if let Some(pooled) = self.unused.borrow_mut().pop() {
            return Ok(pooled);
        }
        let notifier = Notifier::new()
            .map_err(|reason| errors::simple(ruby, "ConnectionError", &format!("cannot wait in a fiber: {reason}")))?;
        let io = io_of(&notifier)?;
        Ok(PooledNotifier {
            notifier: Arc::new(notifier),
            io: io.into(),
        })
    }

    fn put_back(&self, pooled: PooledNotifier) {
        let mut unused = self.unused.borrow_mut();
        if unused.len() < MAX_POOLED {
            unused.push(pooled);
        }
    }
}

/// An IO for the notifier's descriptor, which the notifier owns.
fn io_of(notifier: &Notifier) -> Result<Value, Error> {
    let io = protect(|| {
        // SAFETY: on a Ruby thread with the GVL; the descriptor is open. It may raise, inside `protect`, out of a
        // closure that owns nothing.
        unsafe { rb_sys::rb_io_fdopen(notifier.descriptor(), libc::O_RDONLY, std::ptr::null()) }
    })?;
    // SAFETY: a live object, in this frame since `protect` returned it.
    let io = unsafe { Value::from_raw(io) };
    io.funcall::<_, _, Value>("autoclose=", (false,))?;
    Ok(io)
}

/// Defines the class.
pub(super) fn init(ruby: &Ruby, native: RModule) -> Result<(), Error> {
    define::<NotifierPool>(ruby, native, "NotifierPool")?;
    Ok(())
}
