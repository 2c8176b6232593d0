//! Lines for the library's log that come from the runtime's threads, which cannot call Ruby. They wait here for a Ruby
//! thread that writes them.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};

use durable_streams_protocol::error::Operation;
use durable_streams_protocol::retry::outage::OutageEvent;
use futures_util::future::{Either, select};
use tokio::sync::Notify;

use crate::fork::ProcessLocal;
use crate::lock::Mutex;

static LOG: ProcessLocal<Log> = ProcessLocal::new();

#[derive(Default)]
struct Log {
    lines: Mutex<VecDeque<LogLine>>,
    added: Notify,
}

/// The severity of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// For information.
    Info,
    /// A warning.
    Warn,
}

/// A line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Its severity.
    pub severity: Severity,
    /// Its text.
    pub text: String,
}

impl LogLine {
    /// A warning.
    pub(crate) fn warning(text: String) -> Self {
        Self {
            severity: Severity::Warn,
            text,
        }
    }

    /// The line for the beginning or the end of an outage of `operation` on the stream at `url`.
    pub fn outage(operation: Operation, url: &str, event: OutageEvent) -> Self {
        match event {
            OutageEvent::Began { reason } => {
                Self::warning(format!("outage: {operation} {url}: {reason}. Trying again"))
            }
            OutageEvent::Ended {
                failed_tries, duration, ..
            } => Self {
                severity: Severity::Info,
                text: format!(
                    "outage over: {operation} {url} succeeded again after {failed_tries} failed {} in {:.1} s",
                    if failed_tries == 1 { "try" } else { "tries" },
                    duration.as_secs_f64()
                ),
            },
        }
    }
}

/// Whether there are lines. Changed under the lock of `Log::lines` alone.
static HAS_LINES: AtomicBool = AtomicBool::new(false);

/// Adds a line.
pub fn add(line: LogLine) {
    let log = LOG.get_or_make(Log::default);
    let mut lines = log.lines.lock();
    lines.push_back(line);
    HAS_LINES.store(true, Ordering::Relaxed);
    drop(lines);
    log.added.notify_waiters();
}

/// Whether [`next_line`] has one. Every append calls it, so it is only an atomic load. In a forked child it may return
/// the parent's value.
#[inline]
pub fn has_lines() -> bool {
    HAS_LINES.load(Ordering::Relaxed)
}

/// Takes the oldest line of this process.
pub fn next_line() -> Option<LogLine> {
    // A forked child may have only the parent's `HAS_LINES`. It is reset under the lock of the child's own log, so that
    // it cannot hide a line that another thread adds at the same time.
    let log = LOG.get_or_make(Log::default);
    let mut lines = log.lines.lock();
    let next = lines.pop_front();
    HAS_LINES.store(!lines.is_empty(), Ordering::Relaxed);
    next
}

/// Waits for `future`. Gives it back, as the error, when there is a line to write.
///
/// # Errors
/// The future, which is not ready.
pub async fn unless_line_added<F: Future + Unpin>(future: F) -> Result<F::Output, F> {
    match select(future, pin!(line_added())).await {
        Either::Left((outcome, _)) => Ok(outcome),
        Either::Right(((), future)) => Err(future),
    }
}

async fn line_added() {
    let log = LOG.get_or_make(Log::default);
    let mut added = pin!(log.added.notified());
    added.as_mut().enable();
    if !has_lines() {
        added.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_wakes_those_who_wait_for_it() {
        let waiting = tokio::spawn(line_added());
        tokio::task::yield_now().await;
        add(LogLine::warning("w".to_owned()));
        waiting.await.unwrap();
        line_added().await;
        assert!(has_lines());
        assert_eq!(next_line().map(|line| line.text), Some("w".to_owned()));
        assert_eq!(next_line(), None);
        assert!(!has_lines());
    }
}
