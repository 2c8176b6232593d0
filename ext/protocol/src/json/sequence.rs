//! [`JsonForm::Sequence`](super::JsonForm::Sequence) and [`JsonForm::Lines`](super::JsonForm::Lines): values one after
//! another.
//!
//! Such a body usually consists of many small values. So these forms copy every item once, into one block for each
//! piece, instead of slicing out many small blocks.

use super::block::{Block, SplitError, SplitReason};
use super::pending::{Pending, is_blank, is_blank_byte};
use super::scan::{STEP, Strings, plain_run};
use bytes::Bytes;

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SequenceState {
    /// Nothing: it is between two values.
    Between,
    /// A number, true, false or null at the top level.
    Scalar,
    /// A string at the top level.
    String { escaped: bool },
    /// An array or object that is one item, and that this bracket ends.
    Container { end: u8 },
    /// An array whose elements are items.
    Array { separated: bool },
}

/// What an array at the top level is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrays {
    /// Its elements are items.
    Flattened,
    /// It is one item.
    Items,
}

/// Splits consecutive bodies.
#[derive(Debug, Clone)]
pub(super) struct SequenceSplitter {
    pub(super) pending: Pending,
    arrays: Arrays,
    state: SequenceState,
    /// Tracks strings inside the current container.
    strings: Strings,
    /// The number of open brackets, the outermost included.
    depth: u64,
    ready: Ready,
}

/// Complete items that were not handed out yet. The last one remains here until the next piece or the end.
#[derive(Debug, Clone, Default)]
struct Ready {
    text: Vec<u8>,
    items: usize,
    /// Where the last item begins.
    last: usize,
}

impl Ready {
    fn flush(&mut self, out: &mut dyn FnMut(Block)) {
        let Self { text, items, .. } = std::mem::take(self);
        if items > 0 {
            out(Block {
                text: text.into(),
                items,
            });
        }
    }

    /// Hands out all items except the last.
    fn flush_but_last(&mut self, out: &mut dyn FnMut(Block)) {
        if self.items < 2 {
            return;
        }
        let last = self.text.split_off(self.last);
        // Remove the comma before the last item.
        self.text.pop();
        let text = std::mem::replace(&mut self.text, last);
        out(Block {
            text: text.into(),
            items: self.items - 1,
        });
        self.items = 1;
        self.last = 0;
    }

    fn add(&mut self, item: &[u8]) {
        if self.items > 0 {
            self.text.push(b',');
        }
        self.last = self.text.len();
        self.text.extend_from_slice(item);
        self.items += 1;
    }
}

impl SequenceSplitter {
    pub(super) fn new(max_item_bytes: usize, arrays: Arrays) -> Self {
        Self {
            pending: Pending::new(max_item_bytes),
            arrays,
            state: SequenceState::Between,
            strings: Strings::default(),
            depth: 0,
            ready: Ready::default(),
        }
    }

    pub(super) fn push(&mut self, piece: &Bytes, out: &mut dyn FnMut(Block)) -> Result<(), SplitError> {
        // Where the current item begins in this piece.
        let mut start = 0;
        let result = self.read(piece, &mut start, out);
        if result.is_err() {
            // Hand out all complete items before the error, so that the result does not depend on the pieces.
            self.ready.flush(out);
        } else {
            self.ready.flush_but_last(out);
        }
        result?;
        if self.state != SequenceState::Between {
            self.pending.extend(piece.slice(start..));
            self.pending.check_size(self.pending.len(), piece.len())?;
        }
        self.pending.before += piece.len() as u64;
        Ok(())
    }

    fn read(&mut self, piece: &[u8], start: &mut usize, out: &mut dyn FnMut(Block)) -> Result<(), SplitError> {
        let mut at = 0;
        while at < piece.len() {
            at = match self.state {
                SequenceState::Between => self.begin(piece, at, start)?,
                SequenceState::Scalar => self.scalar(piece, at, *start, out)?,
                SequenceState::String { escaped } => self.string(piece, at, escaped, *start, out)?,
                SequenceState::Container { .. } | SequenceState::Array { .. } => {
                    self.container(piece, at, start, out)?
                }
            };
        }
        Ok(())
    }

    fn begin(&mut self, piece: &[u8], at: usize, start: &mut usize) -> Result<usize, SplitError> {
        *start = at;
        self.state = match piece[at] {
            byte if is_blank_byte(byte) => SequenceState::Between,
            b'[' if self.arrays == Arrays::Flattened => {
                *start = at + 1;
                SequenceState::Array { separated: false }
            }
            b'[' => SequenceState::Container { end: b']' },
            b'{' => SequenceState::Container { end: b'}' },
            b'"' => SequenceState::String { escaped: false },
            b',' | b']' | b'}' => return self.pending.error(at, SplitReason::Unbalanced),
            _ => SequenceState::Scalar,
        };
        self.depth = 1;
        self.strings = Strings::default();
        Ok(at + 1)
    }

