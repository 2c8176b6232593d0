//! JSON numbers into Ruby numbers.

use std::ffi::{c_char, c_long};

use rb_sys::VALUE;

/// The longest sequence of digits that always fits an i64.
const I64_DIGITS: usize = 18;
/// The longest sequence of digits that always fits a u64. Longer numbers that are not integers are left to JSON.parse,
/// because Ruby does not round all of them as IEEE 754 demands.
const U64_DIGITS: usize = 19;
/// Powers of ten that an f64 holds exactly.
const EXACT: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// Reads the number at `from`. Returns it and where it ends; `None` if it is no JSON number, or one that JSON.parse has
/// to read.
#[inline]
pub(super) fn number(text: &[u8], from: usize) -> Option<(VALUE, usize)> {
    let negative = text.get(from) == Some(&b'-');
    let first = from + usize::from(negative);
    let mut digits = Digits { value: 0, count: 0 };
    let at = digits.read(text, first);
    if digits.count == 0 || (digits.count > 1 && text.get(first) == Some(&b'0')) {
        return None;
    }
    match text.get(at) {
        Some(b'.' | b'e' | b'E') => {
            let (value, end) = float(text, from, at, digits)?;
            // SAFETY: with the GVL, on a Ruby thread, inside the conversion's rb_protect; may raise NoMemoryError, no
            // destructor is skipped.
            Some((unsafe { rb_sys::rb_float_new(value) }, end))
        }
        _ if digits.count <= I64_DIGITS => {
            let value = digits.value as i64;
            Some((integer(if negative { -value } else { value }), at))
        }
        _ => Some((big_integer(text.get(from..at)?)?, at)),
    }
}

/// Digits read so far. Their value wraps around after [`U64_DIGITS`].
struct Digits {
    value: u64,
    count: usize,
}

impl Digits {
    /// Reads the digits from `at` on and returns where they end.
    #[inline]
    fn read(&mut self, text: &[u8], at: usize) -> usize {
        let mut end = at;
        while let Some(digit @ b'0'..=b'9') = text.get(end) {
            self.value = self.value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            end += 1;
        }
        self.count += end - at;
        end
    }
}

#[inline]
fn integer(value: i64) -> VALUE {
    match c_long::try_from(value) {
        // The tagging of C's LONG2FIX.
        Ok(long) if (rb_sys::FIXNUM_MIN..=rb_sys::FIXNUM_MAX).contains(&long) => {
            (long as VALUE) << 1 | rb_sys::FIXNUM_FLAG as VALUE
        }
        // SAFETY: with the GVL, on a Ruby thread, inside the conversion's rb_protect; may raise NoMemoryError, no
        // destructor is skipped.
        _ => unsafe { rb_sys::rb_ll2inum(value) },
    }
}

/// An integer of any size; `text` is known to be one.
#[cold]
fn big_integer(text: &[u8]) -> Option<VALUE> {
    let len = c_long::try_from(text.len()).ok()?;
    // SAFETY: as in `integer`. Only this frame refers to the string; the black_box keeps it alive until it was read.
    unsafe {
        let string = rb_sys::rb_str_new(text.as_ptr().cast::<c_char>(), len);
        let value = rb_sys::rb_str_to_inum(string, 10, 0);
        std::hint::black_box(&string);
        Some(value)
    }
}

/// Continues at the decimal point or the exponent at `at`. The number begins at `from`.
#[inline]
fn float(text: &[u8], from: usize, mut at: usize, mut digits: Digits) -> Option<(f64, usize)> {
    let mut exponent = 0_i32;
    if text.get(at) == Some(&b'.') {
        let end = digits.read(text, at + 1);
        let count = end - at - 1;
        if count == 0 || digits.count > U64_DIGITS {
            return None;
        }
        exponent = -(count as i32);
        at = end;
    }
    if let Some(b'e' | b'E') = text.get(at) {
        let sign = text.get(at + 1).filter(|byte| matches!(byte, b'+' | b'-'));
        let mut power = Digits { value: 0, count: 0 };
        at = power.read(text, at + 1 + usize::from(sign.is_some()));
        if !(1..=4).contains(&power.count) {
            return None;
        }
        let power = power.value as i32;
        exponent += if sign == Some(&b'-') { -power } else { power };
    }
    if digits.count > U64_DIGITS {
        return None;
    }
    let value = match EXACT.get(exponent.unsigned_abs() as usize) {
        // Both factors are exact, so the single rounding is correct.
        Some(&power) if digits.value < 1 << f64::MANTISSA_DIGITS => {
            let value = digits.value as f64;
            let value = if exponent < 0 { value / power } else { value * power };
            if text.get(from) == Some(&b'-') { -value } else { value }
        }
        _ => std::str::from_utf8(text.get(from..at)?).ok()?.parse().ok()?,
    };
    // Near or out of range: leave it to JSON.parse, since Ruby may warn.
    (value.is_normal() || digits.value == 0).then_some((value, at))
}
