//! Options that cross from Ruby by name: a Hash whose keys are the fields of a struct, see [`options`].

use magnus::value::ReprValue;
use magnus::{Error, RHash, Ruby, TryConvert, Value};

use crate::errors;

/// Defines a struct that a method of `DurableStreams::Native` takes as its last argument: a Hash with exactly one entry, by
/// a Symbol, for each field. A missing or unknown entry is an `ArgumentError`, as for keywords.
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
                Ok($name { $($field: $crate::options::entry(given, stringify!($field))?,)* })
            }
        }
    };
}

pub(crate) use options;

/// The Hash that was given, which has no other entries than `names`.
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
    match given.get(ruby.to_symbol(name)) {
        Some(value) => T::try_convert(value),
        None => Err(errors::argument(&ruby, format!("missing option: {name}"))),
    }
}
