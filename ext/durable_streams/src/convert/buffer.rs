//! A String that is built from pieces, up to hundreds of megabytes.

use std::ffi::c_long;
use std::ops::Range;

use magnus::rb_sys::{AsRawValue, protect};
use magnus::{Error, RString, Ruby};

/// From this expected size on (bytes), memory is reserved at once.
const LARGE: usize = 8 * 1024 * 1024;
/// The most (bytes) that is reserved because a server announced that size.
const MOST: usize = 1024 * 1024 * 1024;

/// A binary String in the making. It lives on the stack of the thread that builds it, where the GC finds it.
pub(crate) struct Buffer {
    string: RString,
    /// The reserved memory that was not written to yet, as far as known: a range of positions in the content.
    untouched: Range<usize>,
}

impl Buffer {
    /// An empty buffer.
    pub(crate) fn new(ruby: &Ruby) -> Self {
        Self {
            string: ruby.str_buf_new(0),
            untouched: 0..0,
        }
    }

    /// So many more bytes are announced. Without this the String grows by doubling; with it, its memory has the right
    /// size at once.
    ///
    /// # Errors
    /// Ruby's `NoMemoryError`.
    pub(crate) fn expect(&mut self, bytes: usize) -> Result<(), Error> {
        if bytes < LARGE {
            return Ok(());
        }
        let more = bytes.min(MOST);
        protect(|| {
            // SAFETY: on a Ruby thread with the GVL, as `new` was given a `&Ruby`. `protect` catches what it raises,
            // which crosses this closure alone, and that owns nothing. MOST fits into a long.
            unsafe { rb_sys::rb_str_modify_expand(self.string.as_raw(), more as c_long) };
            rb_sys::Qnil.into()
        })?;
        self.untouched = self.string.len()..self.string.len() + more;
        Ok(())
    }

    /// Makes the system provide the memory up to `position`, and some beyond, at once instead of page by page at the
    /// first write. Those 65,000 page faults are a quarter of the time to receive 256 MB.
    #[cfg(target_os = "linux")]
    fn touch(&mut self, position: usize) {
        const PAGE: usize = 4096;
        // Small enough to be still in the processor's cache when it is written to.
        const STEP: usize = 512 * 1024;
        let to = position.max(self.untouched.start + STEP).min(self.untouched.end);
        // SAFETY: takes the address of the content, with the GVL; does not read the content.
        let content = unsafe { self.string.as_slice() }.as_ptr() as usize;
        let begin = (content + self.untouched.start) / PAGE * PAGE;
        let end = (content + to).next_multiple_of(PAGE);
        // SAFETY: the pages contain memory that the String owns, since `expect` made it that long. This changes no
        // content. Systems without this request, or with another page size, refuse it; then pages come one by one.
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
        // More than a long counts does not fit into memory where long has 64 bits; on Windows Ruby refuses a negative
        // length.
        let len = c_long::try_from(bytes.len()).unwrap_or(-1);
        protect(|| {
            // SAFETY: on a Ruby thread with the GVL; `bytes` is Rust's memory, which the GC does not touch. `protect`
            // catches what it raises, which crosses this closure alone, and that owns nothing.
            unsafe { rb_sys::rb_str_cat(self.string.as_raw(), bytes.as_ptr().cast(), len) }
        })
        .map(|_| ())
    }

    /// The String.
    pub(crate) fn finish(self) -> RString {
        self.string
    }
}
