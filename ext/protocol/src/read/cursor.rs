//! The position of a read, and which request comes next.
//!
//! Only a complete response or an SSE control event moves the position. What was handed out of an incomplete response
//! is counted in [`Position::skip`], and is skipped when that response is read again.

use std::time::Duration;

use http::StatusCode;
use http::header::HeaderMap;

use super::payload::{Brought, Units};
use crate::protocol::{self, Media, NOW, PositionError, START, flag, text};

/// What a read does once it has caught up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Live {
    /// It ends.
    Off,
    /// By long-poll.
    LongPoll,
    /// By SSE, from the first request on.
    Sse,
    /// By SSE if the data are JSON or text, otherwise by long-poll.
    Auto,
}

/// The position of a read. A read that starts here neither misses nor repeats anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// An offset from the server, or `-1`, or `now`.
    pub offset: String,
    /// The last cursor from the server.
    pub cursor: Option<String>,
    /// How much after `offset` has been handed out, and so is skipped when it is read again. A [`Cursor`] counts from
    /// the last complete response, the batch in the making (and Ruby) from the end of the last batch.
    pub skip: Units,
}

impl Position {
    /// A position. An empty offset is the start of the stream.
    pub fn new(offset: &str, cursor: Option<String>) -> Self {
        let offset = if offset.is_empty() { START } else { offset };
        Self {
            offset: offset.to_owned(),
            cursor,
            skip: Units(0),
        }
    }
}

/// The position and state of the stream at the end of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Where the next read starts.
    pub next_offset: String,
    /// The cursor to send with the next request.
    pub cursor: Option<String>,
    /// Whether the response reaches the stream's present tail.
    pub up_to_date: bool,
    /// Whether this is the end of a closed stream.
    pub closed: bool,
    /// The response's status.
    pub status: u16,
    /// The kind of the request.
    pub mode: Mode,
    /// How much after `next_offset` has been handed out. A response that is read again may end earlier than what the
    /// first try handed out. At the end of a batch, which is where Ruby's position moves, it is 0, except in a batch
    /// that is too large.
    pub skip: Units,
}

/// The kind of the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Reads what exists.
    CatchUp,
    /// Waits for new data by long-poll.
    LongPoll,
    /// Opens an SSE connection.
    Sse,
}

/// What a read does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadStep {
    /// Send a request.
    Request(Mode),
    /// End: nothing follows.
    End,
}

/// Whether responses without data delay the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stall {
    /// There was data, or an ordinary empty poll: send the next request at once.
    None,
    /// The server responds without data too fast. Send the next request after [`MIN_LONG_POLL`]. Not a failure.
    Slow,
    /// The offset does not change although there is more to read: the server is in trouble. Count a failure.
    Failing,
    /// The response's offset is before the requested one. Count a failure.
    Back,
}

/// A long-poll request that ends sooner than this did not wait for data: a stale cache responds at once, for example.
pub const MIN_LONG_POLL: Duration = Duration::from_millis(250);
/// How many responses without data, but with another offset or up to date, may come in a row before the read slows
/// down.
const MAX_IDLE_RESPONSES: u32 = 3;

/// The position of a read, with what decides its next request.
#[derive(Clone, Debug)]
pub struct Cursor {
    live: Live,
    media: Option<Media>,
    position: Position,
    caught_up: bool,
    closed: bool,
    /// How many responses in a row had no data, ordinary empty polls and failures excepted.
    idle_responses: u32,
}

impl Cursor {
    /// A read from `position`. `media` is the stream's content type, if it is known.
    pub fn new(live: Live, position: Position, media: Option<Media>) -> Self {
        Self {
            live,
            media,
            position,
            caught_up: false,
            closed: false,
            idle_responses: 0,
        }
    }

    /// The current position.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// What the read does next.
    pub fn next(&self) -> ReadStep {
        match self.live {
            _ if self.closed => ReadStep::End,
            // Only one request uses `now`, and not a live one. If a live request at `now` was lost, the next one would
            // miss the data in between.
            Live::Sse if self.finds_tail_only() => ReadStep::Request(Mode::CatchUp),
            Live::Sse => ReadStep::Request(Mode::Sse),
            Live::Off if self.caught_up => ReadStep::End,
            // Without `live`, so that caches can serve the request.
            _ if !self.caught_up => ReadStep::Request(Mode::CatchUp),
            Live::Auto if self.sse_allowed() => ReadStep::Request(Mode::Sse),
            _ => ReadStep::Request(Mode::LongPoll),
        }
    }

