//! A stack for the values of unfinished arrays and objects, where the GC finds them.

use std::ffi::c_long;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

use rb_sys::VALUE;

/// How many values fit without an allocation.
pub(super) const INLINE: usize = 256;

/// Space for the first values. It must be a local variable of the converting function: the GC scans the machine stack.
pub(super) type Room = [MaybeUninit<VALUE>; INLINE];

/// A stack of Ruby objects.
///
/// The objects are in a [`Room`], or, if there are more, in a buffer that Ruby provides for this purpose
/// (`rb_alloc_tmp_buffer`, which C's ALLOCV uses). The GC marks the words of both conservatively: it neither frees nor
/// moves the objects in them. The buffer's `VALUE` (`buffer`) is on the machine stack with this struct.
pub(super) struct ValueStack<'room> {
    base: *mut VALUE,
    len: usize,
    capacity: usize,
    buffer: VALUE,
    room: PhantomData<&'room mut Room>,
}

impl<'room> ValueStack<'room> {
    pub(super) fn new(room: &'room mut Room) -> Self {
        ValueStack {
            base: room.as_mut_ptr().cast(),
            len: 0,
            capacity: room.len(),
            buffer: 0,
            room: PhantomData,
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn push(&mut self, value: VALUE) {
        if self.len == self.capacity {
            self.grow(value);
        }
        // SAFETY: `len < capacity` words belong to this stack. A plain store; does not call Ruby.
        unsafe { self.base.add(self.len).write(value) };
        self.len += 1;
    }

    /// The values from index `from` on, and their number. Valid until the next `push`.
    #[inline]
    pub(super) fn since(&self, from: usize) -> (*const VALUE, c_long) {
        debug_assert!(from <= self.len);
        let from = from.min(self.len);
        // SAFETY: `from` is at most `len`, all of which belongs to this stack.
        let start = unsafe { self.base.add(from) };
        // Where long has 64 bits, more values than it counts would not fit into memory. On Windows, where it has 32,
        // JSON text of that size does not come in one block.
        (start, (self.len - from) as c_long)
    }

    /// Removes the values from index `len` on.
    #[inline]
    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Frees a buffer early. Without this call, after an exception, the GC frees it.
    pub(super) fn release(&mut self) {
        if self.buffer == 0 {
            return;
        }
        self.base = std::ptr::null_mut();
        (self.len, self.capacity) = (0, 0);
        // SAFETY: with the GVL, on a Ruby thread; `buffer` came from rb_alloc_tmp_buffer and nothing refers into it any
        // more.
        unsafe { rb_sys::rb_free_tmp_buffer(&raw mut self.buffer) };
    }

    /// Moves the values to a buffer of twice the size. `coming` is the value that is pushed next.
    #[cold]
    #[inline(never)]
    fn grow(&mut self, coming: VALUE) {
        let capacity = self.capacity * 2;
        let mut buffer: VALUE = 0;
        // SAFETY: with the GVL, on a Ruby thread, inside the conversion's rb_protect. May run the GC: the values are
        // still in their old place, which the GC marks through `self`; the black_box below keeps `coming` on the
        // machine stack. May raise NoMemoryError, which jumps over frames without destructors; this stack is not used
        // after that.
        unsafe {
            let bytes = capacity * size_of::<VALUE>();
            let base: *mut VALUE =
                rb_sys::rb_alloc_tmp_buffer_with_count(&raw mut buffer, bytes as _, capacity as _).cast();
            std::ptr::copy_nonoverlapping(self.base, base, self.len);
            if self.buffer != 0 {
                rb_sys::rb_free_tmp_buffer(&raw mut self.buffer);
            }
            self.base = base;
        }
        self.buffer = buffer;
        self.capacity = capacity;
        std::hint::black_box(&coming);
    }
}
