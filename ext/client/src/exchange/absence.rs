//! The time that a request's waiter spends elsewhere, which does not count towards the request's time limits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::lock::Mutex;

/// What whoever carries out work turns to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Something else: the work does not move meanwhile.
    Away,
    /// The work again.
    Back,
}

/// How long whoever carries out a piece of work was away from it: whatever came meanwhile, nobody could hear it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Absence(Arc<Mutex<Away>>);

#[derive(Debug, Default)]
struct Away {
    since: Option<Instant>,
    before: Duration,
}

impl Absence {
    /// Notes that he turns away or is back.
    pub(crate) fn note(&self, turn: Turn) {
        let away = &mut *self.0.lock();
        match turn {
            Turn::Away => away.since = Some(Instant::now()),
            Turn::Back => away.before += away.since.take().map_or(Duration::ZERO, |since| since.elapsed()),
        }
    }

    /// All absences that are over.
    pub(crate) fn so_far(&self) -> Duration {
        self.0.lock().before
    }
}