    /// Whether the data are JSON or text, which SSE carries as they are. Bytes would grow by a third in base64.
    fn sse_allowed(&self) -> bool {
        match self.media {
            Some(Media::Json | Media::JsonSequence | Media::JsonLines | Media::Text) => true,
            Some(Media::Bytes) | None => false,
        }
    }

    /// A response has this content type. It counts if the stream's was not known.
    pub fn learn_media(&mut self, media: Media) {
        self.media.get_or_insert(media);
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

    /// The position at the end of the response to a request of this kind, from its headers.
    ///
    /// # Errors
    /// If the headers have no usable position.
    pub fn progress(&self, mode: Mode, status: StatusCode, headers: &HeaderMap) -> Result<Progress, PositionError> {
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
            mode,
            skip: Units(0),
        })
    }

    /// Whether the next response gives the tail's position only: a live read begins at `now`.
    fn finds_tail_only(&self) -> bool {
        self.is_live() && self.position.offset == NOW
    }

    /// Whether the read goes on once it is up to date.
    pub fn is_live(&self) -> bool {
        self.live != Live::Off
    }

    /// Whether the offset changes. A response with data must change it, or the same data would be read again and again.
    pub fn moves(&self, progress: &Progress) -> bool {
        progress.next_offset != self.position.offset
    }

    /// Whether a response ends before the current position. Offsets compare byte by byte, in the stream's order.
    fn goes_back(&self, progress: &Progress) -> bool {
        let from = self.position.offset.as_str();
        !matches!(from, START | NOW) && (progress.next_offset == START || progress.next_offset.as_str() < from)
    }

    /// Whether a response surely ends before the current position, so that its data, if it has any, are others than
    /// those after the position. A server to which the position is beyond its tail may send what comes after that tail:
    /// the stream was created again, or the server lags behind. Only offsets of the same size are compared: some servers
    /// count without leading zeros.
    pub fn is_before_position(&self, progress: &Progress) -> bool {
        progress.next_offset.len() == self.position.offset.len() && self.goes_back(progress)
    }

    /// Whether a long-poll that timed out has another offset than it began with. Some servers report the tail at the end
    /// of the wait, and do not send what was appended meanwhile.
    pub fn leaves_out_data(&self, progress: &Progress) -> bool {
        let timed_out = progress.mode == Mode::LongPoll && progress.status == StatusCode::NO_CONTENT;
        timed_out && self.moves(progress)
    }

    /// Counts what was handed out of an incomplete response.
    pub fn handed_out(&mut self, units: Units) {
        self.position.skip += units;
    }

    /// A response is complete. `took`: the time since the request.
    ///
    /// An empty response never moves the position back, since the data in between would be handed out again. Nor does a
    /// long-poll that timed out move it: a catch-up request finds out what there is. In these cases the method changes
    /// `progress` to the current position, neither up to date nor the end. And a response that ends before what was
    /// handed out is not up to date, whatever it says.
    pub fn advance(&mut self, progress: &mut Progress, brought: Brought, took: Duration) -> Stall {
        let empty = brought == Brought::Nothing;
        let (moved, back) = (self.moves(progress), empty && self.goes_back(progress));
        let was_caught_up = self.caught_up;
        let leaves_out_data = !back && self.leaves_out_data(progress);
        if back || leaves_out_data {
            progress.next_offset.clone_from(&self.position.offset);
            progress.skip = self.position.skip;
            (progress.up_to_date, progress.closed) = (false, false);
        }
        self.position = Position {
            offset: progress.next_offset.clone(),
            cursor: progress.cursor.clone(),
            skip: progress.skip,
        };
        progress.up_to_date &= progress.skip.is_zero() || progress.closed;
        self.caught_up = !leaves_out_data && (self.caught_up || progress.up_to_date);
        self.closed = progress.closed;
        if back {
            return Stall::Back;
        }
        if !empty || self.next() == ReadStep::End {
            self.idle_responses = 0;
            return Stall::None;
        }
        if !moved && !progress.up_to_date {
            return Stall::Failing;
        }
        let waited = was_caught_up && progress.up_to_date && took >= MIN_LONG_POLL;
        self.idle_responses = if waited { 0 } else { self.idle_responses + 1 };
        match self.idle_responses > MAX_IDLE_RESPONSES {
            true => Stall::Slow,
            false => Stall::None,
        }
    }

    /// The server does not offer SSE for this stream. Uses long-poll from now on and returns true, if the live mode is
    /// [`Live::Auto`].
    pub fn sse_refused(&mut self) -> bool {
        let falls_back = self.live == Live::Auto;
        if falls_back {
            self.live = Live::LongPoll;
        }
        falls_back
    }
}

#[cfg(test)]
mod tests;
