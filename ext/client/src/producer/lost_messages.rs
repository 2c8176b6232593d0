//! Messages that were accepted, did not reach their stream, and of which the producer's owner got no error.

use crate::fork::ProcessLocal;
use crate::lock::Mutex;

/// The lost messages of one producer, or of several dropped ones with the same stream and reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostMessages {
    /// The stream's URL, without credentials.
    pub url: String,
    /// How many messages.
    pub count: u64,
    /// Why the producer has failed; `None` if it only ran out of time.
    pub reason: Option<String>,
}

/// The lost messages of dropped producers: one entry for each stream and reason.
static RECORDED: ProcessLocal<Mutex<Vec<LostMessages>>> = ProcessLocal::new();

/// Records the lost messages of a producer that is dropped.
pub(super) fn record(lost: LostMessages) {
    let recorded = RECORDED.get_or_make(Mutex::default);
    let mut recorded = recorded.lock();
    match recorded
        .iter_mut()
        .find(|known| known.url == lost.url && known.reason == lost.reason)
    {
        Some(known) => known.count += lost.count,
        None => recorded.push(lost),
    }
}

/// Takes what was recorded.
pub(super) fn take_recorded() -> Vec<LostMessages> {
    RECORDED
        .get()
        .map_or_else(Vec::new, |recorded| std::mem::take(&mut *recorded.lock()))
}
