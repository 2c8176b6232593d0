//! The originals of a producer's messages: what was passed to `append`, if the message's bytes do not give it back.
//! `undelivered` returns them. An original is dropped by a flush, or by some append after its message was acknowledged.

use durable_streams_client::producer::Producer as CoreProducer;
use magnus::encoding::{Coderange, EncodingCapable};
use magnus::r_hash::ForEach;
use magnus::rb_sys::AsRawValue;
use magnus::value::ReprValue;
use magnus::{Error, RString, Ruby, Value};

use super::Producer;

/// After how many new originals an append drops the acknowledged ones. A flush does so too.
pub(super) const SWEEP_EVERY: usize = 1_024;

impl Producer {
    /// Stores the original of a message, unless its bytes give it back. No other Ruby code runs between the append and this.
    pub(super) fn store_original(&self, ruby: &Ruby, token: u64, text: RString, original: Value) -> Result<(), Error> {
        let original = if original.as_raw() != text.as_raw() {
            original
        } else if equals_its_bytes(ruby, text) {
            return Ok(());
        } else {
            RString::new_frozen(text).as_value()
        };
        let originals = ruby.get_inner(self.originals);
        originals.aset(token, original)?;
        if originals.len() >= self.sweep_at.get() {
            self.sweep(ruby, self.running(ruby)?)?;
        }
        Ok(())
    }

    /// Drops the originals of acknowledged messages. They are the oldest, so this visits only one more than it drops.
    pub(super) fn sweep(&self, ruby: &Ruby, running: &CoreProducer) -> Result<(), Error> {
        let originals = ruby.get_inner(self.originals);
        let delivered = running.delivered();
        originals.foreach(|token: u64, _: Value| {
            Ok(if token < delivered {
                ForEach::Delete
            } else {
                ForEach::Stop
            })
        })?;
        self.sweep_at.set(originals.len() + SWEEP_EVERY);
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
