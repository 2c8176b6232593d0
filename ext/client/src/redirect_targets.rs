//! Where redirects have led the writes of a client's streams, so that the next write need not be redirected again.
//!
//! Plain data of one process: a forked child begins with none.

use std::collections::HashMap;

use reqwest::Url;

use crate::fork::ProcessLocal;
use crate::lock::Mutex;

/// A client remembers at most this many targets.
const MAX_TARGETS: usize = 10_000;

/// Where a write was redirected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RedirectTarget {
    /// As the server gave it.
    pub(crate) url: Url,
    /// Whether the user's headers may go there.
    pub(crate) is_trusted: bool,
}

/// The targets of one client's writes, by the URL that the write was for.
#[derive(Default)]
pub(crate) struct RedirectTargets(ProcessLocal<Mutex<HashMap<Url, RedirectTarget>>>);

impl std::fmt::Debug for RedirectTargets {
    /// Leaves out the URLs: they may have secrets in their parameters.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RedirectTargets")
    }
}

impl RedirectTargets {
    /// Where a write for `url` was redirected to.
    pub(crate) fn get(&self, url: &Url) -> Option<RedirectTarget> {
        self.0.get()?.lock().get(url).cloned()
    }

    /// The next write for `url` goes to `target`.
    pub(crate) fn remember(&self, url: Url, target: RedirectTarget) {
        let targets = self.0.get_or_make(Mutex::default);
        let mut targets = targets.lock();
        if targets.len() >= MAX_TARGETS
            && !targets.contains_key(&url)
            && let Some(any) = targets.keys().next().cloned()
        {
            // Forgetting one costs its next write a redirect, whichever it is.
            targets.remove(&any);
        }
        targets.insert(url, target);
    }

    /// The next write for `url` goes to `url`.
    pub(crate) fn forget(&self, url: &Url) {
        if let Some(targets) = self.0.get() {
            targets.lock().remove(url);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(n: usize) -> Url {
        Url::parse(&format!("http://h/{n}")).unwrap()
    }

    #[test]
    fn remembers_a_bounded_number_of_targets() {
        let targets = RedirectTargets::default();
        let target = RedirectTarget {
            url: url(0),
            is_trusted: true,
        };
        for n in 0..=MAX_TARGETS {
            targets.remember(url(n), target.clone());
        }
        let known = (0..=MAX_TARGETS).filter(|n| targets.get(&url(*n)).is_some()).count();
        assert_eq!(known, MAX_TARGETS);
        assert_eq!(targets.get(&url(MAX_TARGETS)), Some(target));
        targets.forget(&url(MAX_TARGETS));
        assert_eq!(targets.get(&url(MAX_TARGETS)), None);
    }
}
