//! [`Jitter`] randomizes delays.

use std::fmt;

/// A source of random numbers for delays, so that clients do not send their requests again at the same moment.
pub struct Jitter(Box<dyn FnMut() -> f64 + Send>);

impl Jitter {
    /// Takes the numbers from `random`, which returns a number from 0 to 1.
    pub fn new(random: impl FnMut() -> f64 + Send + 'static) -> Self {
        Self(Box::new(random))
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> f64 {
        (self.0)()
    }
}

impl fmt::Debug for Jitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Jitter")
    }
}
