//! The originals of a producer's messages: what was passed to `append`, if the message's bytes do not give it back.
//! `undelivered` returns them. An original is dropped by a flush, or by some append after its message was acknowledged.

use std::cell::Cell;

use durable_streams_client::producer::Producer as CoreProducer;
use magnus::encoding::{Coderange, EncodingCapable};
use magnus::r_hash::ForEach;
use magnus::rb_sys::AsRawValue;
use magnus::value::{Opaque, ReprValue};
use magnus::{Error, RHash, RString, Ruby, Value, gc};

/// After how many new originals an append drops the acknowledged ones. A flush does so too.
const SWEEP_EVERY: usize = 1_024;

/// The originals of one producer, by token: a `DurableStreams::Originals`, with its sweeping.
pub(super) struct Originals {
    /// Also has `undelivered` after a failure, see `producer_error`.
    hash: Opaque<RHash>,
    /// With this many originals, an append drops those of acknowledged messages.
    sweep_at: Cell<usize>,
}

impl Originals {
    /// Stores originals in `hash`.
    pub(super) fn new(hash: RHash) -> Self {
        Self {
            hash: hash.into(),
            sweep_at: Cell::new(SWEEP_EVERY),
        }
    }

    /// Marks the Hash for the GC.
    pub(super) fn mark(&self, marker: &gc::Marker) {
        marker.mark(self.hash);
    }

    /// The Hash.
    pub(super) fn hash(&self, ruby: &Ruby) -> RHash {
        ruby.get_inner(self.hash)
    }

    /// Stores the original of a message that `running` has accepted, unless its bytes give it back. No other Ruby code
    /// runs between the append and this.
    pub(super) fn store(
        &self,
        ruby: &Ruby,
        running: &CoreProducer,
        token: u64,
        text: RString,
        original: Value,
    ) -> Result<(), Error> {
        let original = if original.as_raw() != text.as_raw() {
            original
        } else if equals_its_bytes(ruby, text) {
            return Ok(());
        } else {
            RString::new_frozen(text).as_value()
        };
        let hash = self.hash(ruby);
        hash.aset(token, original)?;
        if hash.len() >= self.sweep_at.get() {
            self.sweep(ruby, running)?;
        }
        Ok(())
    }

    /// Drops the originals of acknowledged messages. They are the oldest, so this visits only one more than it drops.
    pub(super) fn sweep(&self, ruby: &Ruby, running: &CoreProducer) -> Result<(), Error> {
        let hash = self.hash(ruby);
        let delivered = running.delivered();
        hash.foreach(|token: u64, _: Value| {
            Ok(if token < delivered {
                ForEach::Delete
            } else {
                ForEach::Stop
            })
        })?;
        self.sweep_at.set(hash.len() + SWEEP_EVERY);
        Ok(())
    }
}

/// Whether `text` equals the String that an exception makes of its bytes: UTF-8 if they are valid UTF-8, else binary.
pub(super) fn equals_its_bytes(ruby: &Ruby, text: RString) -> bool {
    let encoding = text.enc_get();
    match text.enc_coderange_scan() {
        Coderange::SevenBit => true,
        Coderange::Valid if encoding == ruby.utf8_encindex() => true,
        // SAFETY: the bytes are read while this thread holds the GVL, before any Ruby code can run.
        _ => encoding == ruby.ascii8bit_encindex() && std::str::from_utf8(unsafe { text.as_slice() }).is_err(),
    }
}
