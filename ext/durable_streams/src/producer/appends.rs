//! `DurableStreams::Native::Appends`: the methods of `DurableStreams::Producer` that are called for every message. What is
//! accepted without further ado is done here, with no Ruby in between; all else is for that class.

use durable_streams_client::producer::Producer as CoreProducer;
use durable_streams_protocol::json::validate;
use magnus::encoding::EncodingCapable;
use magnus::rb_sys::{AsRawId, AsRawValue, FromRawValue};
use magnus::value::{LazyId, ReprValue};
use magnus::{Error, Module, RModule, RString, Ruby, TypedData, Value, method};

use super::{Producer, comes_back};
use crate::errors::guard;

/// Where `DurableStreams::Producer` has the native one.
static NATIVE: LazyId = LazyId::new("@native");
/// Its private method that takes what is not accepted here.
static APPEND_OTHER: LazyId = LazyId::new("append_other");

/// `append(data)` -> nil.
fn append(ruby: &Ruby, this: Value, data: Value) -> Result<(), Error> {
    if !accepted(ruby, this, data)? {
        let _nil: Value = this.funcall(*APPEND_OTHER, (data,))?;
    }
    Ok(())
}

/// `<<(data)` -> self.
fn append_and_go_on(ruby: &Ruby, this: Value, data: Value) -> Result<Value, Error> {
    append(ruby, this, data)?;
    Ok(this)
}

/// Whether it was appended: a String that is accepted as it is. All else (other data, invalid JSON, a full buffer, a
/// producer that is closed …) is not so common that its cost counts.
fn accepted(ruby: &Ruby, this: Value, data: Value) -> Result<bool, Error> {
    let variable = LazyId::get_inner_with(&NATIVE, ruby).as_raw();
    // SAFETY: called from native methods: a Ruby thread with the GVL. It answers nil where there is no such variable, and
    // raises for classes and modules alone, which `this` is not: those do not include the module.
    let native = unsafe { Value::from_raw(rb_sys::rb_ivar_get(this.as_raw(), variable)) };
    let Some(producer) = producer(&native) else {
        return Ok(false);
    };
    let (Some(text), Some(running)) = (RString::from_value(data), producer.running.get()) else {
        return Ok(false);
    };
    producer.keep_served(ruby)?;
    guard(ruby, || Ok(take(ruby, producer, running, text)))
}

fn take(ruby: &Ruby, producer: &Producer, running: &CoreProducer, text: RString) -> bool {
    // SAFETY: the bytes are read while this thread holds the GVL, before any Ruby code can run.
    let message = unsafe { text.as_slice() };
    // Text in UTF-8 that is valid JSON is valid, and need not be looked at again.
    let json = producer.json && text.enc_get() == ruby.utf8_encindex();
    if (producer.json && validate(message).is_err()) || !(json || comes_back(ruby, text)) {
        return false;
    }
    if running.append(producer.message(text, message)).is_err() {
        return false;
    }
    producer.report(ruby, running, message.len());
    true
}

/// The native producer that a Ruby object is, in a few instructions: magnus's conversion sets up for an exception first.
fn producer(object: &Value) -> Option<&Producer> {
    let data_type = std::ptr::from_ref(<Producer as TypedData>::data_type()).cast::<rb_sys::rb_data_type_t>();
    let object = object.as_raw();
    // SAFETY: called from native methods: a Ruby thread with the GVL; none of these calls Ruby code or raises. magnus's
    // DataType is nothing but a rb_data_type_t (repr(transparent)). An object of that type holds what `wrap` has put there, a
    // Producer that lives as long as the object, which is borrowed: whose instance variable it is keeps it.
    unsafe {
        let is_one = rb_sys::RB_TYPE_P(object, rb_sys::RUBY_T_DATA)
            && rb_sys::RTYPEDDATA_P(object)
            && rb_sys::RTYPEDDATA_TYPE(object) == data_type;
        is_one.then(|| rb_sys::RTYPEDDATA_GET_DATA(object).cast::<Producer>().as_ref())?
    }
}

/// Defines the module.
pub(super) fn init(native: RModule) -> Result<(), Error> {
    let appends = native.define_module("Appends")?;
    appends.define_method("append", method!(append, 1))?;
    appends.define_method("<<", method!(append_and_go_on, 1))
}
