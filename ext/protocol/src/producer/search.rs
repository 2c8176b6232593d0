//! [`Search`] finds out whether a batch is in the part of the stream that was read back.

use std::time::Duration;

use bytes::Bytes;
use memchr::memmem;

use super::batch::{Body, BodyKind};
use crate::json::{Fingerprint, Fingerprinter, NotJson, Numbers};

/// The most bytes to receive when reading back. Beyond this, the result is [`SearchResult::Unknown`].
pub const MAX_READ_BACK_BYTES: usize = 64 << 20;

/// The time limit for reading back, unless the timeout of a request is longer. Beyond this, the result is
/// [`SearchResult::Unknown`].
pub const READ_BACK_TIMEOUT: Duration = Duration::from_secs(30);

/// A batch to search for.
#[derive(Clone, Debug)]
pub struct WantedBatch {
    /// How its messages are combined: read the stream as JSON items, or as bytes.
    pub kind: BodyKind,
    /// Whether the batch closes the stream. Then it is in the stream only if the stream is closed.
    pub closes: bool,
    pub(super) body: Body,
}

/// Whether a batch is in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchResult {
    /// It is in the stream.
    Yes,
    /// It is not: the stream was read to its end.
    No,
    /// Unknown: the stream could not be read, or there is too much to read.
    Unknown,
}

/// A search in progress. Pass it what is read, in the order of the stream, in pieces of any size.
///
/// A server stores a request as a whole, so the messages of a batch are adjacent. JSON messages are compared by value,
/// because a server may serialize them again. Numbers are compared exactly and as doubles, because some servers parse
/// them as doubles. Bytes are compared as they are.
#[derive(Debug)]
pub struct Search {
    closes: bool,
    content: SearchContent,
}

#[derive(Debug)]
enum SearchContent {
    /// The batch has no messages.
    Nothing,
    Json {
        fingerprinter: Fingerprinter,
        exact: RunMatcher<Fingerprint>,
        doubles: RunMatcher<Fingerprint>,
    },
    Bytes {
        wanted: Bytes,
        seen: Vec<u8>,
    },
}

impl WantedBatch {
    /// Whether a search would find this batch in the concatenation of other batches.
    pub(super) fn resembles<'a>(&self, batches: impl Iterator<Item = &'a Body>) -> bool {
        let mut search = self.search();
        for body in batches.filter(|body| body.len() > 0) {
            match self.kind {
                BodyKind::Bytes => search.bytes(&body.bytes),
                // Every message is valid JSON.
                BodyKind::Json => drop(search.items(&inner(&body.bytes))),
            }
        }
        self.body.len() > 0 && search.has_messages()
    }

    /// Starts a search for it.
    pub fn search(&self) -> Search {
        let content = match self.kind {
            _ if self.body.len() == 0 => SearchContent::Nothing,
            BodyKind::Bytes => SearchContent::Bytes {
                wanted: self.body.bytes.clone(),
                seen: Vec::new(),
            },
            BodyKind::Json => {
                let fingerprinter = Fingerprinter::default();
                let inner = inner(&self.body.bytes);
                // Every message is valid JSON. If one were not, nothing would be found.
                let values = |numbers| RunMatcher::of(fingerprinter.values(&inner, numbers).unwrap_or_default());
                let (exact, doubles) = (values(Numbers::Exact), values(Numbers::Doubles));
                SearchContent::Json {
                    fingerprinter,
                    exact,
                    doubles,
                }
            }
        };
        Search {
            closes: self.closes,
            content,
        }
    }
}

/// The messages of a JSON body, without the surrounding brackets.
fn inner(body: &Bytes) -> Bytes {
    body.slice(1..body.len() - 1)
}

impl Search {
    /// Whether the result is known before the end of the stream.
    pub fn is_over(&self) -> bool {
        matches!(self.content, SearchContent::Json { .. }) && !self.closes && self.has_messages()
    }

    /// Adds the next JSON items, separated by commas.
    ///
    /// # Errors
    /// If they are not JSON.
    pub fn items(&mut self, text: &Bytes) -> Result<(), NotJson> {
        if let SearchContent::Json {
            fingerprinter,
            exact,
            doubles,
        } = &mut self.content
        {
            for value in fingerprinter.values(text, Numbers::Exact)? {
                exact.push(&value);
                doubles.push(&value);
            }
        }
        Ok(())
    }

    /// Adds the next bytes.
    pub fn bytes(&mut self, bytes: &Bytes) {
        if let SearchContent::Bytes { seen, .. } = &mut self.content {
            seen.extend_from_slice(bytes);
        }
    }

    /// The result at the end of the stream, or when the search is over. `stream_closed`: whether the stream is closed.
    pub fn found(&self, stream_closed: bool) -> SearchResult {
        if self.has_messages() && (stream_closed || !self.closes) {
            SearchResult::Yes
        } else {
            SearchResult::No
        }
    }

    fn has_messages(&self) -> bool {
        match &self.content {
            SearchContent::Nothing => true,
            SearchContent::Json { exact, doubles, .. } => exact.found || doubles.found,
            SearchContent::Bytes { wanted, seen } => memmem::find(seen, wanted).is_some(),
        }
    }
}

