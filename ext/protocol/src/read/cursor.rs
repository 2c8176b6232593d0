//! Where a read stands and what it does next: a state machine that sees answers and never a socket or a clock.
//!
//! Only a whole answer (or an SSE control event) moves the position; what was handed out of an unfinished one is
//! counted in `skip`, so that it is left out when that answer is read again.

use std::time::Duration;

use http::StatusCode;
use http::header::HeaderMap;

use crate::protocol::{self, Media, NOW, PositionError, START, flag, text};

/// How a read goes on once it has caught up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Live {
    /// It ends.
    Off,
    /// By long-poll.
    LongPoll,
    /// By server-sent events, from the first request on.
    Sse,
    /// By server-sent events where the content type allows it, else by long-poll.
    Auto,
}

/// A place in a stream from which a read neither misses nor repeats anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// From the server, or `-1`, or `now`.
    pub offset: String,
    /// The last cursor the server gave.
    pub cursor: Option<String>,
    /// How many items (or bytes) after `offset` were handed out already.
    pub skip: u64,
}

impl Position {
    /// A position; an empty offset is the start.
    pub fn new(offset: &str, cursor: Option<String>) -> Position {
        let offset = if offset.is_empty() { START } else { offset };
        Position {
            offset: offset.to_owned(),
            cursor,
            skip: 0,
        }
    }
}

/// What the end of an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Where the next read starts.
    pub next_offset: String,
    /// The cursor to hand back.
    pub cursor: Option<String>,
    /// Whether nothing more exists right now.
    pub up_to_date: bool,
    /// Whether this is the end of a closed stream.
    pub closed: bool,
    /// The answer's status.
    pub status: u16,
    /// How many items (or bytes) after `next_offset` were handed out already: an answer that was read again may end
    /// before what was handed out of it the first time.
    pub skip: u64,
}

/// How the next request asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// What there is.
    CatchUp,
    /// Waits for more.
    LongPoll,
    /// Events.
    Sse,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadStep {
    /// Send a request.
    Request(Mode),
    /// Nothing more is to come.
    End,
}

/// What to do after an answer that was worth nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stall {
    /// There was progress, or an ordinary wait: go on at once.
    None,
    /// Go on after as long as a server should have held it, without end: nothing is wrong, only fast.
    Slow,
    /// Go on after a delay, as after a failure: the answers do not move.
    Failing,
    /// As `Failing`: the answer ends before the position that was asked for.
    Back,
}

/// A wait that ends sooner than this was not held by the server (a stale cache answers at once).
pub const MIN_LONG_POLL: Duration = Duration::from_millis(250);
/// So many answers in a row may bring nothing before anything is made of it.
const MAX_IDLE_RESPONSES: u32 = 3;

/// The state of a read.
#[derive(Clone, Debug)]
pub struct Cursor {
    live: Live,
    media: Option<Media>,
    position: Position,
    caught_up: bool,
    closed: bool,
    idle: u32,
}

impl Cursor {
    /// A read from `position`. `media` is what the stream is known to hold, if it is known.
    pub fn new(live: Live, position: Position, media: Option<Media>) -> Cursor {
        Cursor {
            live,
            media,
            position,
            caught_up: false,
            closed: false,
            idle: 0,
        }
    }

    /// Where it stands.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// What to do next.
    pub fn next(&self) -> ReadStep {
        match self.live {
            _ if self.closed => ReadStep::End,
            // `now` is asked for once, by a request that is answered at once: a wait that is lost and begun again there
            // would miss what came in between.
            Live::Sse if self.finds_tail_only() => ReadStep::Request(Mode::CatchUp),
            Live::Sse => ReadStep::Request(Mode::Sse),
            Live::Off if self.caught_up => ReadStep::End,
            // Without `live`, so that caches can serve it.
            _ if !self.caught_up => ReadStep::Request(Mode::CatchUp),
            Live::Auto if self.events_allowed() => ReadStep::Request(Mode::Sse),
            _ => ReadStep::Request(Mode::LongPoll),
        }
    }

    /// Events carry JSON, and bytes as base64. Text loses its line ends and leading spaces in their framing, and values
    /// that follow one another lose their ends.
    fn events_allowed(&self) -> bool {
        self.media
            .is_none_or(|media| matches!(media, Media::Json | Media::Bytes))
    }

    /// The query of the next request.
    pub fn query(&self, mode: Mode) -> Vec<(&'static str, String)> {
        let mut query = Vec::with_capacity(3);
        if let Some(cursor) = self
            .position
            .cursor
            .as_ref()
            .filter(|_| mode != Mode::CatchUp || self.caught_up)
        {
            query.push(("cursor", cursor.clone()));
        }
        match mode {
            Mode::CatchUp => {}
            Mode::LongPoll => query.push(("live", "long-poll".to_owned())),
            Mode::Sse => query.push(("live", "sse".to_owned())),
        }
        query.push(("offset", self.position.offset.clone()));
        query
    }

