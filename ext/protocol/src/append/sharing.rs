//! Which appends share a request.

use super::message::Append;

/// The most bytes of appends that share a request. A larger append has a request of its own.
const MOST_BYTES: usize = 1024 * 1024;

/// Which appends of a handle share requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batching {
    /// None. Each append has a request of its own.
    Off,
    /// Every append that can share one, unless the handle has value callables: a value may depend on the thread that
    /// computes it.
    On,
    /// Every append that can share one, even with value callables. The values of the first append are used.
    SharedValues,
}

impl Batching {
    /// Whether an append shares requests. `has_callables`: the handle has value callables. `nested`: a value callable,
    /// or `trusted_origins`, makes the append. A request may be waiting for that, so the append must not wait for a
    /// request.
    pub fn shares(self, has_callables: bool, nested: bool) -> bool {
        match self {
            Self::Off => false,
            Self::On => !has_callables && !nested,
            Self::SharedValues => !nested,
        }
    }
}

/// Whether `next` may share the request of `first`, which has `size` bytes so far.
pub(super) fn can_share(first: &Append, size: usize, next: &Append) -> bool {
    shares(first)
        && shares(next)
        && first.json == next.json
        && first.content_type == next.content_type
        && size + next.data.len() < MOST_BYTES
}

fn shares(append: &Append) -> bool {
    !append.alone && !append.closes && append.seq.is_none()
}

#[cfg(test)]
mod tests {
    use super::Batching::{Off, On, SharedValues};

    #[test]
    fn appends_share_requests_unless_each_has_its_own_values() {
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
    fn an_append_by_code_that_a_request_may_wait_for_has_its_own_request() {
        for has_callables in [true, false] {
            assert!(
                [Off, On, SharedValues]
                    .iter()
                    .all(|batching| !batching.shares(has_callables, true))
            );
        }
    }
}
