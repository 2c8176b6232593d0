//! A file descriptor that any thread can make readable: a Fiber scheduler can wait for it, and a waker can notify it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::task::Wake;

/// A notifier. It owns its descriptors: as long as somebody may notify it, their numbers cannot be reused.
pub(super) struct Notifier {
    read_end: File,
    /// The write end of the pipe. An eventfd, on Linux, needs only one descriptor.
    #[cfg(not(target_os = "linux"))]
    write_end: File,
}

impl Notifier {
    /// A notifier that was not notified.
    ///
    /// # Errors
    /// The system's error, for instance too many open files.
    #[cfg(target_os = "linux")]
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: makes a descriptor. Allowed on any thread; does not touch Ruby.
        let read_end = owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        Ok(Self {
            read_end: read_end.into(),
        })
    }

    /// As on Linux.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn new() -> io::Result<Self> {
        let (read_end, write_end) = io::pipe()?;
        let (read_end, write_end) = (OwnedFd::from(read_end), OwnedFd::from(write_end));
        for end in [&read_end, &write_end] {
            // SAFETY: changes flags of descriptors that this function owns. Allowed on any thread; does not touch Ruby.
            let changed = unsafe { libc::fcntl(end.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
            if changed < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(Self {
            read_end: read_end.into(),
            write_end: write_end.into(),
        })
    }

    /// The descriptor that becomes readable.
    pub(super) fn descriptor(&self) -> RawFd {
        self.read_end.as_raw_fd()
    }

    /// Makes the descriptor unreadable until the next `notify`.
    pub(super) fn clear(&self) {
        // One read empties an eventfd, and a pipe unless it was notified more often than that: then the fiber wakes for
        // nothing, and clears it again. It fails if there is nothing to read. (The buffer is small because it is on the
        // stack of every fiber that waits.)
        let _nothing_read = (&self.read_end).read(&mut [0; 64]);
    }

    /// Makes the descriptor readable. Safe in signal handlers.
    pub(super) fn notify(&self) {
        #[cfg(target_os = "linux")]
        let (mut write_end, count) = (&self.read_end, 1_u64.to_ne_bytes());
        #[cfg(not(target_os = "linux"))]
        let (mut write_end, count) = (&self.write_end, [1_u8]);
        // This fails only if the eventfd or pipe is full, and then the descriptor is readable already.
        let _full = write_end.write(&count);
    }
}

#[cfg(target_os = "linux")]
fn owned(descriptor: RawFd) -> io::Result<OwnedFd> {
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that was made just now; nothing else owns it.
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
