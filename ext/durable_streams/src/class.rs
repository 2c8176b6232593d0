//! Defines the Ruby classes of native objects.

use magnus::{Error, Module, RClass, RModule, Ruby, TypedData};

/// Defines the class of `T`, in `DurableStreams::Native`. It has no allocator.
///
/// magnus looks the class up once, under a lock, and Ruby may stop all Ractors meanwhile, for a garbage collection. A
/// Ractor that waited for that lock would never stop. So the class is looked up here, and every `LazyId` is forced in
/// Init too.
pub(crate) fn define<T: TypedData>(ruby: &Ruby, native: RModule, name: &str) -> Result<RClass, Error> {
    native.define_class(name, ruby.class_object())?;
    Ok(T::class(ruby))
}
