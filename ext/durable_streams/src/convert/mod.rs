//! The one module that builds Ruby objects from content: from JSON text ([`json`]), and strings ([`text`], [`buffer`]).

use durable_streams_protocol::json::validate;
use magnus::{Error, RArray, RModule, RString, Ruby, Value, function};

mod buffer;
mod fallback;
mod json;
mod keys;
mod numbers;
mod parser;
mod stack;
mod strings;
mod text;

pub(crate) use buffer::Buffer;
use json::parse_error;
pub(crate) use json::parse_items;
pub(crate) use text::label;

/// Defines `DurableStreams::Native.check_json`, and `.parse_items` and `.parse_value` for specs: those compare them with
/// `JSON.parse` in the build that users get.
pub(crate) fn init(native: RModule) -> Result<(), Error> {
    native.define_module_function("check_json", function!(native_check_json, 1))?;
    native.define_module_function("parse_items", function!(native_parse_items, 1))?;
    native.define_module_function("parse_value", function!(native_parse_value, 1))
}

/// `check_json(text String) -> nil`. Raises ParseError unless `text` is one JSON value (RFC 8259, valid UTF-8).
fn native_check_json(ruby: &Ruby, text: RString) -> Result<(), Error> {
    // SAFETY: on a Ruby thread with the GVL. No Ruby code runs and nothing is allocated while the bytes are read, so
    // they can be neither changed nor moved. The exception is made after that.
    validate(unsafe { text.as_slice() }).map_err(|invalid| parse_error(ruby, None, &invalid.to_string()))
}

/// `parse_items(text String) -> Array`: values with commas between them.
fn native_parse_items(ruby: &Ruby, text: RString) -> Result<RArray, Error> {
    parse_items(ruby, &bytes_of(text), 0, None)
}

/// `parse_value(text String) -> Object`: what `JSON.parse` gives.
fn native_parse_value(ruby: &Ruby, text: RString) -> Result<Value, Error> {
    json::parse_value(ruby, &bytes_of(text))
}

/// A copy, because Ruby code that runs during the conversion may change the string.
fn bytes_of(text: RString) -> Vec<u8> {
    // SAFETY: on a Ruby thread with the GVL; copied before any Ruby code can run.
    unsafe { text.as_slice() }.to_vec()
}
