//! Options that cross the bridge by name: a Ruby Hash becomes a Rust struct, see [`options`].

use magnus::value::ReprValue;
use magnus::{Error, RHash, Ruby, TryConvert, Value};

use crate::errors;

/// Defines a struct that a method of `DurableStreams::Native` takes as its last argument. Ruby passes a Hash that has
/// exactly one entry, with a Symbol as key, for each field. A missing or unknown entry raises `ArgumentError`, as for
/// keywords.
macro_rules! options {
    (
        $(#[$meta:meta])*
        pub(crate) struct $name:ident { $($(#[$about:meta])* $field:ident: $type:ty,)* }
    ) => {
        $(#[$meta])*
        pub(crate) struct $name { $($(#[$about])* pub(crate) $field: $type,)* }

        impl magnus::TryConvert for $name {
            fn try_convert(value: magnus::Value) -> Result<$name, magnus::Error> {
                let given = $crate::options::given(value, &[$(stringify!($field)),*])?;
                Ok($name {
                    $($field: $crate::options::entry(given, stringify!($field))?,)*
                })
            }
        }
    };
}

pub(crate) use options;

/// The Hash that Ruby passed. Raises `ArgumentError` if it has more entries than `names`.
pub(crate) fn given(value: Value, names: &[&str]) -> Result<RHash, Error> {
    let ruby = Ruby::get_with(value);
    let given = RHash::try_convert(value)?;
    if given.len() > names.len() {
        let message = format!(
            "unknown option in {}: known are {}",
            given.funcall::<_, _, Value>("keys", ())?,
            names.join(", ")
        );
        return Err(errors::argument(&ruby, message));
    }
    Ok(given)
}

/// The entry of that name.
pub(crate) fn entry<T: TryConvert>(given: RHash, name: &str) -> Result<T, Error> {
    let ruby = Ruby::get_with(given);
    match given.get(ruby.intern(name)) {
        Some(value) => T::try_convert(value),
        None => Err(errors::argument(&ruby, format!("missing option: {name}"))),
    }
}
