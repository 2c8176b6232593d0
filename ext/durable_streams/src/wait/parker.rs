//! What a thread sleeps on, and what wakes it: an awaited event or an interrupt.
//!
//! A [`Parker`] is a futex word without a lock, so that Ruby may wake the thread in a signal handler, and a forked
//! child inherits no locked lock. If Ruby may not do that, versions before 3.3 start a Ruby thread for every single
//! wait of a program that has only one thread, and join it, which is slow and raises.

#[cfg(target_os = "linux")]
use std::ffi::c_long;
use std::sync::Arc;
#[cfg(unix)]
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::task::Wake;
use std::time::Duration;
#[cfg(unix)]
use std::{io, os::fd::BorrowedFd};

use durable_streams_client::fork::{ProcessLocal, generation};
use durable_streams_client::lock::Mutex;

#[cfg(unix)]
use super::notifier::Notifier;

/// The awaited event may have happened.
const WOKEN: u32 = 1;
/// Ruby wants the thread back.
const INTERRUPTED: u32 = 2;

/// Wakes one sleeping thread at a time. It is not bound to a thread, since a Ruby thread may move between native ones.
#[derive(Default)]
pub(super) struct Parker {
    reasons: AtomicU32,
    /// Notified by interrupts, once the thread needs it.
    #[cfg(unix)]
    notifier: OnceLock<Arc<Notifier>>,
    /// The parker that was made before this one.
    older: AtomicPtr<Self>,
}

/// All parkers, the newest first. They are reused and never freed, because a signal handler may use the parker of a
/// thread that has just finished its wait. There are as many as threads ever waited at the same time.
static ALL: AtomicPtr<Parker> = AtomicPtr::new(std::ptr::null_mut());
/// Parkers that no thread uses. Each process has its own: at a fork another Ractor may have locked it.
static UNUSED: ProcessLocal<Mutex<Vec<Arc<Parker>>>> = ProcessLocal::new();
/// What notifies all threads of a process, which saves a descriptor for each of them. An interrupt, which is rare, then
/// wakes all threads that run inline jobs, and each checks whether it is meant. A pipe cannot be shared: it would fill
/// up unless a thread empties it, and that would hide the notification from the others.
#[cfg(target_os = "linux")]
static SHARED_NOTIFIER: ProcessLocal<Notifier> = ProcessLocal::new();

/// A parker that one thread uses. Dropping it makes the parker available again.
pub(super) struct PooledParker {
    parker: Arc<Parker>,
    generation: u64,
}

impl PooledParker {
    /// The parker. A late wake-up through it is harmless: a thread that was woken for nothing sleeps again.
    pub(super) fn parker(&self) -> &Arc<Parker> {
        &self.parker
    }

    fn new(parker: Arc<Parker>) -> Self {
        Self {
            parker,
            generation: generation(),
        }
    }
}

impl Drop for PooledParker {
    fn drop(&mut self) {
        // The child of a fork must not reuse a parker that its parent's thread may be using.
        if self.generation == generation() {
            UNUSED.get_or_make(Mutex::default).lock().push(Arc::clone(&self.parker));
        }
    }
}

/// Why a sleep ended.
pub(super) enum WakeReason {
    Woken,
    Interrupted,
}

impl Parker {
    /// A parker that no other thread uses.
    pub(super) fn acquire() -> PooledParker {
        let unused = UNUSED.get_or_make(Mutex::default).lock().pop();
        if let Some(unused) = unused {
            unused.reasons.store(0, Ordering::Release);
            return PooledParker::new(unused);
        }
        let made = Arc::new(Self::default());
        let known = Arc::into_raw(Arc::clone(&made)).cast_mut();
        let mut newest = ALL.load(Ordering::Acquire);
        loop {
            made.older.store(newest, Ordering::Release);
            match ALL.compare_exchange(newest, known, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return PooledParker::new(made),
                Err(newer) => newest = newer,
            }
        }
    }

