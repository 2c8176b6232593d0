//! The values of the containers that are being read, where the GC sees them.

use std::ffi::c_long;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

use rb_sys::VALUE;

/// How many values fit without an allocation.
pub(super) const INLINE: usize = 256;

/// Room for the first values. To be a local variable of the function that converts: the GC looks for references on the
/// machine stack.
pub(super) type Room = [MaybeUninit<VALUE>; INLINE];

/// A stack of Ruby objects.
///
/// The objects lie in a [`Room`], or, when there are more, in a buffer that Ruby hands out for this purpose
/// (`rb_alloc_tmp_buffer`, what C's ALLOCV is made of). The GC marks the words of both conservatively: what lies in them
/// is neither freed nor moved. Its `VALUE` (`buffer`) lives on the machine stack with this struct.
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
        // SAFETY: `len < capacity` words belong to this stack. A plain store; no Ruby call.
        unsafe { self.base.add(self.len).write(value) };
        self.len += 1;
    }

    /// The values from the `from`th on, and how many they are. Valid until the next `push`.
    #[inline]
    pub(super) fn since(&self, from: usize) -> (*const VALUE, c_long) {
        debug_assert!(from <= self.len);
        let from = from.min(self.len);
        // SAFETY: `from` is at most `len`, all of which belongs to this stack.
        let start = unsafe { self.base.add(from) };
        // More values than a long counts would not fit into memory (8 bytes each) where long has 64 bits; on Windows,
        // where it has 32, JSON text of that size does not come in one block.
        (start, (self.len - from) as c_long)
    }

    /// Forgets all values from the `len`th on.
    #[inline]
    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Gives a buffer back early. Without this call (an exception) the GC does it.
    pub(super) fn release(&mut self) {
        if self.buffer == 0 {
            return;
        }
        self.base = std::ptr::null_mut();
        (self.len, self.capacity) = (0, 0);
        // SAFETY: GVL held, on a Ruby thread; `buffer` came from rb_alloc_tmp_buffer and nothing refers into it any more.
        unsafe { rb_sys::rb_free_tmp_buffer(&mut self.buffer) };
    }

    /// Moves to a buffer of twice the size. `coming` is the value that is about to be pushed.
    #[cold]
    #[inline(never)]
    fn grow(&mut self, coming: VALUE) {
        let capacity = self.capacity * 2;
        let mut buffer: VALUE = 0;
        // SAFETY: GVL held, on a Ruby thread, inside the conversion's rb_protect. May run the GC: what is on this stack is
        // still in its old place, which `self` keeps marked; `coming` is kept on the machine stack by the black_box below.
        // May raise NoMemoryError, which jumps over frames without destructors; this stack is not used after that.
        unsafe {
            let bytes = capacity * size_of::<VALUE>();
            let base: *mut VALUE =
                rb_sys::rb_alloc_tmp_buffer_with_count(&mut buffer, bytes as _, capacity as _).cast();
            std::ptr::copy_nonoverlapping(self.base, base, self.len);
            if self.buffer != 0 {
                rb_sys::rb_free_tmp_buffer(&mut self.buffer);
            }
            self.base = base;
        }
        self.buffer = buffer;
        self.capacity = capacity;
        std::hint::black_box(&coming);
    }
}
