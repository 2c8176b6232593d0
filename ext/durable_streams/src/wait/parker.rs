//! What a thread sleeps on: an awaited event or an interrupt wakes it.
//!
//! A word to sleep on (a futex), and nothing else: no lock, so that Ruby may wake the thread in a signal handler and a forked
//! child inherits nothing that is held. Where Ruby may not do that, versions before 3.3 start a Ruby thread for every
//! single wait of a program that has only one, and join it, which is slow and raises.

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

/// Wakes one sleeper at a time. It is bound to no thread, since a Ruby thread may move between native ones.
#[derive(Default)]
pub(super) struct Parker {
    reasons: AtomicU32,
    /// Rung by interrupts, once there is one.
    #[cfg(unix)]
    notifier: OnceLock<Notifier>,
    /// The signal that was made before it.
    older: AtomicPtr<Parker>,
}

/// All signals, the newest first. They are used again and never freed, as many as threads ever waited at a time: a signal
/// handler may call for one that another thread is just done with.
static ALL: AtomicPtr<Parker> = AtomicPtr::new(std::ptr::null_mut());
/// Those that nobody sleeps on. A forked child has its own: another Ractor may hold the lock at the moment of a fork.
static UNUSED: ProcessLocal<Mutex<Vec<Arc<Parker>>>> = ProcessLocal::new();

/// A signal in use.
pub(super) struct PooledParker {
    parker: Arc<Parker>,
    generation: u64,
}

impl PooledParker {
    /// What wakes the sleeper. It may be kept for too long: a sleep that ends for nothing begins again.
    pub(super) fn parker(&self) -> &Arc<Parker> {
        &self.parker
    }

    fn new(parker: Arc<Parker>) -> PooledParker {
        PooledParker {
            parker,
            generation: generation(),
        }
    }
}

impl Drop for PooledParker {
    fn drop(&mut self) {
        // A forked child leaves alone what its parent may be using.
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
    /// One that nobody else sleeps on.
    pub(super) fn acquire() -> PooledParker {
        let unused = UNUSED.get_or_make(Mutex::default).lock().pop();
        if let Some(unused) = unused {
            unused.reasons.store(0, Ordering::Release);
            return PooledParker::new(unused);
        }
        let made = Arc::new(Parker::default());
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

    /// The signal at this address, if there is one.
    pub(super) fn find(address: *const Parker) -> Option<&'static Parker> {
        let mut next = ALL.load(Ordering::Acquire);
        while !next.is_null() {
            // SAFETY: signals in the list are never freed. Any thread, and signal handlers; nothing of Ruby.
            let parker = unsafe { &*next };
            if std::ptr::eq(parker, address) {
                return Some(parker);
            }
            next = parker.older.load(Ordering::Acquire);
        }
        None
    }

    /// Sleeps until there is a reason to wake, which it takes, or until `interrupted` says so: it is asked before the
    /// thread sleeps, and as often as `period` says, if there is one.
    pub(super) fn sleep(&self, period: Option<Duration>, interrupted: impl Fn() -> bool) -> WakeReason {
        loop {
            let reasons = self.reasons.swap(0, Ordering::AcqRel);
            if reasons & WOKEN != 0 {
                // The other reason is for the next sleep.
                self.reasons.fetch_or(reasons & INTERRUPTED, Ordering::AcqRel);
                return WakeReason::Woken;
            }
            if reasons & INTERRUPTED != 0 || interrupted() {
                return WakeReason::Interrupted;
            }
            sleep_on(&self.reasons, period);
        }
    }

    /// Looks so many times whether there is a reason to wake, and lets others have the processor in between.
    pub(super) fn spin(&self, times: u32) {
        for _ in 0..times {
            if self.reasons.load(Ordering::Acquire) != 0 {
                return;
            }
            std::thread::yield_now();
        }
    }

    /// What becomes readable when there may be an interrupt, for who cannot sleep on the signal itself.
    ///
    /// # Errors
    /// What the system says, such as that there are too many open files.
    #[cfg(unix)]
    pub(super) fn notifier(self: &Arc<Self>) -> io::Result<BorrowedFd<'static>> {
        let notifier = match self.notifier.get() {
            Some(notifier) => notifier,
            None => {
                let made = Notifier::new()?;
                self.notifier.get_or_init(|| made)
            }
        };
        // SAFETY: the descriptor is open, and stays so: signals that were pooled are never freed, nor are their notifiers replaced.
        Ok(unsafe { BorrowedFd::borrow_raw(notifier.descriptor()) })
    }

