//! Are two JSON texts the same value? Servers may write a value in another way than it was sent: with other spacing, other
//! escapes, keys in another order, `1.0` as `1`, large numbers rounded to doubles. So values are compared by a fingerprint
//! of what they mean.

use std::hash::{BuildHasher, Hasher, RandomState};

use super::scan::plain_run;

/// How numbers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// By their decimal value.
    Exact,
    /// As a server writes them that reads numbers as doubles: the shortest decimal that is read as the same double, and
    /// `null` beyond the largest one.
    Doubles,
}

/// The fingerprint of a value. Two that are equal are of the same value, but for a chance of 2^-128.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(u128);

/// The text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotJson;

/// Takes fingerprints. Only those that the same one has taken can be compared: its keys are random, so that nobody can
/// make two values whose fingerprints are equal.
#[derive(Debug, Default)]
pub struct Fingerprinter {
    keys: [RandomState; 2],
}

/// A container that is open.
enum OpenContainer {
    Array(Vec<Fingerprint>),
    Object {
        /// The fingerprint of the key whose value comes next.
        key: Fingerprint,
        entries: Vec<(Fingerprint, Fingerprint)>,
    },
}

impl Fingerprinter {
    /// The fingerprints of the values in `text`, which are separated by commas. Keys that come twice in an object count
    /// the last time. Nothing recurses.
    ///
    /// # Errors
    /// If the text is malformed. (What is accepted is not checked in every detail.)
    pub fn values(&self, text: &[u8], numbers: Numbers) -> Result<Vec<Fingerprint>, NotJson> {
        let mut rest = FingerprintParser { text, at: 0 };
        let mut values = Vec::new();
        let mut open: Vec<OpenContainer> = Vec::new();
        if rest.peek().is_none() {
            return Ok(values);
        }
        loop {
            let mut value = match rest.peek().ok_or(NotJson)? {
                b'[' if rest.opens_empty(b']') => Some(self.array(&[])),
                b'[' => {
                    open.push(OpenContainer::Array(Vec::new()));
                    None
                }
                b'{' if rest.opens_empty(b'}') => Some(self.object(Vec::new())),
                b'{' => {
                    open.push(OpenContainer::Object {
                        key: self.key(&mut rest)?,
                        entries: Vec::new(),
                    });
                    None
                }
                b'"' => Some(self.of(b'"', &rest.string()?)),
                _ => Some(self.scalar(rest.word(), numbers)?),
            };
            // What follows a value: the ends of containers, then a comma.
            while let Some(whole) = value.take() {
                let next = rest.next();
                match (open.last_mut(), next) {
                    (None, Some(b',')) => values.push(whole),
                    (None, None) => {
                        values.push(whole);
                        return Ok(values);
                    }
                    (Some(OpenContainer::Array(items)), Some(b',')) => items.push(whole),
                    (Some(OpenContainer::Array(items)), Some(b']')) => {
                        items.push(whole);
                        value = Some(self.array(items));
                        open.pop();
                    }
                    (Some(OpenContainer::Object { key, entries }), Some(b',')) => {
                        entries.push((*key, whole));
                        *key = self.key(&mut rest)?;
                    }
                    (Some(OpenContainer::Object { key, entries }), Some(b'}')) => {
                        entries.push((*key, whole));
                        value = Some(self.object(std::mem::take(entries)));
                        open.pop();
                    }
                    _ => return Err(NotJson),
                }
            }
        }
    }

    fn key(&self, rest: &mut FingerprintParser<'_>) -> Result<Fingerprint, NotJson> {
        let key = match rest.peek() {
            Some(b'"') => self.of(b'"', &rest.string()?),
            _ => return Err(NotJson),
        };
        (rest.next() == Some(b':')).then_some(key).ok_or(NotJson)
    }

    fn scalar(&self, word: &[u8], numbers: Numbers) -> Result<Fingerprint, NotJson> {
        match word {
            b"null" | b"true" | b"false" => return Ok(self.of(b'w', word)),
            [b'-' | b'0'..=b'9', ..] => {}
            _ => return Err(NotJson),
        }
        let text = std::str::from_utf8(word).map_err(|_| NotJson)?;
        let double: f64 = text.parse().map_err(|_| NotJson)?;
        match numbers {
            Numbers::Exact => Ok(self.number(text)),
            Numbers::Doubles if double.is_finite() => Ok(self.number(&format!("{double:e}"))),
            Numbers::Doubles => Ok(self.of(b'w', b"null")),
        }
    }

