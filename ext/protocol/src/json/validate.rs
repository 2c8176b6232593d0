//! Is a text exactly one JSON value (RFC 8259), in valid UTF-8?

use super::scan::{STEP, plain_run, stops};
use std::fmt;

/// Why a text is not one JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidJson {
    /// Byte offset of the first byte that is wrong; the length of the text where it ends too early.
    pub offset: usize,
    /// What is wrong there, in words.
    pub reason: &'static str,
}

impl fmt::Display for InvalidJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid JSON at byte {}: {}", self.offset, self.reason)
    }
}

impl std::error::Error for InvalidJson {}

/// Checks that `text` is exactly one JSON value as RFC 8259 defines it, whitespace around it allowed, in valid UTF-8.
///
/// Any depth of nesting is fine: what is open is remembered as one bit a level, and nothing recurses. Duplicate keys,
/// numbers of any size and escaped lone surrogates are valid, as the RFC has it.
///
/// # Errors
///
/// [`InvalidJson`] says where the text stops being JSON, and why.
pub fn validate(text: &[u8]) -> Result<(), InvalidJson> {
    let ascii = document(text)?;
    if !ascii && let Err(error) = std::str::from_utf8(text) {
        return fail(error.valid_up_to(), "not valid UTF-8");
    }
    Ok(())
}

/// Reads all of it, and says whether all its strings are ASCII: outside of them nothing else is let through.
///
/// One loop for values and one, inside it, for what follows them: most of what a text is made of goes from one to the
/// other without asking again what was expected.
fn document(text: &[u8]) -> Result<bool, InvalidJson> {
    let mut open = ContainerStack::default();
    // Apart from the rest, and nothing of the rest is lent to a function of its own: that stays in registers.
    let mut deep = Vec::new();
    let mut rest = Validator {
        text,
        at: 0,
        ahead: Lookahead::default(),
    };
    loop {
        match rest.value(open.depth > 0)? {
            Value::Whole => {}
            Value::Array => {
                open.push(Container::Array, &mut deep);
                if rest.skip_blanks() != Some(b']') {
                    continue;
                }
                rest.at += 1;
                open.pop(&mut deep);
            }
            Value::Object => {
                open.push(Container::Object, &mut deep);
                if rest.skip_blanks() != Some(b'}') {
                    rest.key()?;
                    continue;
                }
                rest.at += 1;
                open.pop(&mut deep);
            }
        }
        while let Some(container) = open.innermost() {
            match (container, rest.skip_blanks()) {
                (Container::Array, Some(b',')) => {
                    rest.at += 1;
                    break;
                }
                (Container::Object, Some(b',')) => {
                    rest.at += 1;
                    rest.key()?;
                    break;
                }
                (Container::Array, Some(b']')) | (Container::Object, Some(b'}')) => {
                    rest.at += 1;
                    open.pop(&mut deep);
                }
                (Container::Array, _) => return fail(rest.at, "expected ',' or ']' in an array"),
                (Container::Object, _) => return fail(rest.at, "expected ',' or '}' in an object"),
            }
        }
        if open.depth == 0 {
            return match rest.skip_blanks() {
                None => Ok(!rest.ahead.beyond_ascii),
                Some(_) => fail(rest.at, "more text after the value"),
            };
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Container {
    Array,
    Object,
}

/// The containers that are open, innermost last: one bit each, 64 to a word.
#[derive(Default)]
struct ContainerStack {
    depth: usize,
    /// The levels of the word that is being filled; the innermost is the lowest bit, 1 for an object.
    word: u64,
}

impl ContainerStack {
    /// `deep` takes full words, outermost first.
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

/// The last stretch of text that was searched for the ends of strings: what a few short strings share.
#[derive(Clone, Copy, Default)]
struct Lookahead {
    /// The bytes at which plain string content ends: bit `n` is byte `from + n`.
    stop: u64,
    from: usize,
    /// The end of the stretch, which may lie behind that of the text.
    to: usize,
    /// Whether there was anything but ASCII in it, or in one before it.
    beyond_ascii: bool,
}

/// What a value has turned out to be.
enum Value {
    /// Read to its end.
    Whole,
    /// Its first bracket is read.
    Array,
    /// Its first brace is read.
    Object,
}

/// What is still to be read.
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

    /// Reads a value, or the beginning of one that holds others.
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

    /// Moves to where plain string content ends, or the text.
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

    /// Moves to where plain string content ends that goes on at least to `from`.
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
            // Nothing may follow a leading zero: "01" fails as text after the number.
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

    /// Reads one digit or more; `reason` says what is missing where there is none.
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

/// Where the escape that begins at `at` ends.
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
