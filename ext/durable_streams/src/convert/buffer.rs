//! A String that is put together from pieces, of which there may be hundreds of megabytes.

use std::ffi::c_long;
use std::ops::Range;

use magnus::rb_sys::{AsRawValue, protect};
use magnus::{Error, RString, Ruby};

/// From this size on (bytes) memory is had in one go, where it is known how much is to come.
const LARGE: usize = 8 * 1024 * 1024;
/// The most (bytes) that is had in one go because a server says that so much is to come.
const MOST: usize = 1024 * 1024 * 1024;

/// A binary String in the making. It lives on the stack of the thread that makes it, where the GC finds it.
pub(crate) struct Buffer {
    string: RString,
    /// Its memory that was not written to, as far as it is known: from and to which position in the content.
    untouched: Range<usize>,
}

impl Buffer {
    /// An empty one.
    pub(crate) fn new(ruby: &Ruby) -> Buffer {
        Buffer {
            string: ruby.str_buf_new(0),
            untouched: 0..0,
        }
    }

    /// So many bytes more are to come, it is said. Without this the String grows by doubling; with it there is one stretch of
    /// memory of the right size.
    ///
    /// # Errors
    /// Ruby's `NoMemoryError`.
    pub(crate) fn expect(&mut self, bytes: usize) -> Result<(), Error> {
        if bytes < LARGE {
            return Ok(());
        }
        let more = bytes.min(MOST);
        protect(|| {
            // SAFETY: on a Ruby thread with the GVL, as `new` was given a `&Ruby`. What it raises is stopped by `protect`,
            // and crosses this closure alone, which owns nothing. MOST fits into a long.
            unsafe { rb_sys::rb_str_modify_expand(self.string.as_raw(), more as c_long) };
            rb_sys::Qnil.into()
        })?;
        self.untouched = self.string.len()..self.string.len() + more;
        Ok(())
    }

    /// Has the system provide the memory up to `position`, and some for what follows, at once instead of page by page as
    /// each is first written to: those 65,000 interruptions are a quarter of what it costs to take in 256 MB.
    #[cfg(target_os = "linux")]
    fn touch(&mut self, position: usize) {
        const PAGE: usize = 4096;
        // Not more, so that it is still in the processor's cache when it is written to.
        const STEP: usize = 512 * 1024;
        let to = position.max(self.untouched.start + STEP).min(self.untouched.end);
        // SAFETY: the address of the content, read with the GVL; nothing of it is looked at.
        let content = unsafe { self.string.as_slice() }.as_ptr() as usize;
        let begin = (content + self.untouched.start) / PAGE * PAGE;
        let end = (content + to).next_multiple_of(PAGE);
        // SAFETY: the pages that memory of the String's own lies in, as `expect` has made it that long. This changes no
        // content. Systems that know no such request, or have pages of another size, refuse it; then pages come one by one.
        let refused =
            unsafe { libc::madvise(begin as *mut std::ffi::c_void, end - begin, libc::MADV_POPULATE_WRITE) } != 0;
        self.untouched.start = if refused { self.untouched.end } else { to };
    }

    #[cfg(not(target_os = "linux"))]
    fn touch(&mut self, _position: usize) {
        self.untouched = 0..0;
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// Ruby's `NoMemoryError`.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let position = self.string.len() + bytes.len();
        if !self.untouched.is_empty() && position > self.untouched.start {
            self.touch(position);
        }
        // More than a long counts does not fit into memory where long has 64 bits; on Windows Ruby refuses a negative length.
        let len = c_long::try_from(bytes.len()).unwrap_or(-1);
        protect(|| {
            // SAFETY: on a Ruby thread with the GVL; `bytes` is Rust's memory, which the GC does not touch. What it raises
            // is stopped by `protect`, and crosses this closure alone, which owns nothing.
            unsafe { rb_sys::rb_str_cat(self.string.as_raw(), bytes.as_ptr().cast(), len) }
        })
        .map(|_| ())
    }

    /// The String.
    pub(crate) fn finish(self) -> RString {
        self.string
    }
}
