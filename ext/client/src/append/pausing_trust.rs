//! Lets another leader send while the application decides whether it trusts an origin.

use std::sync::Arc;

use crate::endpoint::{OriginTrust, TrustFuture};

/// The application's decision, with `pause` called before it and `resume` after it.
pub(super) struct PausingTrust<P, R> {
    pub(super) trust: Arc<dyn OriginTrust>,
    pub(super) pause: P,
    pub(super) resume: R,
}

impl<P, R> OriginTrust for PausingTrust<P, R>
where
    P: Fn() + Send + Sync,
    R: Fn() + Clone + Send + Sync + 'static,
{
    fn trusts(&self, origin: &str) -> TrustFuture {
        (self.pause)();
        let (trusts, resume) = (self.trust.trusts(origin), self.resume.clone());
        Box::pin(async move {
            let trusts = trusts.await;
            resume();
            trusts
        })
    }
}
