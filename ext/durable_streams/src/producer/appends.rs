//! The fast path of appends: the only method of a producer that is called for every message.

use durable_streams_protocol::json::validate;
use magnus::encoding::EncodingCapable;
use magnus::rb_sys::AsRawValue;
use magnus::{Error, RString, Ruby, Value};
use rb_sys::{StableApiDefinition, stable_api};

use super::Producer;
use super::originals::equals_its_bytes;
use crate::errors::guard;
use crate::log::write_log;

impl Producer {
    /// `take(data)` -> whether it was appended. It appends a String that needs no conversion and no waiting. Returns
    /// false for everything else (other data, invalid JSON, a full buffer, a closed producer …). The caller then uses
    /// `append`.
    ///
    /// With `append` alone an append of 103 bytes takes 12 to 18 % more processor time (171 to 181 ns instead of 148 to
    /// 156: medians of 20 rounds, three alternating processes, two cores that others used too). The time until
    /// everything is flushed does not differ.
    pub(super) fn take(ruby: &Ruby, receiver: Value, data: Value) -> Result<bool, Error> {
        // SAFETY: Ruby calls this method on instances of its class only, since it is defined in no other one.
        let this = unsafe { Self::of(&receiver) };
        let (Some(text), Some(running)) = (RString::from_value(data), this.running.get()) else {
            return Ok(false);
        };
        write_log(ruby)?;
        this.keep_served(ruby)?;
        guard(ruby, || {
            // SAFETY: the bytes are read while this thread holds the GVL, before any Ruby code can run.
            let message = unsafe { text.as_slice() };
            // Valid JSON is valid UTF-8: no second check is needed.
            let json = this.json && text.enc_get() == ruby.utf8_encindex();
            if (this.json && validate(message).is_err()) || !(json || equals_its_bytes(ruby, text)) {
                return Ok(false);
            }
            let appended = running.append(this.message(text, message)).is_ok();
            if appended {
                this.report(ruby, running, message.len());
            }
            Ok(appended)
        })
    }

    /// The producer of a Ruby object. magnus's conversion raises for other objects, and so has to call `rb_protect`.
    /// That is a tenth of an append's instructions (212 of 2,240 for a message of 103 bytes, Ruby's call included).
    ///
    /// # Safety
    ///
    /// The object must be a `DurableStreams::Native::Producer`. The class has no allocator, so each instance has a
    /// producer.
    unsafe fn of(object: &Value) -> &Self {
        let api = stable_api::get_default();
        // SAFETY: the caller guarantees the class. The Ruby object owns the producer, and is alive while it is
        // borrowed.
        unsafe { &*api.rtypeddata_get_data(object.as_raw()).cast::<Self>() }
    }
}
