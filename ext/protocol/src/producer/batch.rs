//! Batches: built as the bytes that go on the wire, kept until they are acknowledged, taken apart again on failure.

use std::time::Instant;

use bytes::Bytes;

use crate::retry::policy::Schedule;

/// How the messages of a batch make up the body of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// A JSON array with one element for each message (an array among the messages stays one element).
    Json,
    /// The messages, one after the other.
    Bytes,
}

impl BodyKind {
    /// The bytes of a body beside its messages: what opens it, and what follows each message.
    fn framing(self) -> (usize, usize) {
        match self {
            BodyKind::Json => (1, 1),
            BodyKind::Bytes => (0, 0),
        }
    }

    /// The most bytes that one more message of `len` bytes can add to what is buffered.
    pub(super) fn cost(self, len: usize) -> usize {
        let (opening, following) = self.framing();
        len.saturating_add(opening + following)
    }
}

/// Where the messages of a body are: enough to give each back as it was appended.
#[derive(Clone, Debug, Default)]
pub(super) struct Body {
    pub bytes: Bytes,
    starts: Vec<u32>,
}

impl Body {
    /// A body of one message, or of none.
    pub fn of(kind: BodyKind, message: Option<&[u8]>) -> Body {
        let Some(message) = message else { return Body::default() };
        let mut open = OpenBatch::new(kind, 0, kind.cost(message.len()), 1);
        open.push(message);
        open.seal()
    }

    /// A body of one message, which is sent from where it is if nothing comes around it.
    pub fn shared(kind: BodyKind, message: Bytes) -> Body {
        match kind {
            BodyKind::Json => Body::of(kind, Some(&message)),
            BodyKind::Bytes => Body {
                bytes: message,
                starts: vec![0],
            },
        }
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// The message at `index`, sharing the body's memory.
    pub fn message(&self, kind: BodyKind, index: usize) -> Option<Bytes> {
        let (_, following) = kind.framing();
        let start = *self.starts.get(index)? as usize;
        let next = self
            .starts
            .get(index + 1)
            .map_or(self.bytes.len(), |next| *next as usize);
        Some(self.bytes.slice(start..next - following))
    }
}

/// The batch that appends go to.
#[derive(Debug)]
pub(super) struct OpenBatch {
    kind: BodyKind,
    bytes: Vec<u8>,
    starts: Vec<u32>,
    /// The token of its first message.
    pub first: u64,
    /// When it goes out if nothing happens before; unknown until the first poll after its start.
    pub due: Option<Instant>,
    /// Somebody waits for it: it goes out as soon as there is room.
    pub urgent: bool,
}

impl OpenBatch {
    /// An empty one, with room for `bytes` and `items` before its memory grows.
    pub fn new(kind: BodyKind, first: u64, bytes: usize, items: usize) -> OpenBatch {
        let mut open = OpenBatch {
            kind,
            bytes: Vec::with_capacity(bytes),
            starts: Vec::with_capacity(items),
            first,
            due: None,
            urgent: false,
        };
        if kind == BodyKind::Json {
            open.bytes.push(b'[');
        }
        open
    }

    /// How many messages it holds.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// The bytes of its body, were it sealed now (of an empty one too).
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a message. The position fits in 32 bits because a batch that has reached its bound is sealed.
    #[inline]
    pub fn push(&mut self, message: &[u8]) {
        self.starts.push(self.bytes.len() as u32);
        self.bytes.extend_from_slice(message);
        if self.kind == BodyKind::Json {
            self.bytes.push(b',');
        }
    }

    /// Whether a message of `len` bytes fits below `max` bytes.
    #[inline]
    pub fn fits(&self, len: usize, max: usize) -> bool {
        let (_, following) = self.kind.framing();
        self.bytes.len().saturating_add(len + following) <= max
    }

    /// The finished body. No copy: the last separator becomes the closing bracket.
    pub fn seal(mut self) -> Body {
        if self.kind == BodyKind::Json {
            self.bytes.pop();
            self.bytes.push(b']');
        }
        Body {
            bytes: Bytes::from(self.bytes),
            starts: self.starts,
        }
    }
}

/// What is known of a batch in its epoch.
#[derive(Debug)]
pub(super) enum BatchState {
    /// Never sent in this epoch.
    Unsent,
    /// A request is out.
    InFlight,
    /// To be sent again, not before this moment.
    BackOff(Instant),
    /// Refused because those before it are not in: to be sent again when they are. (While the producer settles:
    /// whatever is not in flight any more and not acknowledged.)
    AwaitsEarlier,
    /// The server says that it has the batch, or may have it: that it is this producer's is being looked up.
    Disputed {
        /// Whether the lookup was handed out.
        looked_up: bool,
        /// The position after it, where the answer told.
        next_offset: Option<String>,
        /// Whether no request before the one that was answered can have stored it.
        sent_once: bool,
    },
    /// In the stream.
    Acknowledged {
        /// The position after it, where an answer told.
        next_offset: Option<String>,
        /// Whether the answer was for data that the server had already.
        duplicate: bool,
    },
}

/// A batch that is complete and not yet reported.
#[derive(Debug)]
pub(super) struct ProducerBatch {
    /// The token of its first message.
    pub first: u64,
    /// How many messages it has; the body is dropped before this is needed for the last time.
    pub count: u64,
    pub body: Body,
    /// Whether its request closes the stream.
    pub closes: bool,
    /// Its number in the epoch, from its first request on.
    pub seq: Option<u64>,
    pub state: BatchState,
    /// A request of this epoch went out and no answer told what became of it.
    pub outcome_unknown: bool,
    /// How many requests were made of it in this epoch.
    pub attempts: u32,
    pub retries: Schedule,
}

impl ProducerBatch {
    /// A batch that was never sent.
    pub fn new(first: u64, body: Body, closes: bool) -> ProducerBatch {
        let count = body.len() as u64;
        ProducerBatch {
            first,
            count,
            body,
            closes,
            seq: None,
            state: BatchState::Unsent,
            outcome_unknown: false,
            attempts: 0,
            retries: Schedule::default(),
        }
    }

    /// As new, for another epoch.
    pub fn renew(&mut self) {
        self.seq = None;
        self.state = BatchState::Unsent;
        self.outcome_unknown = false;
        self.attempts = 0;
        self.retries.reset();
    }

    /// Whether it is in the stream.
    pub fn acknowledged(&self) -> bool {
        matches!(self.state, BatchState::Acknowledged { .. })
    }

    /// Whether it is being looked up whose it is.
    pub fn disputed(&self) -> bool {
        matches!(self.state, BatchState::Disputed { .. })
    }

    /// Whether it waits to be sent again.
    pub fn awaits_retry(&self) -> bool {
        matches!(self.state, BatchState::BackOff(_) | BatchState::AwaitsEarlier)
    }

    /// Whether it may be in the stream although no answer said so.
    pub fn may_be_stored(&self) -> bool {
        self.outcome_unknown || matches!(self.state, BatchState::InFlight)
    }
}
