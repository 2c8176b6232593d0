//! JSON text straight into Ruby objects: the fast path, which reads plain JSON and refuses the rest.
//!
//! It is written by hand because of a measurement, on 10,000 objects of 103 bytes (x86-64, Ruby 3.1; one quick pass on
//! a machine that others used too, which shows what is faster, but not by how many tenths). This parser makes Ruby
//! objects of them in 2.3 ms. A library first builds a tree, without any Ruby object, which adds 0.6 ms with sonic-rs,
//! 3.1 with simd-json and 9.4 with serde_json (`rake bench:core`). JSON.parse (json 2.6.1) takes 7 ms. A Ruby loop that
//! makes the same objects out of nothing takes 5 ms.
//!
//! # What keeps this safe
//!
//! All `unsafe` in this module and its helpers (`stack`, `keys`, `strings`, `numbers`) relies on the same four points.
//!
//! - *Thread and GVL.* Only `json::convert` makes a [`Parser`]. It gets a `&Ruby`, and the parser does not leave it.
//! - *The GC.* Every object that is still needed is referred to from the machine stack (local variables, the parser,
//!   its room and its keys, all of which are local variables), from a temporary buffer of Ruby's that the stack refers
//!   to, or from the result, which the stack refers to. The GC marks the stack and such buffers conservatively: it
//!   neither frees nor moves what they refer to. No object is stored in Rust's heap.
//! - *Exceptions.* The whole conversion runs inside one `rb_protect`. A Ruby exception jumps from a Ruby function over
//!   the frames of this module to that `rb_protect`. So nothing here has a destructor, and nothing reads the parser
//!   after the jump.
//! - *Panics* are caught inside that `rb_protect`; none crosses a frame of Ruby's.

use std::cell::Cell;

use durable_streams_protocol::json::scan::{item_end, plain_run};
use rb_sys::VALUE;

use super::fallback::by_json_parse;
use super::keys::Keys;
use super::numbers::number;
use super::stack::{Room, ValueStack};
use super::strings::Strings;

/// How deep an item may nest: as JSON.parse allows. Deeper ones are left to JSON.parse to refuse.
const MAX_DEPTH: usize = 100;

