//! Is a text exactly one JSON value (RFC 8259), in valid UTF-8?

use super::scan::plain_run;
use std::fmt;

/// Why a text is not one JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invalid {
    /// Byte offset of the first byte that is wrong; the length of the text where it ends too early.
    pub offset: usize,
    /// What is wrong there, in words.
    pub reason: &'static str,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid JSON at byte {}: {}", self.offset, self.reason)
    }
}

impl std::error::Error for Invalid {}

/// Checks that `text` is exactly one JSON value as RFC 8259 defines it, whitespace around it allowed, in valid UTF-8.
///
/// Any depth of nesting is fine: what is open is remembered as one bit a level, and nothing recurses. Duplicate keys,
/// numbers of any size and escaped lone surrogates are valid, as the RFC has it.
///
/// # Errors
///
/// [`Invalid`] says where the text stops being JSON, and why.
pub fn validate(text: &[u8]) -> Result<(), Invalid> {
    let mut validator = Validator {
        text,
        at: 0,
        ascii: true,
        open: Open::default(),
    };
    validator.document()?;
    if !validator.ascii
        && let Err(error) = std::str::from_utf8(text)
    {
        return Err(Invalid {
            offset: error.valid_up_to(),
            reason: "not valid UTF-8",
        });
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Container {
    Array,
    Object,
}

/// The containers that are open, innermost last: one bit each, 64 to a word.
#[derive(Default)]
struct Open {
    depth: usize,
    /// The levels of the word that is being filled; the innermost is the lowest bit, 1 for an object.
    word: u64,
    /// Full words, outermost first.
    full: Vec<u64>,
}

impl Open {
    #[inline]
    fn push(&mut self, container: Container) {
        if self.depth.is_multiple_of(64) && self.depth > 0 {
            self.full.push(self.word);
        }
        self.word = self.word << 1 | u64::from(container == Container::Object);
        self.depth += 1;
    }

    #[inline]
    fn pop(&mut self) {
        self.depth -= 1;
        self.word >>= 1;
        if self.depth.is_multiple_of(64) {
            self.word = self.full.pop().unwrap_or_default();
        }
    }

    #[inline]
    fn innermost(&self) -> Option<Container> {
        match (self.depth, self.word & 1) {
            (0, _) => None,
            (_, 0) => Some(Container::Array),
            (_, _) => Some(Container::Object),
        }
    }
}

struct Validator<'a> {
    text: &'a [u8],
    at: usize,
    /// Whether all strings so far are ASCII: outside of them nothing else is let through.
    ascii: bool,
    open: Open,
}

/// What comes next in the text.
enum Next {
    Value,
    /// The first value of an array, or its end.
    ValueOrEnd,
    Key,
    /// The first key of an object, or its end.
    KeyOrEnd,
    /// What may follow a complete value.
    AfterValue,
}

impl Validator<'_> {
    fn document(&mut self) -> Result<(), Invalid> {
        let mut next = Next::Value;
        loop {
            let byte = self.skip_blanks();
            next = match next {
                Next::ValueOrEnd if byte == Some(b']') => self.close(),
                Next::Value | Next::ValueOrEnd => self.value(byte)?,
                Next::KeyOrEnd if byte == Some(b'}') => self.close(),
                Next::Key | Next::KeyOrEnd => self.key(byte)?,
                Next::AfterValue => match (self.open.innermost(), byte) {
                    (Some(Container::Array), Some(b',')) => self.step(Next::Value),
                    (Some(Container::Object), Some(b',')) => self.step(Next::Key),
                    (Some(Container::Array), Some(b']')) | (Some(Container::Object), Some(b'}')) => self.close(),
                    (None, None) => return Ok(()),
                    (None, Some(_)) => return self.fail("more text after the value"),
                    (Some(Container::Array), _) => return self.fail("expected ',' or ']' in an array"),
                    (Some(Container::Object), _) => return self.fail("expected ',' or '}' in an object"),
                },
            };
        }
    }

    /// Moves to the next byte that is not whitespace and returns it.
    #[inline]
    fn skip_blanks(&mut self) -> Option<u8> {
        loop {
            match self.text.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    #[inline]
    fn step(&mut self, next: Next) -> Next {
        self.at += 1;
        next
    }

    #[inline]
    fn close(&mut self) -> Next {
        self.open.pop();
        self.step(Next::AfterValue)
    }

    #[inline]
    fn value(&mut self, byte: Option<u8>) -> Result<Next, Invalid> {
        match byte {
            Some(b'"') => self.string()?,
            Some(b'{') => {
                self.open.push(Container::Object);
                return Ok(self.step(Next::KeyOrEnd));
            }
            Some(b'[') => {
                self.open.push(Container::Array);
                return Ok(self.step(Next::ValueOrEnd));
            }
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word(b"true")?,
            Some(b'f') => self.word(b"false")?,
            Some(b'n') => self.word(b"null")?,
            Some(_) => return self.fail("expected a value"),
            None if self.open.depth == 0 => return self.fail("no value"),
            None => return self.fail("the text ends where a value should be"),
        }
        Ok(Next::AfterValue)
    }

    #[inline]
    fn key(&mut self, byte: Option<u8>) -> Result<Next, Invalid> {
        if byte != Some(b'"') {
            return self.fail("expected a string as an object's key");
        }
        self.string()?;
        if self.skip_blanks() != Some(b':') {
            return self.fail("expected ':' after an object's key");
        }
        Ok(self.step(Next::Value))
    }

    /// Reads the string whose opening quote is the next byte.
    #[inline]
    fn string(&mut self) -> Result<(), Invalid> {
        self.at += 1;
        loop {
            let run = plain_run(self.text, self.at);
            self.at = run.end;
            self.ascii &= run.ascii;
            match self.text.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(_) => return self.fail("control character in a string"),
                None => return self.fail("the text ends inside a string"),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Invalid> {
        match self.text.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => match self.text.get(self.at + 2..self.at + 6) {
                Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => self.at += 6,
                _ => return self.fail("expected four hexadecimal digits after '\\u'"),
            },
            Some(_) => return self.fail("unknown escape in a string"),
            None => {
                self.at += 1;
                return self.fail("the text ends inside a string");
            }
        }
        Ok(())
    }

    #[inline]
    fn number(&mut self) -> Result<(), Invalid> {
        if self.text.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        match self.text.get(self.at) {
            // Nothing may follow a leading zero: "01" fails as text after the number.
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits("")?,
            _ => return self.fail("expected a digit after '-'"),
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
    #[inline]
    fn digits(&mut self, reason: &'static str) -> Result<(), Invalid> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.text.get(self.at) {
            self.at += 1;
        }
        if self.at == start { self.fail(reason) } else { Ok(()) }
    }

    #[inline]
    fn word(&mut self, word: &'static [u8]) -> Result<(), Invalid> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            return Ok(());
        }
        self.fail("expected a value (true, false or null misspelt)")
    }

    #[cold]
    fn fail<T>(&self, reason: &'static str) -> Result<T, Invalid> {
        Err(Invalid {
            offset: self.at,
            reason,
        })
    }
}
