//! Searches JSON text many bytes at a time, by the classes of bytes in `simd`.
//!
//! It is written by hand because it is faster, and because no library splits a body that is still arriving. Measured in
//! GiB/s with one run of `rake bench:core` (criterion's `--quick`) on x86-64 without further CPU features, for objects
//! of 103 bytes and nested ones of 390. The machine was shared, so small differences mean nothing.
//!
//! | | here | sonic-rs | serde_json | simd-json |
//! | --- | --- | --- | --- | --- |
//! | split a body into items | 3.4, 4.6 | 1.2, 1.4 (lazy values) | 1.0, 1.4 (raw values) | 0.7, 1.0 (tape) |
//! | validate one value | 1.4, 1.6 | 0.8, 0.8 | 1.4, 1.4 | 0.6, 0.9 |
//!
//! Validation has become faster since: 2.8 and 2.4, on an idle machine.

use super::simd::{self, Special};

pub use super::simd::STEP;

/// The result of [`plain_run`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlainRun {
    /// The index of the first byte that is not plain, or the length of the text.
    pub end: usize,
    /// Whether all bytes before `end` are ASCII.
    pub ascii: bool,
}

/// Finds the end of the plain string content that begins at `from`: a quote, a backslash, a control character (below
/// 0x20), or the end of `text`.
#[inline]
pub fn plain_run(text: &[u8], from: usize) -> PlainRun {
    let mut at = from;
    let mut ascii = true;
    while let Some(chunk) = text.get(at..).and_then(<[u8]>::first_chunk::<{ simd::WIDTH }>) {
        let found = simd::special(chunk);
        if found.stop != 0 {
            let before = found.stop.trailing_zeros();
            ascii &= found.high & ((1 << before) - 1) == 0;
            return PlainRun {
                end: at + before as usize,
                ascii,
            };
        }
        ascii &= found.high == 0;
        at += simd::WIDTH;
    }
    if let Some(chunk) = text.last_chunk::<{ simd::WIDTH }>()
        && at < text.len()
    {
        // Read the last full chunk of the text, and shift out the bytes before `at`.
        let (seen, found) = (at + simd::WIDTH - text.len(), simd::special(chunk));
        let (stop, high) = (found.stop >> seen, found.high >> seen);
        let before = stop.trailing_zeros().min((text.len() - at) as u32);
        ascii &= high & ((1 << before) - 1) == 0;
        return PlainRun {
            end: at + before as usize,
            ascii,
        };
    }
    while let Some(&byte) = text.get(at) {
        if byte < 0x20 || byte == b'"' || byte == b'\\' {
            break;
        }
        ascii &= byte < 0x80;
        at += 1;
    }
    PlainRun { end: at, ascii }
}

/// Which of up to [`STEP`] bytes end plain string content, and which are not ASCII. Bit `n` stands for byte `n`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stops {
    /// Quotes, backslashes and control characters (below 0x20).
    pub stop: u64,
    /// Bytes that are not ASCII (0x80 and above).
    pub high: u64,
}

/// Classifies the bytes from `from` on, so that several short strings share one search. `None` for a text of less than
/// [`STEP`] bytes, where it is not faster.
#[inline]
pub fn stops(text: &[u8], from: usize) -> Option<Stops> {
    if let Some(next) = text.get(from..).and_then(<[u8]>::first_chunk::<STEP>) {
        return Some(collect_stops(next, simd::special));
    }
    // Read the last full step of the text, and shift out the bytes before `from`.
    let found = collect_stops(text.last_chunk::<STEP>()?, simd::special);
    let seen = (STEP - text.len().saturating_sub(from)) as u32;
    Some(Stops {
        stop: found.stop.unbounded_shr(seen),
        high: found.high.unbounded_shr(seen),
    })
}

/// Applies `special` to each chunk, and joins the results.
#[inline]
fn collect_stops<const WIDTH: usize>(bytes: &[u8; STEP], special: impl Fn(&[u8; WIDTH]) -> Special) -> Stops {
    let mut stops = Stops::default();
    for (index, chunk) in bytes.as_chunks::<WIDTH>().0.iter().enumerate() {
        let found = special(chunk);
        stops.stop |= u64::from(found.stop) << (index * WIDTH);
        stops.high |= u64::from(found.high) << (index * WIDTH);
    }
    stops
}

/// The structural bytes outside of strings, in up to 64 bytes of text. Bit `n` stands for byte `n`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Structure {
    /// `[` and `{`.
    pub open: u64,
    /// `]` and `}`.
    pub close: u64,
    /// `,`.
    pub comma: u64,
}

/// Tracks from one step to the next whether the text is inside a string and whether the next byte is escaped.
#[derive(Debug, Clone, Copy, Default)]
pub struct Strings {
    /// All ones inside a string, otherwise zero.
    inside: u64,
    /// 1 if the last byte escapes the next one, otherwise 0.
    escaped_next: u64,
}

impl Strings {
    /// Whether the text so far ends inside a string.
    pub fn inside(&self) -> bool {
        self.inside != 0
    }

    /// Reads the next [`STEP`] bytes of the text at most, ignores more, and returns their structure.
    #[inline]
    pub fn step(&mut self, text: &[u8]) -> Structure {
        match text.first_chunk::<STEP>() {
            Some(full) => self.read(full, STEP),
            None => {
                // Blanks change neither strings nor structure.
                let mut padded = [b' '; STEP];
                padded[..text.len()].copy_from_slice(text);
                self.read(&padded, text.len())
            }
        }
    }