    /// Whether there was an interrupt since the last call.
    #[cfg(unix)]
    pub(super) fn take_interrupt(&self) -> bool {
        let interrupted = self.reasons.fetch_and(!INTERRUPTED, Ordering::AcqRel) & INTERRUPTED != 0;
        if interrupted && let Some(notifier) = self.notifier.get() {
            notifier.clear();
        }
        interrupted
    }

    /// Ends a sleep so that interrupts can be looked at. Safe in signal handlers.
    pub(super) fn interrupt(&self) {
        self.wake_for(INTERRUPTED);
        #[cfg(unix)]
        if let Some(notifier) = self.notifier.get() {
            notifier.notify();
        }
    }

    fn wake_for(&self, reason: u32) {
        self.reasons.fetch_or(reason, Ordering::AcqRel);
        atomic_wait::wake_one(&self.reasons);
    }
}

/// Sleeps while `reasons` is 0, for `most` at most. It may end for nothing, as it does when a signal handler has run on this
/// thread.
#[cfg(target_os = "linux")]
fn sleep_on(reasons: &AtomicU32, limit: Option<Duration>) {
    let Some(limit) = limit else {
        return atomic_wait::wait(reasons, 0);
    };
    // The system call takes two of the kernel's long integers, whatever size the C library's time has.
    let limit = [
        c_long::try_from(limit.as_secs()).unwrap_or(c_long::MAX),
        limit.subsec_nanos() as c_long,
    ];
    // SAFETY: the word and the time are there until the call returns. Any thread; nothing of Ruby.
    unsafe {
        let wait = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
        libc::syscall(libc::SYS_futex, reasons.as_ptr(), wait, 0_u32, limit.as_ptr());
    }
}

/// As on Linux, but with no bound, since there is no such call: a signal handler that runs on this thread ends it.
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
    fn keeps_both_an_interrupt_and_a_wake_up() {
        let parker = Arc::new(Parker::default());
        parker.interrupt();
        parker.wake_by_ref();
        assert!(matches!(parker.sleep(None, || false), WakeReason::Woken));
        assert!(matches!(parker.sleep(None, || false), WakeReason::Interrupted));
    }

    #[test]
    fn an_interrupt_that_nobody_announces_is_found_before_the_sleep() {
        assert!(matches!(
            Parker::default().sleep(None, || true),
            WakeReason::Interrupted
        ));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_interrupt_that_nobody_announces_is_found_in_the_sleep() {
        let looks = std::cell::Cell::new(0);
        let third_time = || looks.replace(looks.get() + 1) == 2;
        let period = Some(Duration::from_millis(1));
        assert!(matches!(
            Parker::default().sleep(period, third_time),
            WakeReason::Interrupted
        ));
    }

    #[test]
    fn a_signal_is_known_by_its_address_and_used_again() {
        let pooled = Parker::acquire();
        let address = Arc::as_ptr(pooled.parker());
        assert!(Parker::find(address).is_some());
        assert!(Parker::find(std::ptr::null()).is_none());
        drop(pooled);
        assert!(Parker::find(address).is_some());
        assert_eq!(Arc::as_ptr(Parker::acquire().parker()), address);
    }

    #[test]
    fn wakes_a_sleeper_every_time() {
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
