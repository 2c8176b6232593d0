//! Bytes as Ruby strings with the right encoding.

use magnus::rb_sys::AsRawValue;
use magnus::value::ReprValue;
use magnus::{RString, Ruby, Value};
use rb_sys::{RBasic, VALUE, ruby_coderange_type, ruby_encoding_consts};

/// Sets the encoding of a new binary string: UTF-8 if `text` is true and the bytes are valid UTF-8.
pub(crate) fn label(_ruby: &Ruby, string: RString, text: bool) -> Value {
    if text {
        // SAFETY: `_ruby` proves that this is a Ruby thread with the GVL. Nothing is allocated and no Ruby code runs
        // while the bytes are read.
        let bytes = unsafe { string.as_slice() };
        let ascii = bytes.is_ascii();
        if ascii || std::str::from_utf8(bytes).is_ok() {
            // SAFETY: with the GVL, as above. The string is new: nothing else uses it. Its bytes were just checked.
            unsafe { mark_utf8(string.as_raw(), ascii) };
        }
    }
    string.as_value()
}

/// Marks a new binary string as UTF-8 and stores the result of a scan, so that Ruby need not scan it. C's
/// ENCODING_CODERANGE_SET does the same.
///
/// # Safety
///
/// `string` is a live String in binary or UTF-8 that nothing else has used since its content was written. Its bytes are
/// valid UTF-8, and only ASCII if `ascii` is true. With the GVL, on a Ruby thread. Neither allocates nor raises.
#[inline]
pub(super) unsafe fn mark_utf8(string: VALUE, ascii: bool) {
    let known = match ascii {
        true => ruby_coderange_type::RUBY_ENC_CODERANGE_7BIT,
        false => ruby_coderange_type::RUBY_ENC_CODERANGE_VALID,
    } as VALUE;
    let mask =
        ruby_encoding_consts::RUBY_ENCODING_MASK as VALUE | ruby_coderange_type::RUBY_ENC_CODERANGE_MASK as VALUE;
    let object = string as *mut RBasic;
    // SAFETY: every heap object begins with an RBasic. The macros of ruby/encoding.h change the same flags. UTF-8's
    // index is a small constant of Ruby's, so it fits into its bits.
    unsafe {
        let encoding = (rb_sys::rb_utf8_encindex() as VALUE) << ruby_encoding_consts::RUBY_ENCODING_SHIFT as VALUE;
        (*object).flags = (*object).flags & !mask | encoding | known;
    }
}
