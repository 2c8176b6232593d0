//! A descriptor that native threads make readable: what a Fiber scheduler can wait for, and a waker can ring.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::task::Wake;

/// A bell. Whoever may still ring it keeps its descriptors open, so that none is rung under a number used again.
pub(super) struct Bell {
    ear: File,
    /// The other end, where the system needs two: a pipe's.
    #[cfg(not(target_os = "linux"))]
    rope: File,
}

impl Bell {
    /// A bell that is silent.
    ///
    /// # Errors
    /// What the system says, such as that there are too many open files.
    #[cfg(target_os = "linux")]
    pub(super) fn new() -> io::Result<Bell> {
        // SAFETY: makes a descriptor; any thread, and nothing of Ruby.
        let ear = owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        Ok(Bell { ear: ear.into() })
    }

    #[cfg(not(target_os = "linux"))]
    #[doc = "As on Linux."]
    pub(super) fn new() -> io::Result<Bell> {
        let (ear, rope) = io::pipe()?;
        let (ear, rope) = (OwnedFd::from(ear), OwnedFd::from(rope));
        for end in [&ear, &rope] {
            // SAFETY: changes flags of descriptors that this function owns; any thread, and nothing of Ruby.
            let changed = unsafe { libc::fcntl(end.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
            if changed < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(Bell {
            ear: ear.into(),
            rope: rope.into(),
        })
    }

    /// What becomes readable.
    pub(super) fn descriptor(&self) -> RawFd {
        self.ear.as_raw_fd()
    }

    /// Makes it unreadable until it is rung again.
    pub(super) fn silence(&self) {
        // One read takes all that an eventfd or a pipe of single bytes can hold. Nothing to read is fine as well.
        let _silent = (&self.ear).read(&mut [0; 4096]);
    }

    pub(super) fn ring(&self) {
        #[cfg(target_os = "linux")]
        let (mut rope, stroke) = (&self.ear, 1_u64.to_ne_bytes());
        #[cfg(not(target_os = "linux"))]
        let (mut rope, stroke) = (&self.rope, [1_u8]);
        // It cannot fail but for being full, and then it is ringing.
        let _full = rope.write(&stroke);
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

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}
