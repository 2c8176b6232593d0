//! What is appended without further ado: the one method of a producer that is called for every message.

use durable_streams_protocol::json::validate;
use magnus::encoding::EncodingCapable;
use magnus::{Error, RString, Ruby, Value};

use super::{Producer, comes_back, report_warnings};
use crate::errors::guard;

impl Producer {
    /// `take(data)` -> whether it was appended: a String that is accepted as it is. All else (other data, invalid JSON, a
    /// full buffer, a producer that is closed …) is for `append`: it is not so common that its cost counts.
    ///
    /// With `append` alone an append of 103 bytes takes 12 to 18 % more processor time (171 to 181 ns instead of 148 to
    /// 156: medians of 20 rounds, three processes by turns, two cores that others used too). The time until all is
    /// flushed does not differ.
    pub(super) fn take(ruby: &Ruby, this: &Producer, data: Value) -> Result<bool, Error> {
        let (Some(text), Some(running)) = (RString::from_value(data), this.running.get()) else {
            return Ok(false);
        };
        report_warnings(ruby)?;
        this.keep_served(ruby)?;
        guard(ruby, || {
            // SAFETY: the bytes are read while this thread holds the GVL, before any Ruby code can run.
            let message = unsafe { text.as_slice() };
            // Text in UTF-8 that is valid JSON is valid, and need not be looked at again.
            let json = this.json && text.enc_get() == ruby.utf8_encindex();
            if (this.json && validate(message).is_err()) || !(json || comes_back(ruby, text)) {
                return Ok(false);
            }
            let appended = running.append(this.message(text, message)).is_ok();
            if appended {
                this.report(ruby, running, message.len());
            }
            Ok(appended)
        })
    }
}
