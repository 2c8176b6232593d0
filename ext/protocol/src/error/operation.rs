//! [`Operation`]: what the caller called.

use std::fmt;

use crate::subscriptions::operation::SubscriptionOperation;

/// What the caller called. An error's message begins with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// PUT
    Create,
    /// HEAD
    Head,
    /// HEAD as part of another operation. Messages name that operation.
    HeadFor(Purpose),
    /// POST
    Append,
    /// POST with `Stream-Seq`
    AppendWithSeq,
    /// POST with the producer headers of a handle with `exactly_once`
    AppendOnce {
        /// Whether it has `Stream-Seq` too.
        with_seq: bool,
    },
    /// POST with `Stream-Closed`
    Close,
    /// POST with `Stream-Closed` and data
    CloseWithData,
    /// POST with `Stream-Closed` and data, and the producer headers of a handle with `exactly_once`
    CloseOnce,
    /// DELETE
    Delete,
    /// GET
    Read,
    /// POST with producer headers
    Produce,
    /// A request of the subscription APIs
    Subscription(SubscriptionOperation),
}

impl Operation {
    /// Whether the operation may change the stream.
    pub fn writes(self) -> bool {
        match self {
            Self::Head | Self::HeadFor(_) | Self::Read => false,
            Self::Subscription(operation) => operation.writes(),
            _ => true,
        }
    }

    /// Whether the result of a success is in the response's body, not only in its headers. The body of a read is content,
    /// which a reader takes while it arrives.
    pub fn has_result_in_body(self) -> bool {
        matches!(self, Self::Subscription(_))
    }

    /// Whether it may be carried out twice without harm: the second time it changes nothing, or is refused.
    pub fn is_idempotent(self) -> bool {
        !matches!(
            self,
            Self::Append | Self::AppendOnce { with_seq: false } | Self::CloseWithData | Self::CloseOnce | Self::Produce
        )
    }
}

/// The operation that a HEAD is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Connect.
    Connect,
    /// Fork: the request is for the source.
    Fork,
    /// Append.
    Append,
    /// Close.
    Close,
    /// Read.
    Read,
    /// Produce.
    Produce,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Subscription(operation) => return operation.fmt(f),
            Self::Create => "create",
            Self::Head => "head",
            Self::HeadFor(Purpose::Connect) => "connect to",
            Self::HeadFor(Purpose::Fork) => "fork",
            Self::Append | Self::AppendWithSeq | Self::AppendOnce { .. } | Self::HeadFor(Purpose::Append) => {
                "append to"
            }
            Self::Close | Self::CloseWithData | Self::CloseOnce | Self::HeadFor(Purpose::Close) => "close",
            Self::Delete => "delete",
            Self::Read | Self::HeadFor(Purpose::Read) => "read",
            Self::Produce | Self::HeadFor(Purpose::Produce) => "produce to",
        })
    }
}
