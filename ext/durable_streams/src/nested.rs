//! Whether the calling fiber computes values for a request: what it appends meanwhile must wait for no other request,
//! since that one may wait for the values. Other threads and fibers are not concerned.

use magnus::value::LazyId;
use magnus::{Object, Ruby};

/// The hidden variable of a fiber that computes values.
static COMPUTES: LazyId = LazyId::new("__durable_streams_computes");

/// Runs `compute`, which runs value callables. Within it, [`is_computing`].
pub(crate) fn computing<T>(ruby: &Ruby, compute: impl FnOnce() -> T) -> T {
    let fiber = ruby.fiber_current();
    let name = LazyId::get_inner_with(&COMPUTES, ruby);
    let already = is_computing(ruby);
    // A frozen fiber takes no variable. It does without.
    let marked = !already && fiber.ivar_set(name, true).is_ok();
    let computed = compute();
    if marked {
        // Frozen meanwhile, it keeps the mark: all its appends go by themselves from now on.
        let _kept = fiber.ivar_set(name, false);
    }
    computed
}

/// Whether the caller is a value callable.
pub(crate) fn is_computing(ruby: &Ruby) -> bool {
    let name = LazyId::get_inner_with(&COMPUTES, ruby);
    // A variable that was never set is nil, which is false.
    ruby.fiber_current().ivar_get(name).unwrap_or(false)
}