    /// Of a number's decimal value: its digits, from the first to the last that is not 0, and the power of ten that they
    /// are multiplied with. -0 is 0.
    fn number(&self, text: &str) -> Fingerprint {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (sign, mantissa) = match mantissa.strip_prefix('-') {
            Some(mantissa) => ("-", mantissa),
            None => ("", mantissa),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        let digits = digits.trim_start_matches('0');
        let significant = digits.trim_end_matches('0');
        let Ok(exponent) = exponent.parse::<i64>() else {
            return self.of(b'0', text.as_bytes());
        };
        let zeros = (digits.len() - significant.len()) as i64;
        let power = exponent.saturating_sub(fraction.len() as i64).saturating_add(zeros);
        match significant {
            "" => self.of(b'0', b"0"),
            _ => self.of(b'0', format!("{sign}{significant}e{power}").as_bytes()),
        }
    }

    fn array(&self, items: &[Fingerprint]) -> Fingerprint {
        self.of_all(b'[', items.iter().copied())
    }

    fn object(&self, mut entries: Vec<(Fingerprint, Fingerprint)>) -> Fingerprint {
        // The last of several entries with one key comes first, and it alone is kept.
        entries.reverse();
        entries.sort_by_key(|(key, _)| *key);
        entries.dedup_by_key(|(key, _)| *key);
        self.of_all(b'{', entries.into_iter().flat_map(|(key, value)| [key, value]))
    }

    fn of(&self, kind: u8, bytes: &[u8]) -> Fingerprint {
        self.hashed(|hasher| {
            hasher.write_u8(kind);
            hasher.write(bytes);
        })
    }

    fn of_all(&self, kind: u8, parts: impl Iterator<Item = Fingerprint> + Clone) -> Fingerprint {
        self.hashed(|hasher| {
            hasher.write_u8(kind);
            parts.clone().for_each(|part| hasher.write_u128(part.0));
        })
    }

    fn hashed(&self, write: impl Fn(&mut dyn Hasher)) -> Fingerprint {
        let [high, low] = self.keys.each_ref().map(|key| {
            let mut hasher = key.build_hasher();
            write(&mut hasher);
            u128::from(hasher.finish())
        });
        Fingerprint(high << 64 | low)
    }
}

/// What is still to be read.
struct FingerprintParser<'a> {
    text: &'a [u8],
    at: usize,
}

impl FingerprintParser<'_> {
    /// The next byte that is not whitespace.
    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.text.get(self.at) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    /// Takes it.
    fn next(&mut self) -> Option<u8> {
        let next = self.peek();
        self.at += usize::from(next.is_some());
        next
    }

    /// Takes the bracket that comes next, and if the container is empty, its end. Tells whether it is empty.
    fn opens_empty(&mut self, end: u8) -> bool {
        self.at += 1;
        let empty = self.peek() == Some(end);
        self.at += usize::from(empty);
        empty
    }

    /// Takes the number or name that comes next.
    fn word(&mut self) -> &[u8] {
        let start = self.at;
        while let Some(b'-' | b'+' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z') = self.text.get(self.at) {
            self.at += 1;
        }
        &self.text[start..self.at]
    }

    /// Takes the string that comes next and gives its content; surrogates that stand alone as three bytes each, as UTF-8
    /// would have them.
    fn string(&mut self) -> Result<Vec<u8>, NotJson> {
        let mut content = Vec::new();
        self.at += 1;
        loop {
            let end = plain_run(self.text, self.at).end;
            content.extend_from_slice(&self.text[self.at..end]);
            self.at = end + 1;
            match self.text.get(end) {
                Some(b'"') => return Ok(content),
                Some(b'\\') => self.escape(&mut content)?,
                _ => return Err(NotJson),
            }
        }
    }

    fn escape(&mut self, content: &mut Vec<u8>) -> Result<(), NotJson> {
        let escaped = *self.text.get(self.at).ok_or(NotJson)?;
        self.at += 1;
        content.push(match escaped {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let unit = self.hexadecimal()?;
                let code = self.with_low_half(unit);
                push_code(content, code);
                return Ok(());
            }
            other => other,
        });
        Ok(())
    }

    /// The code point that begins with this UTF-16 unit, of which the other half is taken, if there is one.
    fn with_low_half(&mut self, unit: u32) -> u32 {
        if !(0xd800..0xdc00).contains(&unit) || self.text.get(self.at..self.at + 2) != Some(b"\\u") {
            return unit;
        }
        let start = self.at;
        self.at += 2;
        match self.hexadecimal() {
            Ok(low @ 0xdc00..0xe000) => 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00),
            _ => {
                self.at = start;
                unit
            }
        }
    }

    fn hexadecimal(&mut self) -> Result<u32, NotJson> {
        let digits = self.text.get(self.at..self.at + 4).ok_or(NotJson)?;
        self.at += 4;
        let digits = std::str::from_utf8(digits).map_err(|_| NotJson)?;
        u32::from_str_radix(digits, 16).map_err(|_| NotJson)
    }
}

fn push_code(content: &mut Vec<u8>, code: u32) {
    match char::from_u32(code) {
        Some(character) => content.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        None => content.extend([0xe0 | code >> 12, 0x80 | code >> 6 & 0x3f, 0x80 | code & 0x3f].map(|byte| byte as u8)),
    }
}
