//! Builds one batch for Ruby out of the parts of a response.

use durable_streams_protocol::error::About;
use durable_streams_protocol::read::payload::Part;
use magnus::value::ReprValue;
use magnus::{Error, RArray, Ruby, TryConvert, Value};

use crate::convert::{self, Buffer};
use crate::errors;

/// What Ruby gets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ContentKind {
    Items,
    Bytes,
    Text,
}

/// A batch in the making, as Ruby objects. It lives on the stack of the thread that builds it, where the GC finds them.
pub(super) enum BatchBuilder {
    /// One array of items for each part, and the total number of items. A single growing array would become old to the
    /// GC, which would then scan all of it at every minor collection.
    Items(RArray, usize),
    Bytes(Buffer, bool),
}

impl BatchBuilder {
    pub(super) fn new(ruby: &Ruby, kind: ContentKind) -> Self {
        match kind {
            ContentKind::Items => Self::Items(ruby.ary_new(), 0),
            ContentKind::Bytes => Self::Bytes(Buffer::new(ruby), false),
            ContentKind::Text => Self::Bytes(Buffer::new(ruby), true),
        }
    }

    pub(super) fn add(&mut self, ruby: &Ruby, part: &Part, about: About<'_>) -> Result<(), Error> {
        match (self, part) {
            (Self::Items(parts, total), Part::Items { text, count }) => {
                let items = convert::parse_items(ruby, text, *count, Some(about))?;
                *total += items.len();
                parts.push(items)
            }
            (Self::Bytes(buffer, _), part) => buffer.append(part.bytes()),
            (Self::Items(..), Part::Bytes(_)) => Err(errors::internal(ruby, "bytes where items were expected")),
        }
    }

    /// So many bytes will follow.
    pub(super) fn expect(&mut self, bytes: usize) -> Result<(), Error> {
        match self {
            Self::Items(..) => Ok(()),
            Self::Bytes(buffer, _) => buffer.expect(bytes),
        }
    }

    pub(super) fn finish(self, ruby: &Ruby) -> Result<Value, Error> {
        match self {
            Self::Items(parts, total) => match parts.len() {
                1 => parts.entry(0),
                _ => {
                    let items = ruby.ary_new_capa(total);
                    for part in parts.into_iter() {
                        items.concat(RArray::try_convert(part)?)?;
                    }
                    Ok(items.as_value())
                }
            },
            Self::Bytes(buffer, text) => Ok(convert::label(ruby, buffer.finish(), text)),
        }
    }
}
