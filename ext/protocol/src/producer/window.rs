//! How many requests may be out at a time: as many as allowed where requests arrive in the order in which they were
//! sent, fewer where they overtake one another. One that was overtaken is refused and has to be sent again alone, so that
//! many requests at a time are then slower than few.

/// How many answers without an overtaking make the window grow by one.
const CALM: u32 = 16;

/// The number of requests that may be out.
#[derive(Debug)]
pub(super) struct Window {
    size: usize,
    max: usize,
    /// Answers since the last overtaking or growth.
    calm: u32,
    /// Batches before this position were sent before the window was last made smaller: they say nothing about its size.
    since: u64,
}

impl Window {
    pub fn new(max: usize) -> Window {
        Window {
            size: max,
            max,
            calm: 0,
            since: 0,
        }
    }

    pub fn size(&self) -> usize {
        self.size
    }

    /// A batch was accepted.
    pub fn passed(&mut self) {
        self.calm += 1;
        if self.calm >= CALM {
            self.calm = 0;
            self.size = self.max.min(self.size + 1);
        }
    }

    /// The batch at `number` was overtaken; the next new one is at `unsent`.
    pub fn overtaken(&mut self, position: u64, unsent: u64) {
        self.calm = 0;
        if position >= self.since {
            self.since = unsent;
            self.size = (self.size / 2).max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_halves_once_for_all_that_was_out_and_grows_back_slowly() {
        let mut window = Window::new(5);
        for position in 2..5 {
            window.overtaken(position, 5);
        }
        assert_eq!(window.size(), 2);
        window.overtaken(5, 7);
        window.overtaken(7, 8);
        assert_eq!(window.size(), 1);
        for _ in 0..CALM * 10 {
            window.passed();
        }
        assert_eq!(window.size(), 5);
    }
}
