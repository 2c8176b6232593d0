//! The exceptions of a producer: it refuses a message, or it has failed.

use durable_streams_client::producer::{ProducerError, Refused};
use durable_streams_protocol::error::Operation;
use magnus::{Error, Ruby};

use super::Producer;
use crate::errors;
use crate::producer_error::exception;

impl Producer {
    pub(super) fn check_json(&self, ruby: &Ruby, text: &[u8]) -> Result<(), Error> {
        ruby.get_inner(self.stream).check_json(ruby, Operation::Produce, text)
    }

    /// An exception of one of the library's classes.
    pub(super) fn refuse(&self, ruby: &Ruby, class_name: &str, reason: &str) -> Error {
        let stream = ruby.get_inner(self.stream);
        errors::refusal(ruby, class_name, stream.endpoint.about(Operation::Produce), reason)
    }

    pub(super) fn refusal(&self, ruby: &Ruby, refused: &Refused) -> Error {
        match refused {
            Refused::Failed(failed) => self.failure(ruby, failed),
            Refused::Closed => self.refuse(ruby, "ClosedError", "the producer is closed: make another one"),
            Refused::StreamClosing => self.refuse(
                ruby,
                "StreamClosedError",
                "close_stream was called before, with other data or without data: this data is not stored",
            ),
            Refused::Empty => errors::argument(
                ruby,
                "data must not be empty: the protocol has no empty messages".to_owned(),
            ),
            Refused::Full(_) => self.refuse(
                ruby,
                "ProducerError",
                "the producer's buffer is full (max_buffered_bytes); with when_full: :block, append waits",
            ),
            Refused::Failing => self.refuse(ruby, "ProducerError", "the producer is failing"),
        }
    }

    pub(super) fn failure(&self, ruby: &Ruby, failed: &ProducerError) -> Error {
        exception(ruby, failed, self.originals.hash(ruby)).map_or_else(|failed| failed, Error::from)
    }
}
