//! [`SubscriptionOperation`]: what a request of the subscription APIs does.

use std::fmt;

/// A request of the subscription APIs (PROTOCOL.md 6 and 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionOperation {
    /// PUT a subscription.
    Create,
    /// GET a subscription.
    Find,
    /// DELETE a subscription.
    Delete,
    /// POST streams to link.
    AddStreams,
    /// DELETE the link of a stream.
    RemoveStream,
    /// POST a worker's claim.
    Claim,
    /// POST a worker's acks. It prolongs the lease too.
    Ack,
    /// POST the end of a claim.
    Release,
    /// POST the acks of a webhook's receiver.
    Callback,
    /// GET the keys that webhooks are signed with.
    SigningKeys,
}

impl SubscriptionOperation {
    /// Whether it may change something on the server.
    pub fn writes(self) -> bool {
        !matches!(self, Self::Find | Self::SigningKeys)
    }

    /// Whether only the holder of a claim may send it.
    pub(crate) fn needs_claim(self) -> bool {
        matches!(self, Self::Ack | Self::Release | Self::Callback)
    }
}

impl fmt::Display for SubscriptionOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create subscription",
            Self::Find => "find subscription",
            Self::Delete => "delete subscription",
            Self::AddStreams => "add streams to subscription",
            Self::RemoveStream => "remove stream from subscription",
            Self::Claim => "claim subscription",
            Self::Ack => "ack to subscription",
            Self::Release => "release subscription",
            Self::Callback => "call back to subscription",
            Self::SigningKeys => "get signing keys",
        })
    }
}
