//! JSON strings into Ruby strings.

use std::ffi::{c_char, c_long};
use std::mem::MaybeUninit;

use durable_streams_protocol::json::scan::plain_run;
use rb_sys::{OnigEncodingTypeST, VALUE};

use super::text::mark_utf8;

/// Strings with escapes up to this size are unescaped on the machine stack, longer ones in the Ruby string itself.
const SCRATCH: usize = 1024;

/// Makes Ruby strings.
pub(super) struct Strings {
    utf8: *mut OnigEncodingTypeST,
}

impl Strings {
    pub(super) fn new() -> Self {
        // SAFETY: with the GVL, on a Ruby thread. Neither allocates nor raises.
        let utf8 = unsafe { rb_sys::rb_utf8_encoding() };
        Self { utf8 }
    }

    /// The interned, frozen UTF-8 string of these bytes, for an object's key. `None` if they are not UTF-8.
    pub(super) fn intern(&self, content: &[u8]) -> Option<VALUE> {
        std::str::from_utf8(content).ok()?;
        let len = c_long::try_from(content.len()).ok()?;
        // SAFETY: with the GVL, on a Ruby thread, inside the conversion's rb_protect. Reads `len` bytes of Rust's
        // memory, which the GC does not touch. May raise NoMemoryError: no destructor is skipped.
        Some(unsafe { rb_sys::rb_enc_interned_str(content.as_ptr().cast::<c_char>(), len, self.utf8) })
    }

    /// A new UTF-8 string of these bytes, which have no escapes. `None` if they are not UTF-8.
    #[inline]
    pub(super) fn plain(content: &[u8], ascii: bool) -> Option<VALUE> {
        if !ascii && std::str::from_utf8(content).is_err() {
            return None;
        }
        let len = c_long::try_from(content.len()).ok()?;
        // SAFETY: as in `intern`; and the bytes are valid UTF-8, as `mark_utf8` requires.
        unsafe {
            let string = rb_sys::rb_str_new(content.as_ptr().cast::<c_char>(), len);
            mark_utf8(string, ascii);
            Some(string)
        }
    }

    /// A new UTF-8 string of these bytes with their escapes resolved. `None` if they are not UTF-8 or have an unusual
    /// escape.
    pub(super) fn escaped(raw: &[u8], ascii: bool) -> Option<VALUE> {
        if !ascii && std::str::from_utf8(raw).is_err() {
            return None;
        }
        if raw.len() <= SCRATCH {
            let mut scratch = [MaybeUninit::uninit(); SCRATCH];
            let (content, ascii) = unescape(raw, &mut scratch)?;
            return Self::plain(content, ascii);
        }
        let room = c_long::try_from(raw.len()).ok()?;
        // SAFETY: as in `intern`. With a null pointer the content is uninitialized; unescaping never makes text longer,
        // so `room` bytes are enough. Between taking the pointer and its last use nothing is allocated, so the string,
        // which this frame refers to, does not move. A refused string is ordinary garbage.
        unsafe {
            let string = rb_sys::rb_str_new(std::ptr::null(), room);
            let memory = rb_sys::RSTRING_PTR(string).cast_mut().cast::<MaybeUninit<u8>>();
            let (content, ascii) = unescape(raw, std::slice::from_raw_parts_mut(memory, raw.len()))?;
            // Shorter than `room`, so it fits a long.
            let string = rb_sys::rb_str_resize(string, content.len() as c_long);
            mark_utf8(string, ascii);
            Some(string)
        }
    }

    /// As [`Strings::intern`], with escapes to resolve.
    pub(super) fn intern_escaped(&self, raw: &[u8]) -> Option<VALUE> {
        if raw.len() <= SCRATCH {
            let mut scratch = [MaybeUninit::uninit(); SCRATCH];
            return self.intern(unescape(raw, &mut scratch)?.0);
        }
        // Keys of this size do not occur in practice. JSON.parse reads them.
        None
    }
}

/// Memory, and how much of it was written.
struct Writer<'a> {
    memory: &'a mut [MaybeUninit<u8>],
    len: usize,
}

impl Writer<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let place = self.memory.get_mut(self.len..self.len + bytes.len())?;
        for (to, from) in place.iter_mut().zip(bytes) {
            to.write(*from);
        }
        self.len += bytes.len();
        Some(())
    }
}

/// Resolves the escapes of `raw`, the content between two quotes, into `memory`. Returns the result and whether it is
/// ASCII; `None` if an escape is unknown or a surrogate is alone.
fn unescape<'a>(raw: &[u8], memory: &'a mut [MaybeUninit<u8>]) -> Option<(&'a [u8], bool)> {
    let mut writer = Writer { memory, len: 0 };
    let (mut at, mut ascii) = (0, true);
    loop {
        let run = plain_run(raw, at);
        ascii &= run.ascii;
        writer.put(raw.get(at..run.end)?)?;
        at = run.end;
        match raw.get(at..) {
            None | Some([]) => break,
            Some([b'\\', b'u', ..]) => {
                let (character, length) = unicode(raw.get(at..)?)?;
                ascii &= character.is_ascii();
                writer.put(character.encode_utf8(&mut [0; 4]).as_bytes())?;
                at += length;
            }
            Some([b'\\', escape, ..]) => {
                let byte = match escape {
                    b'"' | b'\\' | b'/' => *escape,
                    b'b' => 0x08,
                    b'f' => 0x0c,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    _ => return None,
                };
                writer.put(&[byte])?;
                at += 2;
            }
            Some(_) => return None,
        }
    }
    let Writer { memory, len } = writer;
    // SAFETY: the first `len` bytes have been written by `put`. The memory is Rust's or that of a new string. Does not
    // call Ruby.
    let content = unsafe { std::slice::from_raw_parts(memory.as_ptr().cast::<u8>(), len) };
    Some((content, ascii))
}

/// The character of the `\uXXXX`, or the surrogate pair, at the start of `text`, and its length there.
fn unicode(text: &[u8]) -> Option<(char, usize)> {
    let first = code_unit(text)?;
    if let Some(character) = char::from_u32(first) {
        return Some((character, 6));
    }
    let second = code_unit(text.get(6..)?)?;
    if !(0xD800..0xDC00).contains(&first) || !(0xDC00..0xE000).contains(&second) {
        return None;
    }
    char::from_u32(0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00)).map(|character| (character, 12))
}

fn code_unit(text: &[u8]) -> Option<u32> {
    let [b'\\', b'u', a, b, c, d, ..] = text else {
        return None;
    };
    [a, b, c, d]
        .into_iter()
        .try_fold(0, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)?))
}
