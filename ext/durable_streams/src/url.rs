//! URLs for Ruby, with the parser that requests are made with.

use durable_streams_protocol::target::path_of;
use durable_streams_protocol::{redirect, url};
use magnus::{Error, Object, RModule, RString, Ruby, function};

use crate::errors;
use crate::stream::frozen;

/// `Native.join_url(base, path)` -> the URL of `path` below `base`. Raises `ArgumentError` if the path would leave the
/// base.
fn join(ruby: &Ruby, base: String, path: String) -> Result<RString, Error> {
    let joined = url::join(&base, &path).map_err(|error| errors::raise(ruby, error))?;
    Ok(frozen(ruby, &joined))
}

/// `Native.url_path(url)` -> the URL's path as requests have it: percent-encoded.
fn path(ruby: &Ruby, url: String) -> Result<RString, Error> {
    let path = path_of(&url).map_err(|error| errors::raise(ruby, error))?;
    Ok(frozen(ruby, &path))
}

/// `Native.shown_url(text)` -> the text without userinfo and query. Invalid UTF-8 is replaced.
fn shown(ruby: &Ruby, text: RString) -> RString {
    // SAFETY: the bytes are copied before any Ruby code can run.
    let text = String::from_utf8_lossy(unsafe { text.as_slice() }).into_owned();
    ruby.str_new(&url::shown(&text))
}

/// `Native.origin(text)` -> the origin as redirects are compared with it. Raises `ArgumentError` if it is none.
fn origin(ruby: &Ruby, text: String) -> Result<RString, Error> {
    let origin = redirect::parse_origin(&text).map_err(|error| errors::raise(ruby, error))?;
    Ok(frozen(ruby, &origin))
}

/// Defines the module functions.
pub(crate) fn init(native: RModule) -> Result<(), Error> {
    native.define_singleton_method("join_url", function!(join, 2))?;
    native.define_singleton_method("url_path", function!(path, 1))?;
    native.define_singleton_method("origin", function!(origin, 1))?;
    native.define_singleton_method("shown_url", function!(shown, 1))
}