    /// What an answer's headers say of the position after it.
    ///
    /// # Errors
    /// If they do not say it.
    pub fn progress(&self, status: StatusCode, headers: &HeaderMap) -> Result<Progress, PositionError> {
        let closed = flag(headers, &protocol::STREAM_CLOSED);
        let next_offset = protocol::next_offset(headers)?;
        let cursor = text(headers, &protocol::STREAM_CURSOR);
        cursor.map_or(Ok(()), |cursor| protocol::check_position_size(cursor, "Stream-Cursor"))?;
        Ok(Progress {
            next_offset: next_offset.to_owned(),
            cursor: cursor.map(str::to_owned).or_else(|| self.position.cursor.clone()),
            up_to_date: closed || status == StatusCode::NO_CONTENT || flag(headers, &protocol::STREAM_UP_TO_DATE),
            closed,
            status: status.as_u16(),
            skip: 0,
        })
    }

    /// Whether the next answer is to tell where the tail is, and nothing else: a live read that begins at `now`.
    pub fn finds_tail_only(&self) -> bool {
        self.live != Live::Off && self.position.offset == NOW
    }

    /// Whether an answer with this progress may carry data: then it must end at another place, or the same data would
    /// come again and again.
    pub fn moves(&self, progress: &Progress) -> bool {
        progress.next_offset != self.position.offset
    }

    /// Whether an answer with this progress ends before the position: offsets sort as the stream does, byte by byte.
    fn goes_back(&self, progress: &Progress) -> bool {
        let from = self.position.offset.as_str();
        !matches!(from, START | NOW) && (progress.next_offset == START || progress.next_offset.as_str() < from)
    }

    /// Counts items (or bytes) of an unfinished answer that were handed out.
    pub fn handed_out(&mut self, count: u64) {
        self.position.skip += count;
    }

    /// An answer came to its end. `empty`: it carried nothing; `took`: how long it was waited for.
    ///
    /// An empty answer never moves the position back, and `progress` is changed to say so: what lies between was handed
    /// out already, and would be handed out again.
    pub fn advance(&mut self, progress: &mut Progress, empty: bool, took: Duration) -> Stall {
        let (moved, back) = (self.moves(progress), empty && self.goes_back(progress));
        let was_caught_up = self.caught_up;
        if back {
            progress.next_offset.clone_from(&self.position.offset);
            progress.skip = self.position.skip;
        }
        self.position = Position {
            offset: progress.next_offset.clone(),
            cursor: progress.cursor.clone(),
            skip: progress.skip,
        };
        self.caught_up |= progress.up_to_date;
        self.closed = progress.closed;
        if !empty || self.next() == ReadStep::End {
            self.idle = 0;
            return Stall::None;
        }
        if back {
            return Stall::Back;
        }
        let waited = was_caught_up && progress.up_to_date && took >= MIN_LONG_POLL;
        self.idle = if waited { 0 } else { self.idle + 1 };
        match self.idle {
            idle if idle <= MAX_IDLE_RESPONSES => Stall::None,
            _ if moved || progress.up_to_date => Stall::Slow,
            _ => Stall::Failing,
        }
    }

