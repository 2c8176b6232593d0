//! A descriptor that native threads make readable: what a Fiber scheduler can wait for, and a waker can notify.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::task::Wake;

/// A notifier. Whoever may still notify it keeps its descriptors open, so that none is rung under a number used again.
pub(super) struct Notifier {
    read_end: File,
    /// The other end, where the system needs two: a pipe's.
    #[cfg(not(target_os = "linux"))]
    write_end: File,
}

impl Notifier {
    /// A notifier that is silent.
    ///
    /// # Errors
    /// What the system says, such as that there are too many open files.
    #[cfg(target_os = "linux")]
    pub(super) fn new() -> io::Result<Notifier> {
        // SAFETY: makes a descriptor; any thread, and nothing of Ruby.
        let read_end = owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        Ok(Notifier {
            read_end: read_end.into(),
        })
    }

    #[cfg(not(target_os = "linux"))]
    #[doc = "As on Linux."]
    pub(super) fn new() -> io::Result<Notifier> {
        let (read_end, write_end) = io::pipe()?;
        let (read_end, write_end) = (OwnedFd::from(read_end), OwnedFd::from(write_end));
        for end in [&read_end, &write_end] {
            // SAFETY: changes flags of descriptors that this function owns; any thread, and nothing of Ruby.
            let changed = unsafe { libc::fcntl(end.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
            if changed < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(Notifier {
            read_end: read_end.into(),
            write_end: write_end.into(),
        })
    }

    /// What becomes readable.
    pub(super) fn descriptor(&self) -> RawFd {
        self.read_end.as_raw_fd()
    }

    /// Makes it unreadable until it is rung again.
    pub(super) fn clear(&self) {
        // One read takes all that an eventfd or a pipe of single bytes can hold. Nothing to read is fine as well.
        let _silent = (&self.read_end).read(&mut [0; 4096]);
    }

    pub(super) fn notify(&self) {
        #[cfg(target_os = "linux")]
        let (mut write_end, count) = (&self.read_end, 1_u64.to_ne_bytes());
        #[cfg(not(target_os = "linux"))]
        let (mut write_end, count) = (&self.write_end, [1_u8]);
        // It cannot fail but for being full, and then it is ringing.
        let _full = write_end.write(&count);
    }
}

#[cfg(target_os = "linux")]
fn owned(descriptor: RawFd) -> io::Result<OwnedFd> {
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that was made just now and that nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

impl Wake for Notifier {
    fn wake(self: Arc<Self>) {
        self.notify();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.notify();
    }
}
