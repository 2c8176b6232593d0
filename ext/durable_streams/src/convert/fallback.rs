//! `JSON.parse` itself, for the items that [`Parser`](super::parser::Parser) refuses.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_long};

use rb_sys::VALUE;

/// The result of `JSON.parse` for `text`. Raises what it raises, with `in_json` set.
pub(super) fn by_json_parse(text: &[u8], in_json: &Cell<bool>) -> VALUE {
    // SAFETY: called by the parser: on a Ruby thread with the GVL, inside rb_protect. `text` is Rust's memory and is
    // copied. The objects are arguments of the call, which keeps them alive. Ruby code may run, and raise: no
    // destructor is skipped.
    unsafe {
        let object = rb_sys::rb_cObject;
        let name = intern("JSON");
        if rb_sys::rb_const_defined(object, name) == 0 {
            rb_sys::rb_require(c"json".as_ptr());
        }
        let json = rb_sys::rb_const_get(object, name);
        // Ruby refuses a negative length, by an ArgumentError.
        let len = c_long::try_from(text.len()).unwrap_or(-1);
        let source = rb_sys::rb_utf8_str_new(text.as_ptr().cast::<c_char>(), len);
        // Versions that do not know the option ignore it.
        let options = rb_sys::rb_hash_new();
        let name = rb_sys::rb_id2sym(intern("allow_duplicate_key"));
        rb_sys::rb_hash_aset(options, name, rb_sys::Qtrue as VALUE);
        let arguments = [source, options];
        in_json.set(true);
        // json 3 accepts keywords only.
        let keywords = rb_sys::RB_PASS_KEYWORDS as c_int;
        let value = rb_sys::rb_funcallv_kw(json, intern("parse"), 2, arguments.as_ptr(), keywords);
        in_json.set(false);
        value
    }
}

/// # Safety
///
/// On a Ruby thread with the GVL.
unsafe fn intern(name: &'static str) -> rb_sys::ID {
    // SAFETY: the caller guarantees it. Copies the name; raises only if there is no memory.
    unsafe { rb_sys::rb_intern2(name.as_ptr().cast(), name.len() as c_long) }
}
