//! What Ruby asks about URLs: the parser that requests are made with answers.

use durable_streams_core::url;
use magnus::{Error, Object, RModule, RString, Ruby, function};

/// `Native.shown_url(text)` -> the text without userinfo and query. Bytes that are not UTF-8 are replaced.
fn shown(ruby: &Ruby, text: RString) -> RString {
    // SAFETY: the bytes are copied before any Ruby code can run.
    let text = String::from_utf8_lossy(unsafe { text.as_slice() }).into_owned();
    ruby.str_new(&url::shown(&text))
}

/// Defines the module function.
pub(crate) fn init(native: RModule) -> Result<(), Error> {
    native.define_singleton_method("shown_url", function!(shown, 1))
}