    fn scalar(
        &mut self,
        piece: &[u8],
        at: usize,
        start: usize,
        out: &mut dyn FnMut(Block),
    ) -> Result<usize, SplitError> {
        let ends = |&byte: &u8| is_blank_byte(byte) || matches!(byte, b'[' | b']' | b'{' | b'}' | b'"' | b',');
        let Some(length) = piece[at..].iter().position(ends) else {
            return Ok(piece.len());
        };
        let end = at + length;
        self.complete(piece, start, end, out)?;
        self.state = SequenceState::Between;
        Ok(end)
    }

    fn string(
        &mut self,
        piece: &[u8],
        at: usize,
        escaped: bool,
        start: usize,
        out: &mut dyn FnMut(Block),
    ) -> Result<usize, SplitError> {
        if escaped {
            self.state = SequenceState::String { escaped: false };
            return Ok(at + 1);
        }
        let end = plain_run(piece, at).end;
        match piece.get(end) {
            None => return Ok(end),
            Some(b'"') => {
                self.complete(piece, start, end + 1, out)?;
                self.state = SequenceState::Between;
            }
            Some(b'\\') => self.state = SequenceState::String { escaped: true },
            // A control character. The parser of the item reports it.
            Some(_) => {}
        }
        Ok(end + 1)
    }

    /// Reads inside an array or object, up to its end or for one step.
    fn container(
        &mut self,
        piece: &[u8],
        at: usize,
        start: &mut usize,
        out: &mut dyn FnMut(Block),
    ) -> Result<usize, SplitError> {
        let structure = self.strings.step(&piece[at..]);
        let mut marks = structure.open | structure.close | structure.comma;
        while marks != 0 {
            let mark = marks.trailing_zeros();
            marks &= marks - 1;
            let position = at + mark as usize;
            if structure.open >> mark & 1 == 1 {
                self.depth += 1;
            } else if structure.close >> mark & 1 == 1 {
                self.depth -= 1;
                if self.depth == 0 {
                    self.end(piece, *start, position, out)?;
                    self.state = SequenceState::Between;
                    return Ok(position + 1);
                }
            } else if self.depth == 1 && matches!(self.state, SequenceState::Array { .. }) {
                self.complete(piece, *start, position, out)?;
                *start = position + 1;
                self.state = SequenceState::Array { separated: true };
            }
        }
        Ok(piece.len().min(at + STEP))
    }

    /// The outermost container ends with the bracket at `at`.
    fn end(&mut self, piece: &[u8], start: usize, at: usize, out: &mut dyn FnMut(Block)) -> Result<(), SplitError> {
        match (self.state, piece[at]) {
            (SequenceState::Array { separated }, b']') => {
                if !separated && is_blank(&piece[start..at]) && self.pending.is_blank() {
                    self.pending.take();
                    return Ok(());
                }
                self.complete(piece, start, at, out)
            }
            (SequenceState::Container { end }, bracket) if bracket == end => self.complete(piece, start, at + 1, out),
            _ => self.pending.error(at, SplitReason::Unbalanced),
        }
    }

    /// An item is complete: the unfinished item, and this piece from `start` to `end`.
    fn complete(
        &mut self,
        piece: &[u8],
        start: usize,
        end: usize,
        out: &mut dyn FnMut(Block),
    ) -> Result<(), SplitError> {
        let rest = &piece[start..end];
        self.pending.check(rest, end)?;
        let mut item = self.pending.take_copied();
        if self.pending.skip > 0 {
            self.pending.skip -= 1;
        } else if item.is_empty() {
            self.ready.add(rest);
        } else {
            // The item may be large. It becomes a block of its own, instead of being copied into the others' block.
            self.ready.flush(out);
            item.extend_from_slice(rest);
            self.ready = Ready {
                text: item,
                items: 1,
                last: 0,
            };
        }
        Ok(())
    }

    pub(super) fn finish(&mut self) -> Result<Option<Block>, SplitError> {
        match self.state {
            SequenceState::Between => {}
            // The end of the body ends it.
            SequenceState::Scalar => {
                let item = self.pending.take();
                self.state = SequenceState::Between;
                match self.pending.skip.checked_sub(1) {
                    Some(remaining) => self.pending.skip = remaining,
                    None => self.ready.add(&item),
                }
            }
            SequenceState::String { .. } | SequenceState::Container { .. } | SequenceState::Array { .. } => {
                return self.pending.error(0, SplitReason::Truncated);
            }
        }
        Ok(self.take_ready())
    }

    /// The body ends here, and the next one continues the unfinished item.
    pub(super) fn pause(&mut self) -> Option<Block> {
        self.pending.carry();
        self.take_ready()
    }

    pub(super) fn is_within_item(&self) -> bool {
        self.state != SequenceState::Between
    }

    fn take_ready(&mut self) -> Option<Block> {
        let Ready { text, items, .. } = std::mem::take(&mut self.ready);
        (items > 0).then(|| Block {
            text: text.into(),
            items,
        })
    }
}
