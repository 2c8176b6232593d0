//! The exception for a producer that has failed, with the messages that were not delivered.

use durable_streams_client::producer::ProducerError;
use durable_streams_protocol::error::Kind;
use magnus::value::ReprValue;
use magnus::{Error, Exception, Module, RArray, RHash, RModule, Ruby, Value};

use crate::convert;
use crate::errors;

/// The key, beside the tokens, of what the first exception told: whatever comes to be said of the failure later says the same.
const UNDELIVERED: u64 = u64::MAX;

/// A producer's failure as Ruby has it, with the messages that were not delivered as they were appended, in that order.
pub(crate) fn exception(ruby: &Ruby, failed: &ProducerError, originals: RHash) -> Result<Exception, Error> {
    let library: RModule = ruby.class_object().const_get("DurableStreams")?;
    let undelivered = match originals.get(UNDELIVERED) {
        Some(told) => told,
        None => {
            let found = undelivered(ruby, failed, originals, library)?.as_value();
            originals.aset(UNDELIVERED, found)?;
            found
        }
    };
    let reason = errors::exception(ruby, failed.error())?;
    let class: Value = library.const_get("ProducerError")?;
    // What the application raised itself is not the error, but the cause of one.
    let made = match failed.error().kind() {
        Kind::Application(_) | Kind::Argument => "caused_by",
        _ => "mark",
    };
    let exception = class.funcall(made, (reason, undelivered))?;
    failed.mark_reported();
    Ok(exception)
}

/// The messages as they were appended, in that order: the originals of those that are still what was appended.
fn undelivered(ruby: &Ruby, failed: &ProducerError, originals: RHash, library: RModule) -> Result<RArray, Error> {
    let messages: Value = library.const_get("Message")?;
    let undelivered = ruby.ary_new_capa(failed.undelivered().len());
    for message in failed.undelivered() {
        let text = convert::label(ruby, ruby.str_from_slice(&message.data), true);
        match originals.get(message.token) {
            Some(original) => undelivered.push(messages.funcall::<_, _, Value>("as_appended", (original, text))?)?,
            None => undelivered.push(text)?,
        }
    }
    Ok(undelivered)
}
