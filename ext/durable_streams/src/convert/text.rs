//! Bytes as Ruby strings with the right encoding.

use magnus::rb_sys::AsRawValue;
use magnus::value::ReprValue;
use magnus::{RString, Ruby, Value};
use rb_sys::{RBasic, VALUE, ruby_coderange_type, ruby_encoding_consts};

/// Gives a new binary string that was put together from pieces its encoding: UTF-8 where it is `text` and valid.
pub(crate) fn label(_ruby: &Ruby, string: RString, text: bool) -> Value {
    if text {
        // SAFETY: the Ruby handle says: on a Ruby thread with the GVL. Nothing is allocated and no Ruby code runs while
        // the bytes are looked at.
        let bytes = unsafe { string.as_slice() };
        let ascii = bytes.is_ascii();
        if ascii || std::str::from_utf8(bytes).is_ok() {
            // SAFETY: with the GVL, as above. The string is new: nobody else has seen it. Its bytes were just checked.
            unsafe { mark_utf8(string.as_raw(), ascii) };
        }
    }
    string.as_value()
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
