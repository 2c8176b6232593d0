//! Whether the calling fiber runs value callables or `trusted_origins`, or waits for a request that may need them. An
//! append within one must not wait for another request, since that request may be waiting for the result. Other threads
//! and fibers are not affected.

use magnus::value::LazyId;
use magnus::{Object, Ruby};

use crate::caller::current_fiber;

/// The hidden variable of a fiber that runs such code, or waits so.
static COMPUTES: LazyId = LazyId::new("__durable_streams_computes");

/// Makes the variable's name: see [`class`](crate::class).
pub(crate) fn init(ruby: &Ruby) {
    LazyId::force(&COMPUTES, ruby);
}

/// Runs `compute`, which runs such code or waits so. During it, [`is_computing`] is true.
pub(crate) fn computing<T>(ruby: &Ruby, compute: impl FnOnce() -> T) -> T {
    let name = LazyId::get_inner_with(&COMPUTES, ruby);
    // A frozen fiber accepts no variable. Its appends are not protected.
    let marked = current_fiber(ruby)
        .ok()
        .filter(|fiber| !is_computing(ruby) && fiber.ivar_set(name, true).is_ok());
    let computed = compute();
    if let Some(fiber) = marked {
        // If the fiber was frozen meanwhile, it remains marked: each of its appends has a request of its own from now
        // on.
        let _frozen = fiber.ivar_set(name, false);
    }
    computed
}

/// Whether the calling fiber is in [`computing`].
pub(crate) fn is_computing(ruby: &Ruby) -> bool {
    let name = LazyId::get_inner_with(&COMPUTES, ruby);
    // A variable that was never set is nil, which converts to false.
    current_fiber(ruby)
        .and_then(|fiber| fiber.ivar_get(name))
        .unwrap_or(false)
}
