//! The object keys of one batch, each interned once.

use rb_sys::VALUE;

use super::strings::Strings;

/// How many different keys are cached; a power of two.
const SLOTS: usize = 64;
/// How many slots a key may be in.
const PROBES: usize = 4;

/// Caches the interned string of each key. It must be part of a local variable of the converting function: the strings
/// remain alive and unmoved because they are on the machine stack.
pub(super) struct Keys {
    slots: [Slot; SLOTS],
}

#[derive(Clone, Copy)]
struct Slot {
    /// The first and last bytes of the text: all of it up to 16.
    ends: (u64, u64),
    /// Where the key is in the converted text. A length of 0 marks an empty slot.
    start: usize,
    len: usize,
    string: VALUE,
}

impl Keys {
    pub(super) fn new() -> Self {
        Self {
            slots: [Slot {
                ends: (0, 0),
                start: 0,
                len: 0,
                string: 0,
            }; SLOTS],
        }
    }

    /// The interned string for the `len` bytes at `start` of `text`, which must be a whole string without escapes.
    #[inline]
    pub(super) fn intern(&mut self, text: &[u8], start: usize, len: usize, strings: &Strings) -> Option<VALUE> {
        let key = text.get(start..start + len)?;
        let ends = ends(key);
        let home = hash(ends, len);
        if len == 0 {
            return strings.intern(key);
        }
        for probe in 0..PROBES {
            let slot = &self.slots[(home + probe) % SLOTS];
            if slot.len == len
                && slot.ends == ends
                && (len <= 16 || text.get(slot.start..slot.start + len) == Some(key))
            {
                return Some(slot.string);
            }
            if slot.len == 0 {
                return self.store(home + probe, key, start, ends, strings);
            }
        }
        self.store(home, key, start, ends, strings)
    }

    #[cold]
    #[inline(never)]
    fn store(&mut self, place: usize, key: &[u8], start: usize, ends: (u64, u64), strings: &Strings) -> Option<VALUE> {
        let string = strings.intern(key)?;
        self.slots[place % SLOTS] = Slot {
            ends,
            start,
            len: key.len(),
            string,
        };
        Some(string)
    }
}

/// The first and the last eight bytes of `key`. For a shorter key, words that differ from those of all other keys of
/// its length.
#[inline]
fn ends(key: &[u8]) -> (u64, u64) {
    if let (Some(first), Some(last)) = (key.first_chunk(), key.last_chunk()) {
        (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
    } else if let (Some(first), Some(last)) = (key.first_chunk(), key.last_chunk()) {
        (u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into())
    } else {
        (key.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)), 0)
    }
}

#[inline]
fn hash((first, last): (u64, u64), len: usize) -> usize {
    let mixed = (first ^ last.rotate_left(29) ^ len as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> (64 - SLOTS.trailing_zeros())) as usize
}
