//! Content type checks for Ruby. The protocol crate has the rules.

use durable_streams_protocol::protocol::{Media, is_plain_in_events, is_text};
use magnus::{Error, Object, RModule, function};

/// `Native.json_type?(content_type)`: whether messages are JSON values.
fn is_json_type(content_type: String) -> bool {
    Media::of(&content_type).is_json()
}

/// `Native.text_type?(content_type)`: whether the data is text.
fn is_text_type(content_type: String) -> bool {
    is_text(&content_type)
}

/// `Native.plain_in_sse?(content_type)`: whether SSE carries such data as it is, without base64.
fn is_plain_in_sse(content_type: String) -> bool {
    is_plain_in_events(&content_type)
}

/// Defines the module functions.
pub(crate) fn init(native: RModule) -> Result<(), Error> {
    native.define_singleton_method("json_type?", function!(is_json_type, 1))?;
    native.define_singleton_method("text_type?", function!(is_text_type, 1))?;
    native.define_singleton_method("plain_in_sse?", function!(is_plain_in_sse, 1))
}