/// Reads one text.
pub(super) struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
    strings: Strings,
    keys: Keys,
    values: ValueStack<'a>,
    /// True while JSON.parse runs. A shared cell, so that it is correct after a jump.
    in_json: &'a Cell<bool>,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a [u8], room: &'a mut Room, in_json: &'a Cell<bool>) -> Self {
        let (strings, keys, values) = (Strings::new(), Keys::new(), ValueStack::new(room));
        Parser {
            text,
            at: 0,
            depth: 0,
            strings,
            keys,
            values,
            in_json,
        }
    }

    /// Reads comma-separated values into the array `result`. JSON.parse reads what the fast path refuses.
    pub(super) fn items(&mut self, result: VALUE) {
        self.skip_blanks();
        if self.at == self.text.len() {
            return;
        }
        loop {
            let start = self.at;
            let value = match self.item() {
                Some(value) => value,
                None => {
                    let end = item_end(self.text, start);
                    self.hand_over(start, end)
                }
            };
            // SAFETY: see the module. `result` is an array that only this conversion knows.
            unsafe { rb_sys::rb_ary_push(result, value) };
            if self.at >= self.text.len() {
                return;
            }
            // The comma.
            self.at += 1;
        }
    }

    /// Reads the text as one value.
    pub(super) fn whole(&mut self) -> VALUE {
        match self.item() {
            Some(value) if self.at == self.text.len() => value,
            _ => self.hand_over(0, self.text.len()),
        }
    }

    /// Frees buffers that would otherwise wait for the GC.
    pub(super) fn release(&mut self) {
        self.values.release();
    }

    /// Reads a value that must be followed by a comma or the end of the text.
    #[inline]
    fn item(&mut self) -> Option<VALUE> {
        self.skip_blanks();
        let value = self.value()?;
        match self.skip_blanks() {
            None | Some(b',') => Some(value),
            Some(_) => None,
        }
    }

    /// Lets JSON.parse read the text from `start` to `end`.
    #[cold]
    #[inline(never)]
    fn hand_over(&mut self, start: usize, end: usize) -> VALUE {
        self.values.truncate(0);
        self.depth = 0;
        self.at = end;
        by_json_parse(&self.text[start..end], self.in_json)
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
    fn value(&mut self) -> Option<VALUE> {
        match self.text.get(self.at)? {
            b'"' => self.string(),
            b'{' => self.object(),
            b'-' | b'0'..=b'9' => {
                let (value, end) = number(self.text, self.at)?;
                self.at = end;
                Some(value)
            }
            b'[' => self.array(),
            b't' => self.word(b"true", rb_sys::Qtrue as VALUE),
            b'f' => self.word(b"false", rb_sys::Qfalse as VALUE),
            b'n' => self.word(b"null", rb_sys::Qnil as VALUE),
            _ => None,
        }
    }

    #[inline]
    fn word(&mut self, word: &[u8], value: VALUE) -> Option<VALUE> {
        let found = self.text.get(self.at..)?.starts_with(word);
        self.at += word.len();
        found.then_some(value)
    }

    #[inline]
    fn enter(&mut self) -> Option<()> {
        self.at += 1;
        self.depth += 1;
        (self.depth <= MAX_DEPTH).then_some(())
    }

    fn array(&mut self) -> Option<VALUE> {
        self.enter()?;
        let base = self.values.len();
        if self.skip_blanks()? != b']' {
            loop {
                let value = self.value()?;
                self.values.push(value);
                match self.skip_blanks()? {
                    b',' => self.at += 1,
                    b']' => break,
                    _ => return None,
                }
                self.skip_blanks();
            }
        }
        self.at += 1;
        self.depth -= 1;
        let (start, count) = self.values.since(base);
        // SAFETY: see the module. `start` points to `count` values, which nothing changes meanwhile.
        let array = unsafe { rb_sys::rb_ary_new_from_values(count, start) };
        self.values.truncate(base);
        Some(array)
    }

    fn object(&mut self) -> Option<VALUE> {
        self.enter()?;
        let base = self.values.len();
        if self.skip_blanks()? != b'}' {
            loop {
                let key = self.key()?;
                self.values.push(key);
                if self.skip_blanks()? != b':' {
                    return None;
                }
                self.at += 1;
                self.skip_blanks();
                let value = self.value()?;
                self.values.push(value);
                match self.skip_blanks()? {
                    b',' => self.at += 1,
                    b'}' => break,
                    _ => return None,
                }
                self.skip_blanks();
            }
        }
        self.at += 1;
        self.depth -= 1;
        let hash = self.hash(base);
        self.values.truncate(base);
        Some(hash)
    }

    /// A hash of the keys and values from `base` on. Of a key that occurs twice, the last value counts.
    #[inline]
    fn hash(&self, base: usize) -> VALUE {
        let (start, count) = self.values.since(base);
        // SAFETY: see the module. `start` points to `count` alternating keys and values, which nothing changes
        // meanwhile; the keys are interned strings, whose hash and comparison run no Ruby code.
        unsafe {
            #[cfg(ruby_gte_3_2)]
            let hash = rb_sys::rb_hash_new_capa(count / 2);
            #[cfg(not(ruby_gte_3_2))]
            let hash = rb_sys::rb_hash_new();
            rb_sys::rb_hash_bulk_insert(count, start, hash);
            hash
        }
    }

    /// Reads an object's key.
    #[inline]
    fn key(&mut self) -> Option<VALUE> {
        if self.text.get(self.at) != Some(&b'"') {
            return None;
        }
        let start = self.at + 1;
        let run = plain_run(self.text, start);
        if self.text.get(run.end) == Some(&b'"') {
            self.at = run.end + 1;
            return self.keys.intern(self.text, start, run.end - start, &self.strings);
        }
        let (end, _) = self.string_end(run.end)?;
        self.at = end + 1;
        self.strings.intern_escaped(self.text.get(start..end)?)
    }

    /// Reads a string.
    #[inline]
    fn string(&mut self) -> Option<VALUE> {
        let start = self.at + 1;
        let run = plain_run(self.text, start);
        if self.text.get(run.end) == Some(&b'"') {
            self.at = run.end + 1;
            return Strings::plain(self.text.get(start..run.end)?, run.ascii);
        }
        let (end, ascii) = self.string_end(run.end)?;
        self.at = end + 1;
        Strings::escaped(self.text.get(start..end)?, run.ascii & ascii)
    }

    /// Finds the quote that ends a string whose next backslash is at `at`, and whether the text before the quote is
    /// ASCII.
    fn string_end(&self, mut at: usize) -> Option<(usize, bool)> {
        let mut ascii = true;
        loop {
            match self.text.get(at)? {
                b'"' => return Some((at, ascii)),
                b'\\' => {
                    // The escaped character is checked when the escape is resolved.
                    ascii &= self.text.get(at + 1)?.is_ascii();
                    let run = plain_run(self.text, at + 2);
                    ascii &= run.ascii;
                    at = run.end;
                }
                // A control character.
                _ => return None,
            }
        }
    }
}
