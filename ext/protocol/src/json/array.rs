//! [`JsonForm::Array`](super::JsonForm::Array): one array. Its elements are the items.

use super::block::{Block, SplitError, SplitReason};
use super::pending::{Pending, is_blank, is_blank_byte};
use super::scan::{STEP, Strings, Structure};
use bytes::Bytes;

/// Where the next byte of the body is, relative to the array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ArrayPhase {
    Before,
    Inside,
    After,
}

/// Splits one body.
#[derive(Debug, Clone)]
pub(super) struct ArraySplitter {
    pub(super) pending: Pending,
    phase: ArrayPhase,
    strings: Strings,
    /// The number of open brackets; 1 at the top level of the array.
    depth: u64,
    /// Whether there was a comma, after which an item must follow.
    separated: bool,
}

/// The items found in one piece: the complete ones, and where the unfinished one begins.
#[derive(Default)]
struct PieceItems {
    /// Where the current item begins in this piece.
    start: usize,
    /// Where the first item begins that is complete in this piece.
    first: usize,
    /// The number of complete items from `first` to the comma before `start`.
    items: usize,
}

impl ArraySplitter {
    pub(super) fn new(max_item_bytes: usize) -> Self {
        Self {
            phase: ArrayPhase::Before,
            strings: Strings::default(),
            depth: 0,
            separated: false,
            pending: Pending::new(max_item_bytes),
        }
    }

    pub(super) fn push(&mut self, piece: &Bytes, out: &mut dyn FnMut(Block)) -> Result<(), SplitError> {
        let result = self.read(piece, out);
        self.pending.before += piece.len() as u64;
        result
    }

    fn read(&mut self, piece: &Bytes, out: &mut dyn FnMut(Block)) -> Result<(), SplitError> {
        let mut begin = 0;
        if self.phase == ArrayPhase::Before {
            let Some(at) = piece.iter().position(|&byte| !is_blank_byte(byte)) else {
                return Ok(());
            };
            if piece[at] != b'[' {
                return self.pending.error(at, SplitReason::NotAnArray);
            }
            self.phase = ArrayPhase::Inside;
            self.depth = 1;
            begin = at + 1;
        }
        if self.phase == ArrayPhase::After {
            return self.after_array(piece, 0);
        }
        let mut found = PieceItems {
            start: begin,
            first: begin,
            items: 0,
        };
        let close = self.items(piece, begin, &mut found, out);
        if found.items > 0 {
            out(Block {
                text: piece.slice(found.first..found.start - 1),
                items: found.items,
            });
        }
        let end = match close? {
            Some(close) => {
                self.phase = ArrayPhase::After;
                close
            }
            None => piece.len(),
        };
        self.pending.extend(piece.slice(found.start..end));
        self.pending.check_size(self.pending.len(), end)?;
        if end < piece.len() {
            self.after_array(piece, end + 1)
        } else {
            Ok(())
        }
    }

    /// Reads items until the piece or the array ends. Returns the position of the array's closing bracket.
    fn items(
        &mut self,
        piece: &Bytes,
        begin: usize,
        found: &mut PieceItems,
        out: &mut dyn FnMut(Block),
    ) -> Result<Option<usize>, SplitError> {
        let mut at = begin;
        while at < piece.len() {
            let structure = self.strings.step(&piece[at..]);
            if let Some(close) = self.structure(piece, at, structure, found, out)? {
                return Ok(Some(close));
            }
            at += STEP;
        }
        Ok(None)
    }

    #[inline]
    fn structure(
        &mut self,
        piece: &Bytes,
        base: usize,
        Structure { open, close, comma }: Structure,
        found: &mut PieceItems,
        out: &mut dyn FnMut(Block),
    ) -> Result<Option<usize>, SplitError> {
        let mut brackets = open | close;
        let mut commas = comma;
        loop {
            let bracket = brackets.trailing_zeros();
            // All bits below the bracket, or all bits if there is no bracket.
            let below = if bracket == 64 { u64::MAX } else { (1 << bracket) - 1 };
            if self.depth == 1 {
                let mut separators = commas & below;
                while separators != 0 {
                    self.separator(piece, base + separators.trailing_zeros() as usize, found, out)?;
                    separators &= separators - 1;
                }
            }
            if bracket == 64 {
                return Ok(None);
            }
            commas &= !below;
            brackets &= brackets - 1;
            if open >> bracket & 1 == 1 {
                self.depth += 1;
                continue;
            }
            self.depth -= 1;
            if self.depth == 0 {
                let at = base + bracket as usize;
                // Not `[ }`: a square bracket must close the array.
                return if piece[at] == b']' {
                    Ok(Some(at))
                } else {
                    self.pending.error(at, SplitReason::Unbalanced)
                };
            }
        }
    }

    /// The current item ends at the comma at `at`.
    #[inline]
    fn separator(
        &mut self,
        piece: &Bytes,
        at: usize,
        found: &mut PieceItems,
        out: &mut dyn FnMut(Block),
    ) -> Result<(), SplitError> {
        self.pending.check(&piece[found.start..at], at)?;
        self.separated = true;
        let begun_earlier = self.pending.len() > 0;
        if begun_earlier {
            self.pending.extend(piece.slice(found.start..at));
            let text = self.pending.take();
            if self.pending.skip == 0 {
                out(Block { text, items: 1 });
            }
        }
        found.start = at + 1;
        if self.pending.skip > 0 {
            self.pending.skip -= 1;
            found.first = found.start;
        } else if begun_earlier {
            found.first = found.start;
        } else {
            found.items += 1;
        }
        Ok(())
    }

    fn after_array(&self, piece: &[u8], from: usize) -> Result<(), SplitError> {
        match piece[from..].iter().position(|&byte| !is_blank_byte(byte)) {
            Some(at) => self.pending.error(from + at, SplitReason::TrailingText),
            None => Ok(()),
        }
    }

    pub(super) fn finish(&mut self) -> Result<Option<Block>, SplitError> {
        match self.phase {
            ArrayPhase::Before => return Ok(None),
            ArrayPhase::Inside => return self.pending.error(0, SplitReason::Truncated),
            ArrayPhase::After => {}
        }
        let text = self.pending.take();
        if is_blank(&text) {
            return if self.separated {
                self.pending.error(0, SplitReason::EmptyItem)
            } else {
                Ok(None)
            };
        }
        self.separated = false;
        if self.pending.skip > 0 {
            self.pending.skip -= 1;
            return Ok(None);
        }
        Ok(Some(Block { text, items: 1 }))
    }
}