    /// The parker at this address, if there is one.
    pub(super) fn find(address: *const Self) -> Option<&'static Self> {
        let mut next = ALL.load(Ordering::Acquire);
        while !next.is_null() {
            // SAFETY: parkers in the list are never freed. Allowed on any thread and in signal handlers; does not touch
            // Ruby.
            let parker = unsafe { &*next };
            if std::ptr::eq(parker, address) {
                return Some(parker);
            }
            next = parker.older.load(Ordering::Acquire);
        }
        None
    }

    /// Sleeps until there is a reason to wake, and consumes that reason; or until `interrupted` returns true, which is
    /// called before each sleep, and every `period` if there is one.
    pub(super) fn sleep(&self, period: Option<Duration>, interrupted: impl Fn() -> bool) -> WakeReason {
        loop {
            let reasons = self.reasons.swap(0, Ordering::AcqRel);
            if reasons & WOKEN != 0 {
                // An interrupt is reported by the next sleep.
                self.reasons.fetch_or(reasons & INTERRUPTED, Ordering::AcqRel);
                return WakeReason::Woken;
            }
            if reasons & INTERRUPTED != 0 || interrupted() {
                return WakeReason::Interrupted;
            }
            sleep_on(&self.reasons, period);
        }
    }

    /// Checks `times` times for a reason to wake, and yields the processor in between.
    pub(super) fn spin(&self, times: u32) {
        for _ in 0..times {
            if self.reasons.load(Ordering::Acquire) != 0 {
                return;
            }
            std::thread::yield_now();
        }
    }

    /// A descriptor for a thread that does not sleep on the parker itself. Every interrupt causes an event of it,
    /// though it may be readable already: watch it edge-triggered.
    ///
    /// # Errors
    /// The system's error, for instance too many open files.
    #[cfg(unix)]
    pub(super) fn notifier(self: &Arc<Self>) -> io::Result<BorrowedFd<'static>> {
        let notifier = match self.notifier.get() {
            Some(notifier) => notifier,
            None => {
                #[cfg(target_os = "linux")]
                let made = SHARED_NOTIFIER.get_or_try_make(Notifier::new)?;
                #[cfg(not(target_os = "linux"))]
                let made = Arc::new(Notifier::new()?);
                self.notifier.get_or_init(|| made)
            }
        };
        // SAFETY: the descriptor remains open: parkers from `acquire` are never freed, and their notifiers are never
        // replaced.
        Ok(unsafe { BorrowedFd::borrow_raw(notifier.descriptor()) })
    }

    /// Whether there was an interrupt since the last call.
    #[cfg(unix)]
    pub(super) fn take_interrupt(&self) -> bool {
        let interrupted = self.reasons.fetch_and(!INTERRUPTED, Ordering::AcqRel) & INTERRUPTED != 0;
        #[cfg(not(target_os = "linux"))]
        if interrupted && let Some(notifier) = self.notifier.get() {
            notifier.clear();
        }
        interrupted
    }

    /// Ends the sleep so that the thread checks for interrupts. Safe in signal handlers.
    pub(super) fn interrupt(&self) {
        self.wake_for(INTERRUPTED);
        #[cfg(unix)]
        if let Some(notifier) = self.notifier.get() {
            notifier.notify();
        }
    }

    fn wake_for(&self, reason: u32) {
        self.reasons.fetch_or(reason, Ordering::AcqRel);
        atomic_wait::wake_one(&raw const self.reasons);
    }
}

/// Sleeps while `reasons` is 0, for `limit` at most. It may return early, for instance after a signal handler ran on
/// this thread.
#[cfg(target_os = "linux")]
fn sleep_on(reasons: &AtomicU32, limit: Option<Duration>) {
    let Some(limit) = limit else {
        return atomic_wait::wait(reasons, 0);
    };
    // The system call takes two of the kernel's long integers, whatever size the C library's time has.
    let limit = [
        c_long::try_from(limit.as_secs()).unwrap_or(c_long::MAX),
        c_long::from(limit.subsec_nanos()),
    ];
    // SAFETY: the word and the time live until the call returns. Allowed on any thread; does not touch Ruby.
    unsafe {
        let wait = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
        libc::syscall(libc::SYS_futex, reasons.as_ptr(), wait, 0_u32, limit.as_ptr());
    }
}

/// As on Linux, but without the limit, which these systems do not offer. A signal handler on this thread ends the
/// sleep.
#[cfg(not(target_os = "linux"))]
fn sleep_on(reasons: &AtomicU32, _limit: Option<Duration>) {
    atomic_wait::wait(reasons, 0);
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_for(WOKEN);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_for(WOKEN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_an_interrupt_and_a_wake_up_one_after_another() {
        let parker = Arc::new(Parker::default());
        parker.interrupt();
        parker.wake_by_ref();
        assert!(matches!(parker.sleep(None, || false), WakeReason::Woken));
        assert!(matches!(parker.sleep(None, || false), WakeReason::Interrupted));
    }

    #[test]
    fn finds_a_polled_interrupt_before_the_sleep() {
        assert!(matches!(
            Parker::default().sleep(None, || true),
            WakeReason::Interrupted
        ));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn finds_a_polled_interrupt_during_the_sleep() {
        let looks = std::cell::Cell::new(0);
        let third_time = || looks.replace(looks.get() + 1) == 2;
        let period = Some(Duration::from_millis(1));
        assert!(matches!(
            Parker::default().sleep(period, third_time),
            WakeReason::Interrupted
        ));
    }

    #[test]
    fn finds_a_parker_by_its_address_and_reuses_it() {
        let pooled = Parker::acquire();
        let address = Arc::as_ptr(pooled.parker());
        assert!(Parker::find(address).is_some());
        assert!(Parker::find(std::ptr::null()).is_none());
        drop(pooled);
        assert!(Parker::find(address).is_some());
        assert_eq!(Arc::as_ptr(Parker::acquire().parker()), address);
    }

    #[test]
    fn wakes_a_sleeping_thread_every_time() {
        let parker = Arc::new(Parker::default());
        let (ready, is_ready) = std::sync::mpsc::sync_channel(0);
        let waking = Arc::clone(&parker);
        let waker = std::thread::spawn(move || {
            while is_ready.recv().is_ok() {
                waking.wake_by_ref();
            }
        });
        for _ in 0..10_000 {
            ready.send(()).unwrap();
            assert!(matches!(parker.sleep(None, || false), WakeReason::Woken));
        }
        drop(ready);
        waker.join().unwrap();
    }
}