/// Searches a sequence of values for `wanted` in one pass (Knuth, Morris, Pratt).
#[derive(Debug)]
struct RunMatcher<T> {
    wanted: Vec<T>,
    /// For each length of a prefix of `wanted`: the length of its longest proper prefix that is also its suffix.
    fall_back: Vec<u32>,
    /// How many values at the start of `wanted` the latest values match.
    matched: usize,
    found: bool,
}

impl<T: PartialEq> RunMatcher<T> {
    /// A search for `wanted`. If that is empty, nothing is found.
    fn of(wanted: Vec<T>) -> Self {
        let mut run = Self {
            fall_back: vec![0; 2],
            matched: 0,
            found: false,
            wanted,
        };
        run.fall_back.reserve_exact(run.wanted.len());
        for index in 1..run.wanted.len() {
            run.matched = run.after(&run.wanted[index]);
            run.fall_back.push(run.matched as u32);
        }
        run.matched = 0;
        run
    }

    /// The new `matched` after `value`. Not all values are matched yet.
    fn after(&self, value: &T) -> usize {
        let mut matched = self.matched;
        while matched > 0 && self.wanted[matched] != *value {
            matched = self.fall_back[matched] as usize;
        }
        matched + usize::from(self.wanted[matched] == *value)
    }

    fn push(&mut self, value: &T) {
        if self.found || self.wanted.is_empty() {
            return;
        }
        self.matched = self.after(value);
        self.found = self.matched == self.wanted.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(kind: BodyKind, messages: &[&str], closes: bool) -> WantedBatch {
        let mut open = super::super::batch::OpenBatch::new(kind, 0, Vec::new(), 64, 4);
        messages.iter().for_each(|message| open.push(message.as_bytes()));
        WantedBatch {
            kind,
            closes,
            body: if messages.is_empty() {
                Body::default()
            } else {
                open.seal()
            },
        }
    }

    fn bytes_found(messages: &[&str], pieces: &[&str]) -> SearchResult {
        let mut search = wanted(BodyKind::Bytes, messages, false).search();
        pieces
            .iter()
            .for_each(|piece| search.bytes(&Bytes::copy_from_slice(piece.as_bytes())));
        search.found(false)
    }

    fn items_found(messages: &[&str], pieces: &[&str]) -> SearchResult {
        let mut search = wanted(BodyKind::Json, messages, false).search();
        for piece in pieces {
            search.items(&Bytes::copy_from_slice(piece.as_bytes())).unwrap();
        }
        search.found(false)
    }

    #[test]
    fn bytes_are_found_across_pieces() {
        let stream = "aabaabaaab";
        for cut in 0..stream.len() {
            let (before, after) = stream.split_at(cut);
            assert_eq!(
                bytes_found(&["aaba", "aa"], &[before, after]),
                SearchResult::Yes,
                "{cut}"
            );
            assert_eq!(bytes_found(&["aabab"], &[before, after]), SearchResult::No, "{cut}");
        }
    }

    #[test]
    fn exactly_the_substrings_of_a_text_are_found() {
        let text: Vec<u8> = (0..10).map(|_| fastrand::u8(b'a'..=b'b')).collect();
        for bits in 0..64_u32 {
            let sought: Vec<u8> = (0..5).map(|bit| b'a' + (bits >> bit & 1) as u8).collect();
            let mut run = RunMatcher::of(sought.clone());
            text.iter().for_each(|byte| run.push(byte));
            let there = text.windows(5).any(|window| window == sought);
            assert_eq!(run.found, there, "{sought:?} in {text:?}");
        }
    }

    #[test]
    fn adjacent_messages_are_found_by_value() {
        let messages = [r#"{"b":1.0,"a":"é"}"#, "[1,2]", "9007199254740993"];
        let stored = r#"{"a":"\u00e9","b":1},[1,2],9007199254740993"#;
        assert_eq!(items_found(&messages, &["0", stored]), SearchResult::Yes);
        assert_eq!(
            items_found(&messages, &[r#"0,{"b":1,"a":"é"}"#, "[1, 2],9007199254740992,5"]),
            SearchResult::Yes
        );
        assert_eq!(
            items_found(&messages, &[r#"{"b":1.0,"a":"é"},0,[1,2],9007199254740993"#]),
            SearchResult::No
        );
        assert_eq!(items_found(&messages, &[]), SearchResult::No);
    }

    #[test]
    fn a_closing_batch_is_found_only_if_the_stream_is_closed() {
        for (messages, read, closed, found) in [
            (&[][..], "", true, SearchResult::Yes),
            (&[], "x", false, SearchResult::No),
            (&["x"], "x", true, SearchResult::Yes),
            (&["x"], "x", false, SearchResult::No),
            (&["x"], "y", true, SearchResult::No),
        ] {
            let mut search = wanted(BodyKind::Bytes, messages, true).search();
            search.bytes(&Bytes::from_static(read.as_bytes()));
            assert!(!search.is_over());
            assert_eq!(search.found(closed), found);
        }
    }
}
