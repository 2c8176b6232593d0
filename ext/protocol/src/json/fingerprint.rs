//! Compares JSON values by fingerprints. A server may write a value differently from how it was sent: with other
//! spacing and escapes, keys in another order, `1` instead of `1.0`, large numbers rounded to doubles. A fingerprint
//! does not depend on these differences.

use std::hash::{BuildHasher, Hasher, RandomState};

use super::scan::plain_run;

/// How numbers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// By their decimal value.
    Exact,
    /// By what a server writes that parses numbers as doubles: the shortest decimal of the same double, or `null` for a
    /// number too large for a double.
    Doubles,
}

/// The fingerprint of a value. Equal fingerprints mean equal values, except with probability 2^-128.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(u128);

/// The text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotJson;

/// Computes fingerprints. Only fingerprints of the same `Fingerprinter` can be compared: its keys are random, so that
/// nobody can construct two values with equal fingerprints.
#[derive(Debug, Default)]
pub struct Fingerprinter {
    keys: [RandomState; 2],
}

/// An open container, with the fingerprints of its contents so far.
enum OpenContainer {
    Array(Vec<Fingerprint>),
    Object {
        /// The fingerprint of the key whose value comes next.
        key: Fingerprint,
        entries: Vec<(Fingerprint, Fingerprint)>,
    },
}

impl Fingerprinter {
    /// The fingerprints of the values in `text`, which are separated by commas. If an object has a key twice, the last
    /// entry counts. Nothing recurses.
    ///
    /// # Errors
    /// If the text is malformed. Not every error is found.
    pub fn values(&self, text: &[u8], numbers: Numbers) -> Result<Vec<Fingerprint>, NotJson> {
        let mut parser = FingerprintParser { text, at: 0 };
        let mut values = Vec::new();
        let mut open: Vec<OpenContainer> = Vec::new();
        if parser.peek().is_none() {
            return Ok(values);
        }
        loop {
            let mut value = match parser.peek().ok_or(NotJson)? {
                b'[' if parser.opens_empty(b']') => Some(self.array(&[])),
                b'[' => {
                    open.push(OpenContainer::Array(Vec::new()));
                    None
                }
                b'{' if parser.opens_empty(b'}') => Some(self.object(Vec::new())),
                b'{' => {
                    open.push(OpenContainer::Object {
                        key: self.key(&mut parser)?,
                        entries: Vec::new(),
                    });
                    None
                }
                b'"' => Some(self.of(b'"', &parser.string()?)),
                _ => Some(self.scalar(parser.word(), numbers)?),
            };
            // After a value: the ends of containers, then a comma.
            while let Some(whole) = value.take() {
                let next = parser.next();
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
                        *key = self.key(&mut parser)?;
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

    fn key(&self, parser: &mut FingerprintParser<'_>) -> Result<Fingerprint, NotJson> {
        let key = match parser.peek() {
            Some(b'"') => self.of(b'"', &parser.string()?),
            _ => return Err(NotJson),
        };
        (parser.next() == Some(b':')).then_some(key).ok_or(NotJson)
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

    /// The fingerprint of a number's decimal value: its digits without leading and trailing zeros, and the power of
    /// ten. -0 is 0.
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
        // Of several entries with the same key, retain the last: after `reverse` it is the first.
        entries.reverse();
        entries.sort_by_key(|(key, _)| *key);
        entries.dedup_by_key(|(key, _)| *key);
        self.of_all(b'{', entries.into_iter().flat_map(|(key, value)| [key, value]))
    }

    fn of(&self, kind: u8, bytes: &[u8]) -> Fingerprint {
        self.hash(|hasher| {
            hasher.write_u8(kind);
            hasher.write(bytes);
        })
    }

    fn of_all(&self, kind: u8, parts: impl Iterator<Item = Fingerprint> + Clone) -> Fingerprint {
        self.hash(|hasher| {
            hasher.write_u8(kind);
            parts.clone().for_each(|part| hasher.write_u128(part.0));
        })
    }

    fn hash(&self, write: impl Fn(&mut dyn Hasher)) -> Fingerprint {
        let [high, low] = self.keys.each_ref().map(|key| {
            let mut hasher = key.build_hasher();
            write(&mut hasher);
            u128::from(hasher.finish())
        });
        Fingerprint(high << 64 | low)
    }
}

/// Reads a text from `at` on.
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

    /// Consumes the next byte that is not whitespace.
    fn next(&mut self) -> Option<u8> {
        let next = self.peek();
        self.at += usize::from(next.is_some());
        next
    }

    /// Consumes the opening bracket, and the closing one if the container is empty. Returns whether it is empty.
    fn opens_empty(&mut self, end: u8) -> bool {
        self.at += 1;
        let empty = self.peek() == Some(end);
        self.at += usize::from(empty);
        empty
    }

    /// Consumes a number or name.
    fn word(&mut self) -> &[u8] {
        let start = self.at;
        while let Some(b'-' | b'+' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z') = self.text.get(self.at) {
            self.at += 1;
        }
        &self.text[start..self.at]
    }

    /// Consumes a string and returns its content. A lone surrogate becomes three bytes, like other code points of its
    /// size in UTF-8.
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

    /// The code point that begins with this UTF-16 unit. Consumes the low surrogate, if there is one.
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
