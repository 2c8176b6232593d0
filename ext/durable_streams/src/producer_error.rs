//! The exception for a producer that failed, with the messages that were not stored.

use durable_streams_client::producer::ProducerError;
use durable_streams_protocol::error::Kind;
use magnus::value::ReprValue;
use magnus::{Error, Exception, Module, RArray, RHash, Ruby, Value};

use crate::convert;
use crate::errors;
use crate::library;

/// The key, beside the tokens, of the `undelivered` array of the first exception. Later exceptions for the same failure
/// have the same array.
const UNDELIVERED: u64 = u64::MAX;

/// The exception for a producer's failure. Its `undelivered` has the messages as they were appended, in that order.
/// `originals` is a `DurableStreams::Originals`.
pub(crate) fn exception(ruby: &Ruby, failed: &ProducerError, originals: RHash) -> Result<Exception, Error> {
    let undelivered = match originals.get(UNDELIVERED) {
        Some(known) => known,
        None => {
            let found = undelivered(ruby, failed, originals)?.as_value();
            originals.aset(UNDELIVERED, found)?;
            found
        }
    };
    let reason = errors::exception(ruby, failed.error())?;
    let class: Value = library(ruby)?.const_get("ProducerError")?;
    // An exception of the application's code becomes the cause of a ProducerError.
    let exception = match failed.error().kind() {
        Kind::Application(_) | Kind::Argument => {
            class.funcall("caused_by", (reason, undelivered, failed.error().url()))?
        }
        _ => class.funcall("mark", (reason, undelivered))?,
    };
    failed.mark_reported();
    Ok(exception)
}

/// The messages as they were appended, in that order: the original of each, or its bytes if it has no original or the
/// original was changed since.
fn undelivered(ruby: &Ruby, failed: &ProducerError, originals: RHash) -> Result<RArray, Error> {
    let undelivered = ruby.ary_new_capa(failed.undelivered().len());
    for message in failed.undelivered() {
        let text = convert::label(ruby, ruby.str_from_slice(&message.data), true);
        match originals.get(message.token) {
            Some(original) => undelivered.push(originals.funcall::<_, _, Value>("as_appended", (original, text))?)?,
            None => undelivered.push(text)?,
        }
    }
    Ok(undelivered)
}
