//! JSON text into Ruby objects, equal to the result of `JSON.parse` for the same text, in every case and with every
//! version of json. [`Parser`] reads plain JSON. An item with anything unusual in it (lone surrogates, unknown escapes,
//! nesting beyond 100, invalid UTF-8, numbers out of range, any syntax error) is passed to `JSON.parse`, whose result
//! or exception counts. For a repeated key the last value counts, even where json would warn (2.13) or refuse (3).

use std::cell::Cell;
use std::ffi::c_long;
use std::panic::{AssertUnwindSafe, catch_unwind};

use durable_streams_client::runtime::panic_message;
use durable_streams_protocol::error::About;
use magnus::rb_sys::{FromRawValue, protect};
use magnus::value::ReprValue;
use magnus::{Error, ExceptionClass, Module, RArray, RModule, RString, Ruby, TryConvert, Value};
use rb_sys::VALUE;

use super::parser::Parser;
use super::stack::{INLINE, Room};
use crate::errors;

/// The longest reason that is passed on, in characters: some versions of json quote the rest of the text.
const LONGEST_REASON: usize = 300;

/// Converts comma-separated JSON values, as [`durable_streams_protocol::json::Splitter`] returns them, into an array.
/// `count_hint` is their number as far as known. The array is new and not frozen; keys of hashes are frozen and
/// interned, as JSON.parse makes them.
///
/// `block` must not be memory of a Ruby string: Ruby code may run (a redefined JSON.parse) and change it.
///
/// Raises `DurableStreams::ParseError` with json's reason if an item is not JSON. The message names the operation in
/// `about`.
pub(crate) fn parse_items(
    ruby: &Ruby,
    block: &[u8],
    count_hint: usize,
    about: Option<About<'_>>,
) -> Result<RArray, Error> {
    // No item is shorter than a digit and a comma.
    let capacity = count_hint.min(block.len() / 2 + 1) as c_long;
    let array = convert(ruby, block, about, |parser| {
        // SAFETY: inside rb_protect; see `parser`.
        let result = unsafe { rb_sys::rb_ary_new_capa(capacity) };
        parser.items(result);
        result
    })?;
    RArray::try_convert(array)
}

/// Converts one JSON value.
///
/// `text` must not be memory of a Ruby string. Raises as [`parse_items`] does.
pub(crate) fn parse_value(ruby: &Ruby, text: &[u8]) -> Result<Value, Error> {
    convert(ruby, text, None, |parser| parser.whole())
}

/// Runs a conversion inside `protect`, since it may raise.
fn convert(
    ruby: &Ruby,
    text: &[u8],
    about: Option<About<'_>>,
    body: impl FnOnce(&mut Parser<'_>) -> VALUE,
) -> Result<Value, Error> {
    let in_json = Cell::new(false);
    let mut panicked = None;
    let outcome = protect(|| {
        // A Ruby exception jumps out of this closure to `protect`, over frames without destructors: the parser only
        // borrows, and `catch_unwind` registers nothing.
        let work = || {
            let mut room: Room = [const { std::mem::MaybeUninit::uninit() }; INLINE];
            let mut parser = Parser::new(text, &mut room, &in_json);
            let value = body(&mut parser);
            parser.release();
            value
        };
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(value) => value,
            Err(payload) => {
                panicked = Some(payload);
                rb_sys::Qnil as VALUE
            }
        }
    });
    if let Some(payload) = panicked {
        return Err(errors::internal(ruby, panic_message(payload.as_ref())));
    }
    match outcome {
        // SAFETY: a live object, in this frame since `protect` returned it.
        Ok(value) => Ok(unsafe { Value::from_raw(value) }),
        Err(error) if in_json.get() => Err(refusal(ruby, about, error)),
        Err(error) => Err(error),
    }
}

/// The ParseError for an exception of JSON.parse. Other exceptions (an interrupt, no memory) are returned unchanged.
fn refusal(ruby: &Ruby, about: Option<About<'_>>, error: Error) -> Error {
    let classes = [("JSON", "JSONError"), ("Object", "EncodingError")];
    let refused = classes.into_iter().any(|(space, name)| {
        let space: Result<RModule, Error> = match space {
            "Object" => RModule::try_convert(ruby.class_object().as_value()),
            _ => ruby.class_object().const_get(space),
        };
        let class: Result<ExceptionClass, Error> = space.and_then(|space| space.const_get(name));
        class.is_ok_and(|class| error.is_kind_of(class))
    });
    if !refused {
        return error;
    }
    let reason = error
        .value()
        .and_then(|exception| exception.funcall::<_, _, RString>("message", ()).ok());
    let reason = reason.map(|message| {
        // SAFETY: on a Ruby thread with the GVL; copied before any Ruby code can run.
        let text = String::from_utf8_lossy(unsafe { message.as_slice() }).into_owned();
        match text.char_indices().nth(LONGEST_REASON) {
            Some((end, _)) => format!("{}...", &text[..end]),
            None => text,
        }
    });
    parse_error(
        ruby,
        about,
        &format!(
            "invalid JSON: {}",
            reason.as_deref().unwrap_or("JSON.parse gave no reason")
        ),
    )
}

/// A `DurableStreams::ParseError`. Without `about` it names no operation.
pub(super) fn parse_error(ruby: &Ruby, about: Option<About<'_>>, reason: &str) -> Error {
    match about {
        Some(about) => errors::refusal(ruby, "ParseError", about, reason),
        None => errors::simple(ruby, "ParseError", reason),
    }
}
