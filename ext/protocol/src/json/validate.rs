//! Checks that a text is exactly one JSON value (RFC 8259) in valid UTF-8.

use super::scan::{STEP, plain_run, stops};
use std::fmt;

/// Why a text is not one JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidJson {
    /// The offset of the first wrong byte. If the text ends too early, this is its length.
    pub offset: usize,
    /// What is wrong, for humans.
    pub reason: &'static str,
}

impl fmt::Display for InvalidJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid JSON at byte {}: {}", self.offset, self.reason)
    }
}

impl std::error::Error for InvalidJson {}

/// Checks that `text` is exactly one JSON value as RFC 8259 defines it, in valid UTF-8. Whitespace around it is
/// allowed.
///
/// Nesting may have any depth: each level takes one bit, and nothing recurses. Duplicate keys, numbers of any size and
/// escaped lone surrogates are valid, as in the RFC.
///
/// # Errors
///
/// [`InvalidJson`] has the position of the first error, and the reason.
pub fn validate(text: &[u8]) -> Result<(), InvalidJson> {
    let ascii = document(text)?;
    if !ascii && let Err(error) = std::str::from_utf8(text) {
        return fail(error.valid_up_to(), "not valid UTF-8");
    }
    Ok(())
}

/// Reads the whole text. Returns whether it is ASCII. (Only strings can have other characters.)
///
/// The outer loop reads values, the inner loop what follows them. So most steps need no check of what is expected next.
fn document(text: &[u8]) -> Result<bool, InvalidJson> {
    let mut open = ContainerStack::default();
    // Separate from `open`: only inlined functions borrow `open` and `parser`, so both can be in registers.
    let mut deep = Vec::new();
    let mut parser = Validator {
        text,
        at: 0,
        ahead: Lookahead::default(),
    };
    loop {
        match parser.value(open.depth > 0)? {
            Value::Whole => {}
            Value::Array => {
                open.push(Container::Array, &mut deep);
                if parser.skip_blanks() != Some(b']') {
                    continue;
                }
                parser.at += 1;
                open.pop(&mut deep);
            }
            Value::Object => {
                open.push(Container::Object, &mut deep);
                if parser.skip_blanks() != Some(b'}') {
                    parser.key()?;
                    continue;
                }
                parser.at += 1;
                open.pop(&mut deep);
            }
        }
        while let Some(container) = open.innermost() {
            match (container, parser.skip_blanks()) {
                (Container::Array, Some(b',')) => {
                    parser.at += 1;
                    break;
                }
                (Container::Object, Some(b',')) => {
                    parser.at += 1;
                    parser.key()?;
                    break;
                }
                (Container::Array, Some(b']')) | (Container::Object, Some(b'}')) => {
                    parser.at += 1;
                    open.pop(&mut deep);
                }
                (Container::Array, _) => return fail(parser.at, "expected ',' or ']' in an array"),
                (Container::Object, _) => return fail(parser.at, "expected ',' or '}' in an object"),
            }
        }
        if open.depth == 0 {
            return match parser.skip_blanks() {
                None => Ok(!parser.ahead.beyond_ascii),
                Some(_) => fail(parser.at, "more text after the value"),
            };
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Container {
    Array,
    Object,
}

/// The open containers, innermost last: one bit each, 64 in a word.
#[derive(Default)]
struct ContainerStack {
    depth: usize,
    /// The last 64 levels at most. The lowest bit is the innermost container; 1 is an object.
    word: u64,
}

impl ContainerStack {
    /// `deep` has the full words, outermost first.
    #[inline(always)]
    fn push(&mut self, container: Container, deep: &mut Vec<u64>) {
        if self.depth.is_multiple_of(64) && self.depth > 0 {
            deep.push(self.word);
        }
        self.word = self.word << 1 | u64::from(container == Container::Object);
        self.depth += 1;
    }

    #[inline(always)]
    fn pop(&mut self, deep: &mut Vec<u64>) {
        self.depth -= 1;
        self.word >>= 1;
        if self.depth.is_multiple_of(64) {
            self.word = deep.pop().unwrap_or_default();
        }
    }

    #[inline(always)]
    fn innermost(&self) -> Option<Container> {
        match (self.depth, self.word & 1) {
            (0, _) => None,
            (_, 0) => Some(Container::Array),
            (_, _) => Some(Container::Object),
        }
    }
}

/// The last [`STEP`] bytes that were searched for the ends of strings. Several short strings share one search.
#[derive(Clone, Copy, Default)]
struct Lookahead {
    /// Where plain string content ends: bit `n` is byte `from + n`.
    stop: u64,
    from: usize,
    /// The end of the searched bytes, which may be after the end of the text.
    to: usize,
    /// Whether any byte searched so far is not ASCII.
    beyond_ascii: bool,
}

/// The kind of a value, and how far it was read.
enum Value {
    /// A complete value.
    Whole,
    /// The opening bracket of an array.
    Array,
    /// The opening brace of an object.
    Object,
}

/// Reads a text from `at` on.
struct Validator<'a> {
    text: &'a [u8],
    at: usize,
    ahead: Lookahead,
}

impl Validator<'_> {
    /// Moves to the next byte that is not whitespace and returns it.
    #[inline(always)]
    fn skip_blanks(&mut self) -> Option<u8> {
        loop {
            match self.text.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    /// Reads a scalar value, or the opening bracket of a container.
    #[inline(always)]
    fn value(&mut self, inside: bool) -> Result<Value, InvalidJson> {
        match self.skip_blanks() {
            Some(b'"') => self.string()?,
            Some(b'{') => {
                self.at += 1;
                return Ok(Value::Object);
            }
            Some(b'[') => {
                self.at += 1;
                return Ok(Value::Array);
            }
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word(b"true")?,
            Some(b'f') => self.word(b"false")?,
            Some(b'n') => self.word(b"null")?,
            Some(_) => return fail(self.at, "expected a value"),
            None if inside => return fail(self.at, "the text ends where a value should be"),
            None => return fail(self.at, "no value"),
        }
        Ok(Value::Whole)
    }

    /// Reads an object's key and the colon after it.
    #[inline(always)]
    fn key(&mut self) -> Result<(), InvalidJson> {
        if self.skip_blanks() != Some(b'"') {
            return fail(self.at, "expected a string as an object's key");
        }
        self.string()?;
        if self.skip_blanks() != Some(b':') {
            return fail(self.at, "expected ':' after an object's key");
        }
        self.at += 1;
        Ok(())
    }

    /// Reads the string whose opening quote is the next byte.
    #[inline(always)]
    fn string(&mut self) -> Result<(), InvalidJson> {
        self.at += 1;
        loop {
            self.skip_plain();
            match self.text.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.at = after_escape(self.text, self.at)?,
                Some(_) => return fail(self.at, "control character in a string"),
                None => return fail(self.at, "the text ends inside a string"),
            }
        }
    }

    /// Moves to the end of plain string content, or of the text.
    #[inline(always)]
    fn skip_plain(&mut self) {
        if self.at >= self.ahead.to {
            let Some(found) = stops(self.text, self.at) else {
                return self.skip_run(self.at);
            };
            self.ahead = Lookahead {
                stop: found.stop,
                from: self.at,
                to: self.at + STEP,
                beyond_ascii: self.ahead.beyond_ascii | (found.high != 0),
            };
        }
        match self.ahead.stop >> (self.at - self.ahead.from) {
            0 => self.skip_run(self.ahead.to),
            stop => self.at += stop.trailing_zeros() as usize,
        }
    }

    /// Moves to the end of plain string content that reaches at least to `from`.
    #[inline(always)]
    fn skip_run(&mut self, from: usize) {
        let run = plain_run(self.text, from.min(self.text.len()));
        self.at = run.end;
        self.ahead.beyond_ascii |= !run.ascii;
    }

    #[inline(always)]
    fn number(&mut self) -> Result<(), InvalidJson> {
        if self.text.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        match self.text.get(self.at) {
            // No digit may follow a leading zero: "01" fails because of the text after the number.
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits("")?,
            _ => return fail(self.at, "expected a digit after '-'"),
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits("expected a digit after the decimal point")?;
        }
        if let Some(b'e' | b'E') = self.text.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.text.get(self.at) {
                self.at += 1;
            }
            self.digits("expected a digit in the exponent")?;
        }
        Ok(())
    }

    /// Reads one or more digits. Without a digit, it fails with `reason`.
    #[inline(always)]
    fn digits(&mut self, reason: &'static str) -> Result<(), InvalidJson> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.text.get(self.at) {
            self.at += 1;
        }
        if self.at == start {
            fail(self.at, reason)
        } else {
            Ok(())
        }
    }

    #[inline(always)]
    fn word(&mut self, word: &'static [u8]) -> Result<(), InvalidJson> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            return Ok(());
        }
        fail(self.at, "expected a value (true, false or null misspelt)")
    }
}

/// The position after the escape that begins at `at`.
fn after_escape(text: &[u8], at: usize) -> Result<usize, InvalidJson> {
    match text.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => match text.get(at + 2..at + 6) {
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => Ok(at + 6),
            _ => fail(at, "expected four hexadecimal digits after '\\u'"),
        },
        Some(_) => fail(at, "unknown escape in a string"),
        None => fail(at + 1, "the text ends inside a string"),
    }
}

#[cold]
fn fail<T>(offset: usize, reason: &'static str) -> Result<T, InvalidJson> {
    Err(InvalidJson { offset, reason })
}
