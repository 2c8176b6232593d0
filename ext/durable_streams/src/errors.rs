//! The one map from errors in Rust to the exceptions of `lib/durable_streams/errors.rb`.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, SystemTime};

use durable_streams_client::runtime::panic_message;
use durable_streams_protocol::error::{About, Error as CoreError, Kind};
use durable_streams_protocol::meaning::kind_of;
use durable_streams_protocol::target::{HeaderMap, HeaderName, HeaderValue};
use magnus::r_hash::ForEach;
use magnus::value::ReprValue;
use magnus::{
    Class, Error, Exception, ExceptionClass, Module, Object, RHash, RModule, RString, Ruby, TryConvert, function,
};

use crate::handles::GcHandle;
use crate::library;

/// The Ruby exception for `error`.
pub(crate) fn raise(ruby: &Ruby, error: CoreError) -> Error {
    exception(ruby, &error).map_or_else(|failed| failed, Error::from)
}

/// The Ruby exception object for `error`.
pub(crate) fn exception(ruby: &Ruby, error: &CoreError) -> Result<Exception, Error> {
    if let Kind::Application(exception) = error.kind()
        && let Some(value) = exception.downcast_ref::<GcHandle>().and_then(|handle| handle.get(ruby))
    {
        return Exception::try_convert(value);
    }
    if matches!(error.kind(), Kind::Argument) {
        return ruby.exception_arg_error().new_instance((error.message(),));
    }
    let attributes = attributes(ruby, error)?;
    class(ruby, class_name(error.kind()))?.new_instance((error.message(), magnus::KwArgs(attributes)))
}

fn class_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::BadRequest => "BadRequestError",
        Kind::Unauthorized => "UnauthorizedError",
        Kind::Forbidden => "ForbiddenError",
        Kind::StaleEpoch { .. } => "StaleEpochError",
        Kind::EpochReused { .. } => "EpochReusedError",
        Kind::NotFound => "StreamNotFoundError",
        Kind::Gone => "StreamGoneError",
        Kind::Exists => "StreamExistsError",
        Kind::StreamClosed { .. } => "StreamClosedError",
        Kind::SeqConflict => "SeqConflictError",
        Kind::ContentTypeMismatch => "ContentTypeMismatchError",
        Kind::SequenceGap { .. } => "SequenceGapError",
        Kind::SubscriptionExists => "SubscriptionExistsError",
        Kind::SubscriptionsNotSupported => "SubscriptionsNotSupportedError",
        Kind::AlreadyClaimed { .. } => "AlreadyClaimedError",
        Kind::Fenced => "FencedError",
        Kind::PayloadTooLarge => "PayloadTooLargeError",
        Kind::RateLimited { .. } => "RateLimitedError",
        Kind::Status | Kind::NoPendingWork | Kind::InvalidAck => "FetchError",
        Kind::Connection => "ConnectionError",
        Kind::Timeout => "TimeoutError",
        Kind::Parse => "ParseError",
        Kind::Closed | Kind::Abandoned => "ClosedError",
        Kind::SseNotSupported => "SSENotSupportedError",
        Kind::Argument | Kind::Internal | Kind::Application(_) => "DurableStreamError",
    }
}

/// The keyword arguments for the exception's constructor. Unknown attributes are omitted.
fn attributes(ruby: &Ruby, error: &CoreError) -> Result<RHash, Error> {
    let hash = ruby.hash_new();
    let set = |name: &str, value: magnus::Value| hash.aset(ruby.to_symbol(name), value);
    let number = |n: u64| ruby.integer_from_u64(n).as_value();
    if !error.url().is_empty() {
        set("url", ruby.str_new(error.url()).as_value())?;
    }
    if let Some(status) = error.status() {
        set("status", ruby.integer_from_i64(status.into()).as_value())?;
        set("headers", headers(ruby, error)?.as_value())?;
        set("body", text(ruby, error.body()))?;
        let retryable = error.worth_another_try() && error.is_safe_to_repeat();
        set("retryable", ruby.into_value(retryable))?;
    } else if error.outcome_unknown() {
        set("retryable", ruby.into_value(error.is_safe_to_repeat()))?;
    }
    if error.outcome_unknown() {
        set("outcome_unknown", ruby.qtrue().as_value())?;
    }
    if let (Some(attempts), Some(elapsed)) = (error.attempts(), error.elapsed()) {
        set("attempts", number(attempts.into()))?;
        set("elapsed", ruby.float_from_f64(elapsed.as_secs_f64()).as_value())?;
    }
    details(ruby, error.kind(), hash)?;
    Ok(hash)
}

