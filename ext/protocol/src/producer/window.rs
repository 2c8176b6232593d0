//! Limits the requests in flight. While requests arrive in the order in which they were sent, the limit is
//! `max_in_flight`. When one overtakes another, the server rejects the later one, and it has to be sent again alone.
//! Then fewer requests in flight are faster, so the limit shrinks.

/// After this many responses without overtaking, the window grows by one.
const GROW_AFTER: u32 = 16;

/// The number of requests that may be in flight.
#[derive(Debug)]
pub(super) struct Window {
    size: usize,
    max: usize,
    /// Responses since the last overtaking or growth.
    in_order: u32,
    /// Batches before this position were sent before the window last shrank, so they say nothing about its new size.
    since: u64,
}

impl Window {
    pub(super) fn new(max: usize) -> Self {
        Self {
            size: max,
            max,
            in_order: 0,
            since: 0,
        }
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// A batch was accepted.
    pub(super) fn accepted(&mut self) {
        self.in_order += 1;
        if self.in_order >= GROW_AFTER {
            self.in_order = 0;
            self.size = self.max.min(self.size + 1);
        }
    }

    /// The batch at `position` was overtaken. The next unsent batch is at `unsent`.
    pub(super) fn overtaken(&mut self, position: u64, unsent: u64) {
        self.in_order = 0;
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
    fn it_halves_once_for_the_requests_in_flight_and_grows_back_slowly() {
        let mut window = Window::new(5);
        for position in 2..5 {
            window.overtaken(position, 5);
        }
        assert_eq!(window.size(), 2);
        window.overtaken(5, 7);
        window.overtaken(7, 8);
        assert_eq!(window.size(), 1);
        for _ in 0..GROW_AFTER * 10 {
            window.accepted();
        }
        assert_eq!(window.size(), 5);
    }
}
