//! What a producer raises: that it refuses a message, and that it has failed, with the messages that were not delivered.

use durable_streams_client::producer::{Failed, Refused};
use durable_streams_protocol::error::{Kind, Operation};
use magnus::value::ReprValue;
use magnus::{Error, Exception, Module, RArray, RHash, RModule, Ruby, Value};

use super::Producer;
use crate::convert;
use crate::errors::{self, About};

/// The key, beside the tokens, of what the first exception told: whatever comes to be said of the failure later says the same.
const UNDELIVERED: u64 = u64::MAX;

impl Producer {
    pub(super) fn check_json(&self, ruby: &Ruby, text: &[u8]) -> Result<(), Error> {
        ruby.get_inner(self.stream).check_json(ruby, Operation::Produce, text)
    }

    /// An exception of one of the library's classes.
    pub(super) fn refuse(&self, ruby: &Ruby, class_name: &str, reason: &str) -> Error {
        let stream = ruby.get_inner(self.stream);
        errors::refusal(
            ruby,
            class_name,
            About(Operation::Produce, stream.endpoint.display()),
            reason,
        )
    }

    pub(super) fn refusal(&self, ruby: &Ruby, refused: &Refused) -> Error {
        match refused {
            Refused::Failed(failed) => self.failure(ruby, failed),
            Refused::Closed => self.refuse(ruby, "ClosedError", "the producer is closed"),
            Refused::Empty => errors::argument(ruby, "data must not be empty: there is no empty message".to_owned()),
            Refused::Full(_) => self.refuse(ruby, "ProducerError", "the producer's buffer is full"),
            Refused::Failing => self.refuse(ruby, "ProducerError", "the producer is failing"),
        }
    }

    pub(super) fn failure(&self, ruby: &Ruby, failed: &Failed) -> Error {
        exception(ruby, failed, ruby.get_inner(self.originals)).map_or_else(|failed| failed, Error::from)
    }
}

/// A producer's failure as Ruby has it, with the messages that were not delivered as they were appended, in that order.
pub(crate) fn exception(ruby: &Ruby, failed: &Failed, originals: RHash) -> Result<Exception, Error> {
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
    failed.hear();
    Ok(exception)
}

/// The messages as they were appended, in that order: the originals of those that are still what was appended.
fn undelivered(ruby: &Ruby, failed: &Failed, originals: RHash, library: RModule) -> Result<RArray, Error> {
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
