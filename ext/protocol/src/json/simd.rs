//! Classifies the bytes of JSON text, many at a time: with SSE2 on x86-64, with 64-bit words elsewhere. `scan` builds
//! its searches on it.

#[cfg(target_arch = "x86_64")]
pub(super) use sse2::{WIDTH, classify, special};
#[cfg(not(target_arch = "x86_64"))]
pub(super) use words::{WIDTH, classify, special};

/// The number of bytes that `classify` reads.
pub const STEP: usize = 64;

/// Which bytes of a chunk end a plain run, and which are not ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Special {
    pub(super) stop: u32,
    pub(super) high: u32,
}

/// The classes of 64 bytes, inside and outside of strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Classes {
    pub(super) quote: u64,
    pub(super) backslash: u64,
    pub(super) open: u64,
    pub(super) close: u64,
    pub(super) comma: u64,
}

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use super::{Classes, STEP, Special};
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
    };

    pub(crate) const WIDTH: usize = 16;

    #[inline]
    pub(crate) fn special(chunk: &[u8; WIDTH]) -> Special {
        // SAFETY: every x86-64 has SSE2. The unaligned load reads exactly the 16 bytes of `chunk`; the rest computes on
        // registers. No Ruby, no unwinding.
        unsafe {
            let bytes = _mm_loadu_si128(chunk.as_ptr().cast::<__m128i>());
            let quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
            let backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
            let control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
            let stop = _mm_or_si128(_mm_or_si128(quote, backslash), control);
            Special {
                stop: _mm_movemask_epi8(stop) as u32,
                high: _mm_movemask_epi8(bytes) as u32,
            }
        }
    }

    #[inline]
    pub(crate) fn classify(bytes: &[u8; STEP]) -> Classes {
        let mut classes = Classes::default();
        for (index, chunk) in bytes.chunks_exact(WIDTH).enumerate() {
            // SAFETY: as in `special`; every chunk of `chunks_exact` has 16 bytes.
            unsafe {
                let bytes = _mm_loadu_si128(chunk.as_ptr().cast::<__m128i>());
                // This bit is the only difference between square and curly brackets. No other byte becomes a bracket by
                // setting it.
                let bracket = _mm_or_si128(bytes, _mm_set1_epi8(0x20));
                let mask = |with: __m128i, byte: u8| {
                    let equal = _mm_cmpeq_epi8(with, _mm_set1_epi8(byte as i8));
                    u64::from(_mm_movemask_epi8(equal) as u32) << (index * WIDTH)
                };
                classes.quote |= mask(bytes, b'"');
                classes.backslash |= mask(bytes, b'\\');
                classes.comma |= mask(bytes, b',');
                classes.open |= mask(bracket, b'{');
                classes.close |= mask(bracket, b'}');
            }
        }
        classes
    }
}

#[cfg(any(not(target_arch = "x86_64"), test))]
pub(super) mod words {
    use super::{Classes, STEP, Special};

    pub(crate) const WIDTH: usize = 8;

    const LOW: u64 = 0x0101_0101_0101_0101;
    const SEVEN: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    const HIGH: u64 = 0x8080_8080_8080_8080;

    /// Collects the top bit of each byte: bit `n` of the result is the top bit of byte `n`.
    #[inline]
    fn gather(tops: u64) -> u64 {
        (tops >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
    }

    /// Sets the top bit of every byte that equals `byte`. Exact: no borrow crosses bytes.
    #[inline]
    fn equal(word: u64, byte: u8) -> u64 {
        let differs = word ^ (LOW * u64::from(byte));
        !(((differs & SEVEN) + SEVEN) | differs | SEVEN)
    }

    #[inline]
    pub(crate) fn special(chunk: &[u8; WIDTH]) -> Special {
        let word = u64::from_le_bytes(*chunk);
        // A byte is below 0x20 if none of its three top bits is set.
        let control = !(((word & 0x6060_6060_6060_6060) + SEVEN) | word) & HIGH;
        let stop = equal(word, b'"') | equal(word, b'\\') | control;
        Special {
            stop: gather(stop) as u32,
            high: gather(word & HIGH) as u32,
        }
    }

    #[inline]
    pub(crate) fn classify(bytes: &[u8; STEP]) -> Classes {
        let mut classes = Classes::default();
        for (index, chunk) in bytes.chunks_exact(WIDTH).enumerate() {
            let word = chunk.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
            let bracket = word | (LOW * 0x20);
            let mask = |with: u64, byte: u8| gather(equal(with, byte)) << (index * WIDTH);
            classes.quote |= mask(word, b'"');
            classes.backslash |= mask(word, b'\\');
            classes.comma |= mask(word, b',');
            classes.open |= mask(bracket, b'{');
            classes.close |= mask(bracket, b'}');
        }
        classes
    }
}

/// Random bytes, half of which have a meaning in JSON.
#[cfg(test)]
pub(super) fn noise(random: &mut fastrand::Rng) -> [u8; STEP] {
    let mut bytes = [0; STEP];
    for byte in &mut bytes {
        *byte = if random.bool() {
            random.u8(..)
        } else {
            *random.choice(b"\"\\[]{},\x1f\x20\x00").unwrap()
        };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::{Classes, WIDTH, classify, noise, special, words};

    #[test]
    fn both_implementations_classify_as_a_byte_loop_does() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..20_000 {
            let bytes = noise(&mut random);
            let mut expected = Classes::default();
            for (index, byte) in bytes.iter().enumerate() {
                let bit = 1_u64 << index;
                match byte {
                    b'"' => expected.quote |= bit,
                    b'\\' => expected.backslash |= bit,
                    b'[' | b'{' => expected.open |= bit,
                    b']' | b'}' => expected.close |= bit,
                    b',' => expected.comma |= bit,
                    _ => {}
                }
            }
            assert_eq!(classify(&bytes), expected);
            assert_eq!(words::classify(&bytes), expected);
            for chunk in bytes.chunks_exact(16) {
                let whole = special(chunk.try_into().unwrap());
                let halves: Vec<_> = chunk
                    .chunks_exact(8)
                    .map(|half| words::special(half.try_into().unwrap()))
                    .collect();
                if WIDTH == 16 {
                    assert_eq!(whole.stop, halves[0].stop | halves[1].stop << 8);
                    assert_eq!(whole.high, halves[0].high | halves[1].high << 8);
                }
            }
        }
    }
}
