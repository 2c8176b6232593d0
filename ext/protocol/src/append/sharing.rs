//! Which appends share a request.

use super::message::Append;

/// Appends share a request up to this many bytes; a larger one goes out alone.
const MOST_BYTES: usize = 1024 * 1024;

/// Which appends of a handle share requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batching {
    /// None: each goes out by itself.
    Off,
    /// All, unless the application computes values for the requests: a value may belong to the thread that computes it.
    On,
    /// All; a request has the values that are computed for the first append in it.
    SharedValues,
}

impl Batching {
    /// Whether an append shares requests. `asks_values`: the application computes values for the handle's requests.
    /// `nested`: the append is made by the code that computes one. A request may wait for that value, so the append must
    /// not wait for a request.
    pub fn shares(self, asks_values: bool, nested: bool) -> bool {
        match self {
            Batching::Off => false,
            Batching::On => !asks_values,
            Batching::SharedValues => !nested,
        }
    }
}

/// Whether `next` may go out in the request of `first`, which has `size` bytes so far.
pub(super) fn can_share(first: &Append, size: usize, next: &Append) -> bool {
    first.seq.is_none()
        && next.seq.is_none()
        && first.json == next.json
        && first.content_type == next.content_type
        && size + next.data.len() < MOST_BYTES
}

#[cfg(test)]
mod tests {
    use super::Batching::{Off, On, SharedValues};

    #[test]
    fn appends_share_requests_unless_values_are_computed_for_each() {
        assert_eq!(
            [Off, On, SharedValues].map(|batching| batching.shares(false, false)),
            [false, true, true]
        );
        assert_eq!(
            [Off, On, SharedValues].map(|batching| batching.shares(true, false)),
            [false, false, true]
        );
    }

    #[test]
    fn an_append_from_within_a_value_callable_goes_by_itself() {
        assert!(
            [Off, On, SharedValues]
                .iter()
                .all(|batching| !batching.shares(true, true))
        );
    }
}
