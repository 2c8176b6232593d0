//! Header and parameter values: fixed strings, and value callables, which run once for every HTTP request (see
//! `ruby_calls`).

use durable_streams_protocol::target::{HeaderName, HeaderValue, Values};
use magnus::value::{Opaque, ReprValue};
use magnus::{Error, RHash, RString, Ruby, Symbol, TryConvert, Value, gc, r_hash::ForEach};

use crate::errors;
use crate::handles::GcHandle;
use crate::nested::computing;

/// The headers and parameters of a stream handle.
pub(crate) struct GivenValues {
    /// The strings.
    pub(crate) fixed: Values,
    /// The value callables, if there are any.
    pub(crate) callables: Option<Callables>,
    /// Keeps the callables alive and unmoved until a Ruby object marks them. The GC does not look for references in
    /// Rust's memory.
    pub(crate) pins: Vec<GcHandle>,
}

/// The value callables of a stream handle.
pub(crate) struct Callables {
    headers: Vec<(HeaderName, Opaque<Value>)>,
    params: Vec<(String, Opaque<Value>)>,
}

impl Callables {
    /// Marks the callables for the GC.
    pub(crate) fn mark(&self, marker: &gc::Marker) {
        for (_, value) in &self.headers {
            marker.mark(*value);
        }
        for (_, value) in &self.params {
            marker.mark(*value);
        }
    }

    /// Calls every callable once. Runs Ruby code: call it with the GVL and without any lock.
    pub(crate) fn evaluate(&self, ruby: &Ruby) -> Result<Values, Error> {
        computing(ruby, || self.call_each(ruby))
    }

    fn call_each(&self, ruby: &Ruby) -> Result<Values, Error> {
        let mut values = Values::default();
        for (name, callable) in &self.headers {
            let value: Value = ruby.get_inner(*callable).funcall("call", ())?;
            if let Some(text) = text_of(ruby, "header", name.as_str(), value, "its callable must return")? {
                values
                    .headers
                    .push((name.clone(), header_value(ruby, name.as_str(), text)?));
            }
        }
        for (name, callable) in &self.params {
            let value: Value = ruby.get_inner(*callable).funcall("call", ())?;
            if let Some(text) = text_of(ruby, "param", name, value, "its callable must return")? {
                values.params.push((name.clone(), param_value(ruby, name, text)?));
            }
        }
        Ok(values)
    }
}

/// Reads the headers and parameters that a user passed.
pub(crate) fn given(ruby: &Ruby, headers: RHash, params: RHash) -> Result<GivenValues, Error> {
    let mut fixed = Values::default();
    let mut dynamic_headers = Vec::new();
    let mut dynamic_params = Vec::new();
    let mut pins = Vec::new();
    each(headers, |name, value| {
        let name = header_name(ruby, name_of(ruby, "header", name)?)?;
        if is_callable(value) {
            pins.push(GcHandle::new(value));
            dynamic_headers.push((name, Opaque::from(value)));
        } else if let Some(text) = text_of(ruby, "header", name.as_str(), value, "its value must be")? {
            let value = header_value(ruby, name.as_str(), text)?;
            fixed.headers.push((name, value));
        }
        Ok(())
    })?;
    each(params, |name, value| {
        let name = name_of(ruby, "param", name)?;
        if is_callable(value) {
            pins.push(GcHandle::new(value));
            dynamic_params.push((name, Opaque::from(value)));
        } else if let Some(text) = text_of(ruby, "param", &name, value, "its value must be")? {
            let value = param_value(ruby, &name, text)?;
            fixed.params.push((name, value));
        }
        Ok(())
    })?;
    let callables = (!dynamic_headers.is_empty() || !dynamic_params.is_empty()).then_some(Callables {
        headers: dynamic_headers,
        params: dynamic_params,
    });
    Ok(GivenValues { fixed, callables, pins })
}

fn each(hash: RHash, mut body: impl FnMut(Value, Value) -> Result<(), Error>) -> Result<(), Error> {
    hash.foreach(|name: Value, value: Value| body(name, value).map(|()| ForEach::Continue))
}

fn is_callable(value: Value) -> bool {
    value.respond_to("call", false).unwrap_or(false)
}

fn name_of(ruby: &Ruby, what: &str, name: Value) -> Result<String, Error> {
    if RString::from_value(name).is_none() && Symbol::from_value(name).is_none() {
        let class = name.class();
        return Err(errors::argument(
            ruby,
            format!("a {what}'s name must be a String or a Symbol, got {class}"),
        ));
    }
    name.funcall("to_s", ())
}

/// A value as text; `None` for nil, which omits the header or parameter. `must` is for the message.
fn text_of(ruby: &Ruby, what: &str, name: &str, value: Value, must: &str) -> Result<Option<RString>, Error> {
    if value.is_nil() {
        return Ok(None);
    }
    if let Some(text) = RString::from_value(value) {
        return Ok(Some(text));
    }
    let plain = [
        ruby.class_symbol(),
        ruby.class_numeric(),
        ruby.class_true_class(),
        ruby.class_false_class(),
    ];
    if plain.into_iter().any(|class| value.is_kind_of(class)) {
        return RString::try_convert(value.funcall("to_s", ())?).map(Some);
    }
    let class = value.class();
    let message = format!("{what} {name}: {must} a String, a Symbol, a number, true, false or nil, got {class}");
    Err(errors::argument(ruby, message))
}

pub(crate) fn header_name(ruby: &Ruby, name: String) -> Result<HeaderName, Error> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
        errors::argument(
            ruby,
            format!("header name {name:?} has characters that cannot be sent: use letters, digits and -"),
        )
    })
}

/// The error message omits the value, which may be a secret.
pub(crate) fn header_value(ruby: &Ruby, name: &str, value: RString) -> Result<HeaderValue, Error> {
    // SAFETY: the bytes are copied before any Ruby code can run.
    let bytes = unsafe { value.as_slice() };
    HeaderValue::from_bytes(bytes).map_err(|_| {
        let hint = if bytes.ends_with(b"\n") {
            " (a newline at its end: use chomp)"
        } else {
            ""
        };
        let message = format!("header {name}: its value has a CR, LF, NUL or another control character{hint}");
        errors::argument(ruby, message)
    })
}

fn param_value(ruby: &Ruby, name: &str, value: RString) -> Result<String, Error> {
    let text = value
        .to_string()
        .map_err(|_| errors::argument(ruby, format!("param {name}: its value must be UTF-8")))?;
    match text.contains(['\r', '\n', '\0']) {
        true => Err(errors::argument(
            ruby,
            format!("param {name}: its value has a CR, LF or NUL"),
        )),
        false => Ok(text),
    }
}