    /// The server will not give events for this stream: long-poll from now on, if the mode leaves the choice.
    pub fn events_refused(&mut self) -> bool {
        let choice = self.live == Live::Auto;
        if choice {
            self.live = Live::LongPoll;
        }
        choice
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(offset: &str, up_to_date: bool, closed: bool) -> Progress {
        Progress {
            next_offset: offset.to_owned(),
            cursor: None,
            up_to_date,
            closed,
            status: 200,
            skip: 0,
        }
    }

    fn at(live: Live) -> Cursor {
        Cursor::new(live, Position::new("", None), Some(Media::Json))
    }

    #[test]
    fn an_empty_offset_is_the_start() {
        assert_eq!(at(Live::Off).query(Mode::CatchUp), [("offset", "-1".to_owned())]);
    }

    #[test]
    fn a_catch_up_read_ends_when_it_is_up_to_date_and_not_before() {
        let mut cursor = at(Live::Off);
        cursor.advance(&mut progress("1", false, false), false, Duration::ZERO);
        assert_eq!(cursor.next(), ReadStep::Request(Mode::CatchUp));
        cursor.advance(&mut progress("2", true, false), false, Duration::ZERO);
        assert_eq!(cursor.next(), ReadStep::End);
    }

    #[test]
    fn live_reads_catch_up_first_and_end_only_with_the_stream() {
        for (live, mode) in [(Live::LongPoll, Mode::LongPoll), (Live::Auto, Mode::Sse)] {
            let mut cursor = at(live);
            assert_eq!(cursor.next(), ReadStep::Request(Mode::CatchUp));
            cursor.advance(&mut progress("1", true, false), false, Duration::ZERO);
            assert_eq!(cursor.next(), ReadStep::Request(mode));
            cursor.advance(&mut progress("1", true, false), true, Duration::from_secs(30));
            assert_eq!(cursor.next(), ReadStep::Request(mode));
            cursor.advance(&mut progress("2", false, false), false, Duration::ZERO);
            assert_eq!(
                cursor.next(),
                ReadStep::Request(mode),
                "more to come does not lead back to catch-up requests"
            );
            cursor.advance(&mut progress("2", true, true), true, Duration::ZERO);
            assert_eq!(cursor.next(), ReadStep::End);
        }
    }

    #[test]
    fn now_is_asked_for_once_by_a_request_that_is_not_held() {
        for (live, then) in [
            (Live::LongPoll, ReadStep::Request(Mode::LongPoll)),
            (Live::Sse, ReadStep::Request(Mode::Sse)),
            (Live::Off, ReadStep::End),
        ] {
            let mut cursor = Cursor::new(live, Position::new("now", None), None);
            assert_eq!(cursor.next(), ReadStep::Request(Mode::CatchUp));
            cursor.advance(&mut progress("7", true, false), true, Duration::ZERO);
            assert_eq!(cursor.next(), then);
        }
    }

    #[test]
    fn what_was_handed_out_of_an_unfinished_answer_is_skipped_until_the_position_moves() {
        let mut cursor = at(Live::Off);
        cursor.handed_out(3);
        cursor.handed_out(4);
        assert_eq!(cursor.position().skip, 7);
        cursor.advance(&mut progress("1", true, false), false, Duration::ZERO);
        assert_eq!(cursor.position().skip, 0);
    }

    #[test]
    fn answers_that_do_not_move_are_failures_after_a_few() {
        let mut cursor = at(Live::Off);
        let stalls: Vec<_> = (0..4)
            .map(|_| cursor.advance(&mut progress("-1", false, false), true, Duration::ZERO))
            .collect();
        assert_eq!(stalls, [Stall::None, Stall::None, Stall::None, Stall::Failing]);
    }

    #[test]
    fn an_empty_answer_does_not_move_the_position_back() {
        for up_to_date in [false, true] {
            let mut cursor = at(Live::LongPoll);
            cursor.advance(&mut progress("5", true, false), false, Duration::ZERO);
            cursor.handed_out(2);
            for offset in ["4", "-1"] {
                let mut back = progress(offset, up_to_date, false);
                let stall = cursor.advance(&mut back, true, Duration::from_secs(30));
                assert_eq!((stall, &back.next_offset[..], back.skip), (Stall::Back, "5", 2));
                assert_eq!((&cursor.position().offset[..], cursor.position().skip), ("5", 2));
            }
        }
    }

    #[test]
    fn an_answer_that_goes_back_and_ends_the_read_is_no_failure() {
        let mut cursor = Cursor::new(Live::Off, Position::new("5", None), None);
        let stall = cursor.advance(&mut progress("4", true, false), true, Duration::ZERO);
        assert_eq!((stall, cursor.next()), (Stall::None, ReadStep::End));
    }

    #[test]
    fn data_move_the_position_wherever_they_end() {
        let mut cursor = Cursor::new(Live::Off, Position::new("9", None), None);
        let stall = cursor.advance(&mut progress("10", false, false), false, Duration::ZERO);
        assert_eq!((stall, &cursor.position().offset[..]), (Stall::None, "10"));
    }

    #[test]
    fn empty_answers_that_move_on_and_on_are_slowed_but_no_failure() {
        let mut cursor = at(Live::Off);
        let stalls: Vec<_> = ["1", "2", "3", "4", "5"]
            .map(|offset| cursor.advance(&mut progress(offset, false, false), true, Duration::ZERO))
            .into();
        let free = [Stall::None; 3];
        assert_eq!(stalls, [&free[..], &[Stall::Slow; 2]].concat());
        assert_eq!(
            cursor.advance(&mut progress("6", false, false), false, Duration::ZERO),
            Stall::None
        );
        assert_eq!(
            cursor.advance(&mut progress("7", false, false), true, Duration::ZERO),
            Stall::None
        );
    }

    #[test]
    fn polls_that_time_out_at_once_are_slowed_and_those_that_were_held_are_not() {
        let mut cursor = at(Live::LongPoll);
        let mut poll = |took| {
            (0..5)
                .map(|_| cursor.advance(&mut progress("-1", true, false), true, took))
                .last()
        };
        assert_eq!(poll(Duration::from_secs(1)), Some(Stall::None));
        assert_eq!(poll(Duration::ZERO), Some(Stall::Slow));
    }

    #[test]
    fn parameters_are_in_order_and_the_cursor_goes_back() {
        let mut cursor = at(Live::LongPoll);
        let mut answer = Progress {
            cursor: Some("c".to_owned()),
            ..progress("9", true, false)
        };
        cursor.advance(&mut answer, false, Duration::ZERO);
        let names: Vec<_> = cursor.query(Mode::LongPoll).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["cursor", "live", "offset"]);
    }
}
