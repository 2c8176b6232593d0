//! Bytes as Ruby strings with the right encoding.

use std::ffi::c_long;

use magnus::rb_sys::{AsRawValue, FromRawValue, protect};
use magnus::value::ReprValue;
use magnus::{Error, RString, Ruby, TryConvert, Value};
use rb_sys::{RBasic, VALUE, ruby_coderange_type, ruby_encoding_consts};

/// What bytes are meant to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// UTF-8 where they are valid, else binary.
    Text,
    /// Binary.
    Binary,
}

/// A new string of `bytes`: UTF-8 where they are meant to be text and are valid, else binary.
///
/// Raises NoMemoryError.
pub(crate) fn string_to_ruby(ruby: &Ruby, bytes: &[u8], kind: Kind) -> Result<RString, Error> {
    let checked = Checked::of(bytes, kind);
    let len =
        c_long::try_from(bytes.len()).map_err(|_| Error::new(ruby.exception_no_mem_error(), "string too long"))?;
    let string = protect(|| {
        // SAFETY: `ruby` says: on a Ruby thread with the GVL. Reads `len` bytes of Rust's memory. NoMemoryError ends at the
        // protect around this closure, which owns nothing.
        unsafe { rb_sys::rb_str_new(bytes.as_ptr().cast(), len) }
    })?;
    // SAFETY: a live object that Ruby just made.
    let string = RString::try_convert(unsafe { Value::from_raw(string) })?;
    checked.apply(string)?;
    Ok(string)
}

/// Gives a binary string that was put together from pieces its encoding: UTF-8 where it is `text` and valid.
pub(crate) fn label(_ruby: &Ruby, string: RString, text: bool) -> Result<Value, Error> {
    let kind = if text { Kind::Text } else { Kind::Binary };
    // SAFETY: the Ruby handle says: on a Ruby thread with the GVL. Nothing is allocated and no Ruby code runs while the
    // bytes are looked at.
    let checked = Checked::of(unsafe { string.as_slice() }, kind);
    checked.apply(string)?;
    Ok(string.as_value())
}

/// What is known of some bytes.
#[derive(Clone, Copy)]
enum Checked {
    Ascii,
    Utf8,
    Binary,
}

impl Checked {
    fn of(bytes: &[u8], kind: Kind) -> Self {
        match kind {
            Kind::Binary => Checked::Binary,
            Kind::Text if bytes.is_ascii() => Checked::Ascii,
            Kind::Text if std::str::from_utf8(bytes).is_ok() => Checked::Utf8,
            Kind::Text => Checked::Binary,
        }
    }

    /// Gives `string` the encoding; its bytes must be those that were checked.
    fn apply(self, string: RString) -> Result<(), Error> {
        let raw = string.as_raw();
        protect(|| {
            // SAFETY: on a Ruby thread with the GVL, as the callers hold a `&Ruby`. Raises where the string is frozen, which
            // ends at the protect around this closure; the closure owns nothing.
            unsafe {
                match self {
                    Checked::Binary => rb_sys::rb_enc_associate_index(raw, rb_sys::rb_ascii8bit_encindex()),
                    Checked::Ascii | Checked::Utf8 => rb_sys::rb_enc_associate_index(raw, rb_sys::rb_utf8_encindex()),
                }
            }
        })?;
        if let Checked::Ascii | Checked::Utf8 = self {
            // SAFETY: the bytes were checked, and the encoding is UTF-8 now.
            unsafe { mark_utf8(raw, matches!(self, Checked::Ascii)) };
        }
        Ok(())
    }
}

/// Makes a new binary string a UTF-8 one and notes what a scan of it would find, so that Ruby need not scan it: what C's
/// ENCODING_CODERANGE_SET does.
///
/// # Safety
///
/// `string` is a live String that nobody else has seen since its content was written, in binary or UTF-8; its bytes are
/// valid UTF-8, and ASCII alone if `ascii` says so. With the GVL, on a Ruby thread. Neither allocates nor raises.
#[inline]
pub(super) unsafe fn mark_utf8(string: VALUE, ascii: bool) {
    let known = match ascii {
        true => ruby_coderange_type::RUBY_ENC_CODERANGE_7BIT,
        false => ruby_coderange_type::RUBY_ENC_CODERANGE_VALID,
    } as VALUE;
    let mask =
        ruby_encoding_consts::RUBY_ENCODING_MASK as VALUE | ruby_coderange_type::RUBY_ENC_CODERANGE_MASK as VALUE;
    let object = string as *mut RBasic;
    // SAFETY: every heap object begins with an RBasic, whose flags are what the macros of ruby/encoding.h change as well.
    // UTF-8's index is a small constant of Ruby's, so it fits the bits that are meant for it.
    unsafe {
        let encoding = (rb_sys::rb_utf8_encindex() as VALUE) << ruby_encoding_consts::RUBY_ENCODING_SHIFT as VALUE;
        (*object).flags = (*object).flags & !mask | encoding | known;
    }
}

/// Appends bytes to a string that is being built.
///
/// # Errors
/// Ruby's `NoMemoryError`.
pub(crate) fn append(string: RString, bytes: &[u8]) -> Result<(), Error> {
    // More than a long counts does not fit into memory where long has 64 bits; on Windows Ruby refuses a negative length.
    let len = c_long::try_from(bytes.len()).unwrap_or(-1);
    protect(|| {
        // SAFETY: on a Ruby thread with the GVL; `bytes` is Rust's memory, which the GC does not touch. What it raises is
        // stopped by `protect`, and crosses this closure alone, which owns nothing.
        unsafe { rb_sys::rb_str_cat(string.as_raw(), bytes.as_ptr().cast(), len) }
    })
    .map(|_| ())
}
