//! A server that follows the protocol, with one stream and one producer id.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;

use crate::producer::tests::SimulatedResponse;
use crate::producer::{BodyKind, SearchResult, WantedBatch};

/// The sender of a request: the index of a simulated producer, `EARLIER` or `RIVAL`.
pub(super) type Owner = usize;

/// An earlier run under the same id.
pub(super) const EARLIER: Owner = usize::MAX - 1;

/// The scripted rival, which claims epochs.
pub(super) const RIVAL: Owner = usize::MAX;

#[derive(Default)]
pub(super) struct ProducerServer {
    /// The current epoch and its last sequence number.
    pub state: Option<(u64, u64)>,
    /// Whether the current epoch is closed, as after a recovery of the server: requests get a 403 with this epoch.
    pub epoch_closed: bool,
    /// Whether the server knows only the offset of the newest write: the response to an older duplicate has none.
    pub forgets_receipts: bool,
    /// The epoch and sequence number that closed the stream. `Some(None)` if another writer closed it.
    pub closed: Option<Option<(u64, u64)>>,
    pub gone: bool,
    /// How often the server has forgotten the producer.
    pub forgotten: u64,
    /// How often a gateway has responded.
    pub gateway: u64,
    /// What the stream had before it was deleted and created again.
    pub deleted: Vec<Vec<(Owner, Bytes)>>,
    pub max_body: usize,
    /// Whether responses to duplicates have an offset and the last sequence number.
    pub offset_on_duplicate: bool,
    pub log: Vec<(Owner, Bytes)>,
    pub bodies: HashMap<(Owner, u64, u64), Bytes>,
}

impl ProducerServer {
    fn response(status: u16) -> SimulatedResponse {
        SimulatedResponse {
            status,
            ..SimulatedResponse::default()
        }
    }

    fn offset(&self) -> String {
        self.log.len().to_string()
    }

    /// Processes one request and returns its response.
    pub(super) fn post(&mut self, owner: Owner, epoch: u64, seq: u64, body: &Bytes, closes: bool) -> SimulatedResponse {
        if owner < EARLIER {
            let known = self.bodies.entry((owner, epoch, seq)).or_insert_with(|| body.clone());
            assert_eq!(
                known, body,
                "epoch {epoch} number {seq} was sent with other bytes before"
            );
        }
        if self.gone {
            return Self::response(410);
        }
        if let Some(by) = self.closed {
            let response = SimulatedResponse {
                stream_closed: true,
                next_offset: Some(self.offset()),
                ..SimulatedResponse::default()
            };
            let status = if by == Some((epoch, seq)) { 204 } else { 409 };
            return SimulatedResponse { status, ..response };
        }
        if body.len() > self.max_body {
            return Self::response(413);
        }
        assert!(closes || !body.is_empty(), "a request without data");
        let (status, expected) = match self.state {
            None if seq > 0 => (409, Some(0)),
            Some((current, _)) if epoch < current || (epoch == current && self.epoch_closed) => {
                return SimulatedResponse {
                    producer_epoch: Some(current),
                    ..Self::response(403)
                };
            }
            Some((current, _)) if epoch > current && seq > 0 => return Self::response(400),
            Some((current, last)) if epoch == current && seq <= last => (204, None),
            Some((current, last)) if epoch == current && seq > last + 1 => (409, Some(last + 1)),
            _ => (200, None),
        };
        if expected.is_some() {
            return SimulatedResponse {
                expected_seq: expected,
                received_seq: Some(seq),
                ..Self::response(status)
            };
        }
        if status == 200 {
            self.epoch_closed &= self.state.is_some_and(|(current, _)| current == epoch);
            self.state = Some((epoch, seq));
            self.log.push((owner, body.clone()));
            if closes {
                self.closed = Some(Some((epoch, seq)));
            }
        }
        let forgotten = self.forgets_receipts && self.state.is_some_and(|(_, last)| seq < last);
        SimulatedResponse {
            // As in the reference server: closing without data is always 204.
            status: if body.is_empty() { 204 } else { status },
            producer_epoch: Some(epoch),
            producer_seq: self
                .state
                .map(|(_, last)| last)
                .filter(|_| self.offset_on_duplicate || forgotten || status == 200),
            next_offset: (status == 200 || (self.offset_on_duplicate && !forgotten)).then(|| self.offset()),
            // As in the reference server: set even for a duplicate that closed nothing.
            stream_closed: closes,
            ..SimulatedResponse::default()
        }
    }

    /// Forgets the producers, and the data too if the stream is deleted and created again.
    pub(super) fn forget(&mut self, data: bool) {
        self.forgotten += 1;
        self.state = None;
        self.epoch_closed = false;
        self.closed = self.closed.map(|_| None);
        if data {
            self.closed = None;
            self.deleted.push(std::mem::take(&mut self.log));
        }
    }

    /// The tail in a response to HEAD: the number of stored batches.
    pub(super) fn tail(&self) -> Option<String> {
        (!self.gone).then(|| self.offset())
    }

    /// Reads from an offset, in pieces of this many bytes or items, and looks for a batch.
    pub(super) fn look_for(&self, wanted: &WantedBatch, from: &str, pieces: usize) -> SearchResult {
        let from: usize = from.parse().expect("an offset of this server's");
        let Some(log) = self.log.get(from..) else {
            return SearchResult::Unknown;
        };
        let mut search = wanted.search();
        let stored = log.iter().map(|(_, body)| body).filter(|body| !body.is_empty());
        match wanted.kind {
            BodyKind::Bytes => {
                let all = stored.fold(Vec::new(), |all, body| [&all, &body[..]].concat());
                all.chunks(pieces)
                    .for_each(|piece| search.bytes(&Bytes::copy_from_slice(piece)));
            }
            BodyKind::Json => {
                let items: Vec<_> = stored.flat_map(|body| elements(body)).collect();
                for piece in items.chunks(pieces) {
                    search.items(&Bytes::from(piece.join(&b", "[..]))).expect("JSON");
                }
            }
        }
        search.found(self.closed.is_some())
    }

    /// The response of a server that did not process the request.
    pub(super) fn overloaded(status: u16, retry_after: Option<Duration>) -> SimulatedResponse {
        SimulatedResponse {
            retry_after,
            ..Self::response(status)
        }
    }
}

/// The unchanged texts of a JSON array's elements. Its strings must have neither brackets nor commas.
pub(super) fn elements(body: &[u8]) -> Vec<Vec<u8>> {
    assert!(body.starts_with(b"[") && body.ends_with(b"]"));
    let mut depth = 0;
    let inner = &body[1..body.len() - 1];
    inner
        .split(|byte| {
            match byte {
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth -= 1,
                _ => {}
            }
            *byte == b',' && depth == 0
        })
        .map(<[u8]>::to_vec)
        .collect()
}