    #[inline]
    fn read(&mut self, bytes: &[u8; STEP], len: usize) -> Structure {
        let found = simd::classify(bytes);
        let escaped = self.escaped(found.backslash, len);
        let within = prefix_xor(found.quote & !escaped) ^ self.inside;
        // Spread the sign bit over the whole word.
        self.inside = ((within as i64) >> 63) as u64;
        Structure {
            open: found.open & !within,
            close: found.close & !within,
            comma: found.comma & !within,
        }
    }

    /// The bytes that the backslash before them escapes (after simdjson's find_escaped).
    #[inline]
    fn escaped(&mut self, backslash: u64, len: usize) -> u64 {
        const ODD: u64 = 0xAAAA_AAAA_AAAA_AAAA;
        if len == 0 {
            return 0;
        }
        if backslash == 0 {
            return std::mem::take(&mut self.escaped_next);
        }
        let escapes = backslash & !self.escaped_next;
        let runs = ((escapes << 1) | ODD).wrapping_sub(escapes) ^ ODD;
        let escaped = runs ^ (backslash | self.escaped_next);
        let escaping = runs & backslash;
        self.escaped_next = (escaping >> (len - 1)) & 1;
        escaped
    }
}

/// Finds the end of the item that begins at `from`: the comma after it, or the end of `text`. It reads strings and
/// brackets only, and so works for items that are not valid JSON.
pub fn item_end(text: &[u8], from: usize) -> usize {
    let mut strings = Strings::default();
    let (mut at, mut depth) = (from, 0_usize);
    while at < text.len() {
        let Structure { open, close, comma } = strings.step(&text[at..]);
        let mut marks = open | close | comma;
        while marks != 0 {
            let mark = marks.trailing_zeros();
            if open >> mark & 1 == 1 {
                depth += 1;
            } else if close >> mark & 1 == 1 {
                depth = depth.saturating_sub(1);
            } else if depth == 0 {
                return at + mark as usize;
            }
            marks &= marks - 1;
        }
        at += STEP;
    }
    text.len()
}

/// Bit `n` of the result is the parity of bits `0..=n`: ones from each opening quote to before its closing quote.
#[inline]
fn prefix_xor(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::{STEP, Stops, Strings, Structure, collect_stops, item_end, plain_run, stops};
    use crate::json::simd::{noise, words};

    #[test]
    fn finds_the_end_of_a_plain_run_as_a_byte_loop_does() {
        let mut random = fastrand::Rng::with_seed(2);
        for _ in 0..20_000 {
            let text: Vec<u8> = (0..random.usize(..80))
                .map(|_| {
                    if random.u8(..) < 8 {
                        *random.choice(b"\"\\\x1f").unwrap()
                    } else {
                        random.u8(0x20..)
                    }
                })
                .collect();
            let from = random.usize(..=text.len());
            let end = text[from..]
                .iter()
                .position(|&b| b < 0x20 || b == b'"' || b == b'\\')
                .map_or(text.len(), |n| from + n);
            let run = plain_run(&text, from);
            assert_eq!((run.end, run.ascii), (end, text[from..end].is_ascii()));
        }
    }

    #[test]
    fn finds_the_stops_from_any_start_as_a_byte_loop_does() {
        let mut random = fastrand::Rng::with_seed(4);
        for _ in 0..5_000 {
            let mut text: Vec<u8> = (0..4).flat_map(|_| noise(&mut random)).collect();
            text.truncate(random.usize(..200));
            let from = random.usize(..=text.len());
            let mut expected = Stops::default();
            for (index, &byte) in text[from..].iter().take(STEP).enumerate() {
                expected.stop |= u64::from(byte < 0x20 || byte == b'"' || byte == b'\\') << index;
                expected.high |= u64::from(!byte.is_ascii()) << index;
            }
            assert_eq!(stops(&text, from), (text.len() >= STEP).then_some(expected));
            if let Some(full) = text[from..].first_chunk() {
                assert_eq!(collect_stops(full, words::special), expected);
            }
        }
    }

    #[test]
    fn an_item_ends_at_the_comma_outside_of_its_strings_and_brackets() {
        let long = format!("[{}],2", "1,".repeat(100));
        for (text, end) in [
            ("1", 1),
            ("", 0),
            (r#"{"a,]":[1,2]} , 3"#, 14),
            (r#""\\\\",1"#, 6),
            ("1]2,3", 3),
            ("[[1,2", 5),
        ] {
            assert_eq!(item_end(text.as_bytes(), 0), end, "{text}");
        }
        assert_eq!(item_end(long.as_bytes(), 0), long.len() - 2);
        assert_eq!(item_end(b"[1],[2,3],4", 4), 9);
    }

    #[test]
    fn tracks_strings_and_escapes_across_blocks() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..5_000 {
            let text: Vec<u8> = (0..random.usize(..300))
                .map(|_| *random.choice(b"\"\\\\\\[]{},ab ").unwrap())
                .collect();
            let mut expected = Vec::new();
            let (mut inside, mut escaped) = (false, false);
            for (index, &byte) in text.iter().enumerate() {
                if escaped {
                    escaped = false;
                } else if byte == b'\\' {
                    escaped = true;
                    continue;
                } else if byte == b'"' {
                    inside = !inside;
                    continue;
                }
                if !inside && b"[]{},".contains(&byte) {
                    expected.push((index, byte));
                }
            }
            let mut strings = Strings::default();
            let (mut at, mut found) = (0, Vec::new());
            while at < text.len() {
                let len = random.usize(0..=STEP).min(text.len() - at);
                let Structure { open, close, comma } = strings.step(&text[at..at + len]);
                found.extend(
                    (0..len)
                        .filter(|n| (open | close | comma) >> n & 1 == 1)
                        .map(|n| (at + n, text[at + n])),
                );
                at += len;
            }
            assert_eq!(found, expected, "{}", String::from_utf8_lossy(&text));
            assert_eq!(strings.inside(), inside);
        }
    }
}