/// Adds the keyword arguments that only some kinds have.
fn details(ruby: &Ruby, kind: &Kind, hash: RHash) -> Result<(), Error> {
    let set = |name: &str, value: magnus::Value| hash.aset(ruby.to_symbol(name), value);
    let number = |n: u64| ruby.integer_from_u64(n).as_value();
    match kind {
        Kind::StaleEpoch {
            current_epoch: Some(epoch),
        }
        | Kind::EpochReused { epoch } => set("current_epoch", number(*epoch))?,
        Kind::StreamClosed {
            final_offset: Some(offset),
        } => set("final_offset", ruby.str_new(offset).as_value())?,
        Kind::RateLimited {
            retry_after: Some(wait),
        } => set("retry_after", seconds(ruby, *wait))?,
        Kind::AlreadyClaimed {
            current_holder,
            generation,
        } => {
            if let Some(name) = current_holder {
                set("current_holder", ruby.str_new(name).as_value())?;
            }
            if let Some(generation) = generation {
                set("generation", number(*generation))?;
            }
        }
        Kind::SequenceGap { expected, received } => {
            for (name, value) in [("expected_seq", expected), ("received_seq", received)] {
                if let Some(value) = value {
                    set(name, number(*value))?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// `Native.meaning_of(status, headers)` -> the name of the exception class, and the keyword arguments that only this
/// class has. Headers that are invalid in HTTP are ignored.
fn meaning_of(ruby: &Ruby, status: i64, headers: RHash) -> Result<(&'static str, RHash), Error> {
    let mut map = HeaderMap::new();
    headers.foreach(|name: RString, value: RString| {
        // SAFETY: the bytes are copied before any Ruby code can run.
        let (name, value) = unsafe {
            (
                HeaderName::from_bytes(name.as_slice()),
                HeaderValue::from_bytes(value.as_slice()),
            )
        };
        if let (Ok(name), Ok(value)) = (name, value) {
            map.append(name, value);
        }
        Ok(ForEach::Continue)
    })?;
    let kind = u16::try_from(status).map_or(Kind::Status, |status| kind_of(status, &map, SystemTime::now()));
    let own = ruby.hash_new();
    details(ruby, &kind, own)?;
    Ok((class_name(&kind), own))
}

/// Defines the module function.
pub(crate) fn init(native: RModule) -> Result<(), Error> {
    native.define_singleton_method("meaning_of", function!(meaning_of, 2))
}

fn headers(ruby: &Ruby, error: &CoreError) -> Result<RHash, Error> {
    let hash = ruby.hash_new();
    for (name, value) in error.headers() {
        hash.aset(ruby.str_new(name.as_str()), text(ruby, value.as_bytes()))?;
    }
    Ok(hash)
}

/// A UTF-8 string if the bytes are valid UTF-8, else a binary one.
pub(crate) fn text(ruby: &Ruby, bytes: &[u8]) -> magnus::Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => ruby.str_new(text).as_value(),
        Err(_) => ruby.str_from_slice(bytes).as_value(),
    }
}

fn seconds(ruby: &Ruby, wait: Duration) -> magnus::Value {
    match (wait.as_secs(), wait.subsec_nanos()) {
        (whole, 0) => ruby.integer_from_u64(whole).as_value(),
        _ => ruby.float_from_f64(wait.as_secs_f64()).as_value(),
    }
}

fn class(ruby: &Ruby, name: &str) -> Result<ExceptionClass, Error> {
    library(ruby)?.const_get(name)
}

/// An exception of one of the library's classes with only a message.
pub(crate) fn simple(ruby: &Ruby, class_name: &str, message: &str) -> Error {
    let made = class(ruby, class_name).and_then(|class| class.new_instance((message,)));
    made.map_or_else(|failed| failed, Error::from)
}

/// An exception of one of the library's classes for an operation that made no request, or whose response is unusable.
pub(crate) fn refusal(ruby: &Ruby, class_name: &str, about: About<'_>, reason: &str) -> Error {
    let About { operation, url } = about;
    let attributes = ruby.hash_new();
    let made = attributes.aset(ruby.to_symbol("url"), url).and_then(|()| {
        let message = format!("{operation} {url}: {reason}");
        class(ruby, class_name)?.new_instance((message, magnus::KwArgs(attributes)))
    });
    made.map_or_else(|failed| failed, Error::from)
}

/// An `ArgumentError`.
pub(crate) fn argument(ruby: &Ruby, message: String) -> Error {
    Error::new(ruby.exception_arg_error(), message)
}

/// A `ThreadError`: the call would wait for itself.
pub(crate) fn deadlock(ruby: &Ruby, reason: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ruby.exception_thread_error(), reason)
}

/// The exception for a bug in this library.
pub(crate) fn internal(ruby: &Ruby, message: &str) -> Error {
    simple(ruby, "DurableStreamError", &format!("internal error: {message}"))
}

/// Runs the body of a native method. A panic in it becomes an exception.
pub(crate) fn guard<T>(ruby: &Ruby, body: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => result,
        Err(payload) => Err(internal(ruby, panic_message(payload.as_ref()))),
    }
}
