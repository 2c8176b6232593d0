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

impl Validator<'_> {
    /// One loop for values and one, inside it, for what follows them: most of what a text is made of goes from one to
    /// the other without asking again what was expected.
    fn document(&mut self) -> Result<(), Invalid> {
        loop {
            if self.value()? {
                continue;
            }
            while let Some(container) = self.open.innermost() {
                match (container, self.skip_blanks()) {
                    (Container::Array, Some(b',')) => {
                        self.at += 1;
                        break;
                    }
                    (Container::Object, Some(b',')) => {
                        self.at += 1;
                        self.key()?;
                        break;
                    }
                    (Container::Array, Some(b']')) | (Container::Object, Some(b'}')) => self.close(),
                    (Container::Array, _) => return self.fail("expected ',' or ']' in an array"),
                    (Container::Object, _) => return self.fail("expected ',' or '}' in an object"),
                }
            }
            if self.open.depth == 0 {
                return match self.skip_blanks() {
                    None => Ok(()),
                    Some(_) => self.fail("more text after the value"),
                };
            }
        }
    }

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

    #[inline]
    fn close(&mut self) {
        self.open.pop();
        self.at += 1;
    }

    /// Reads a value, or the beginning of one that holds others: then its first value is next, and this is true.
    #[inline]
    fn value(&mut self) -> Result<bool, Invalid> {
        match self.skip_blanks() {
            Some(b'"') => self.string()?,
            Some(b'{') => {
                self.open.push(Container::Object);
                self.at += 1;
                if self.skip_blanks() != Some(b'}') {
                    self.key()?;
                    return Ok(true);
                }
                self.close();
            }
            Some(b'[') => {
                self.open.push(Container::Array);
                self.at += 1;
                if self.skip_blanks() != Some(b']') {
                    return Ok(true);
                }
                self.close();
            }
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word(b"true")?,
            Some(b'f') => self.word(b"false")?,
            Some(b'n') => self.word(b"null")?,
            Some(_) => return self.fail("expected a value"),
            None if self.open.depth == 0 => return self.fail("no value"),
            None => return self.fail("the text ends where a value should be"),
        }
        Ok(false)
    }

    /// Reads an object's key and the colon after it.
    #[inline(always)]
    fn key(&mut self) -> Result<(), Invalid> {
        if self.skip_blanks() != Some(b'"') {
            return self.fail("expected a string as an object's key");
        }
        self.string()?;
        if self.skip_blanks() != Some(b':') {
            return self.fail("expected ':' after an object's key");
        }
        self.at += 1;
        Ok(())
    }

    /// Reads the string whose opening quote is the next byte.
    #[inline(always)]
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

    #[inline(always)]
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
    #[inline(always)]
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
