//! [`OpenBatch`] collects messages as the bytes of a request body. [`ProducerBatch`] is a complete batch, stored until
//! it is acknowledged. [`Body::message`] returns a single message after a failure.

use std::time::Instant;

use bytes::Bytes;

use crate::retry::policy::Schedule;

/// How the messages of a batch are combined into a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// A JSON array with one element per message. A message that is an array remains one element.
    Json,
    /// The messages, concatenated.
    Bytes,
}

impl BodyKind {
    /// How many bytes precede the first message, and how many follow each message.
    fn framing(self) -> (usize, usize) {
        match self {
            Self::Json => (1, 1),
            Self::Bytes => (0, 0),
        }
    }

    /// The most bytes that a message of `len` bytes adds to the buffer.
    pub(super) fn cost(self, len: usize) -> usize {
        let (opening, following) = self.framing();
        len.saturating_add(opening + following)
    }
}

/// A request body, and where its messages start.
#[derive(Clone, Debug, Default)]
pub(super) struct Body {
    pub bytes: Bytes,
    starts: Vec<u32>,
}

impl Body {
    /// A body of one message or none.
    pub(super) fn of(kind: BodyKind, message: Option<&[u8]>) -> Self {
        let Some(message) = message else { return Self::default() };
        let mut open = OpenBatch::new(kind, 0, Vec::new(), kind.cost(message.len()), 1);
        open.push(message);
        open.seal()
    }

    /// A body of one message. Bytes are not copied; JSON is, because brackets surround it.
    pub(super) fn shared(kind: BodyKind, message: Bytes) -> Self {
        match kind {
            BodyKind::Json => Self::of(kind, Some(&message)),
            BodyKind::Bytes => Self {
                bytes: message,
                starts: vec![0],
            },
        }
    }

    /// The number of messages.
    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }

    /// The message at `index`. It shares the memory of the body.
    pub(super) fn message(&self, kind: BodyKind, index: usize) -> Option<Bytes> {
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
    /// When its linger time ends. Set by the first poll after its start.
    pub due: Option<Instant>,
    /// Whether to send it without waiting for the linger time, because a caller waits for it.
    pub urgent: bool,
}

impl OpenBatch {
    /// An empty batch with capacity for `bytes` and `items`, in the memory of `buffer`, which is empty.
    pub(super) fn new(kind: BodyKind, first: u64, mut buffer: Vec<u8>, bytes: usize, items: usize) -> Self {
        buffer.reserve(bytes);
        let mut open = Self {
            kind,
            bytes: buffer,
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

    /// The number of messages.
    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }

    /// The size of its body if it were sealed now.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a message. Its position fits in 32 bits, because a batch is sealed at `max_batch_bytes`.
    #[inline]
    pub(super) fn push(&mut self, message: &[u8]) {
        self.starts.push(self.bytes.len() as u32);
        self.bytes.extend_from_slice(message);
        if self.kind == BodyKind::Json {
            self.bytes.push(b',');
        }
    }

    /// Whether the body has at most `max` bytes after another message of `len` bytes.
    #[inline]
    pub(super) fn fits(&self, len: usize, max: usize) -> bool {
        let (_, following) = self.kind.framing();
        self.bytes.len().saturating_add(len + following) <= max
    }

    /// The complete body. Nothing is copied: the last separator becomes the closing bracket.
    pub(super) fn seal(mut self) -> Body {
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

/// The state of a batch in the current epoch.
#[derive(Debug)]
pub(super) enum BatchState {
    /// Never sent in this epoch.
    Unsent,
    /// A request is in flight.
    InFlight,
    /// Waits to be sent again, not before this time.
    BackOff(Instant),
    /// Waits to be sent again when all earlier batches are acknowledged: it was rejected because they were not stored.
    /// While the producer settles: neither in flight nor acknowledged.
    AwaitsEarlier,
    /// The server has the batch or may have it, and another producer may have stored it. A lookup decides.
    Disputed {
        /// Whether the lookup has been requested.
        looked_up: bool,
        /// The offset after it, if the response had it.
        next_offset: Option<String>,
        /// Whether no earlier request can have stored it.
        sent_once: bool,
    },
    /// In the stream.
    Acknowledged {
        /// The offset after it, if a response had it.
        next_offset: Option<String>,
        /// Whether the server had the batch already.
        duplicate: bool,
    },
}

/// A complete batch that is not reported yet.
#[derive(Debug)]
pub(super) struct ProducerBatch {
    /// The token of its first message.
    pub first: u64,
    /// The number of its messages. Needed after the body is dropped.
    pub count: u64,
    /// The size of the body. Needed after that is dropped.
    pub bytes: usize,
    pub body: Body,
    /// Whether its request closes the stream.
    pub closes: bool,
    /// Its sequence number in the epoch, assigned with the first request.
    pub seq: Option<u64>,
    pub state: BatchState,
    /// Whether a request of this epoch ended without a known outcome.
    pub outcome_unknown: bool,
    /// The number of requests for it in this epoch.
    pub attempts: u32,
    /// When its first request was made, in any epoch.
    pub first_try: Option<Instant>,
    pub retries: Schedule,
}

impl ProducerBatch {
    /// A batch that has not been sent.
    pub(super) fn new(first: u64, body: Body, closes: bool) -> Self {
        let count = body.len() as u64;
        Self {
            first,
            count,
            bytes: body.bytes.len(),
            body,
            closes,
            seq: None,
            state: BatchState::Unsent,
            outcome_unknown: false,
            attempts: 0,
            first_try: None,
            retries: Schedule::default(),
        }
    }

    /// Resets the batch for another epoch.
    pub(super) fn renew(&mut self) {
        self.seq = None;
        self.state = BatchState::Unsent;
        self.outcome_unknown = false;
        self.attempts = 0;
        self.retries.reset();
    }

    /// Whether it is in the stream.
    pub(super) fn acknowledged(&self) -> bool {
        matches!(self.state, BatchState::Acknowledged { .. })
    }

    /// Whether another producer may have stored it.
    pub(super) fn disputed(&self) -> bool {
        matches!(self.state, BatchState::Disputed { .. })
    }

    /// Whether it waits to be sent again.
    pub(super) fn awaits_retry(&self) -> bool {
        matches!(self.state, BatchState::BackOff(_) | BatchState::AwaitsEarlier)
    }

    /// Whether it may be in the stream without an acknowledgement.
    pub(super) fn may_be_stored(&self) -> bool {
        self.outcome_unknown || matches!(self.state, BatchState::InFlight)
    }
}
