//! All needles in one pass, 64 bytes at a time: Teddy, by Qiao and others (Hyperscan), with sixteen buckets instead of eight.
//!
//! A byte is looked up by its halves: a shuffle of sixteen entries says in which buckets a lower half may stand at one of the first
//! four places of a needle, another says so of the upper half. What is in a bucket at all four places is compared with the needles of
//! that bucket. The `aho-corasick` crate takes as many needles in two passes, or in one of 16 bytes at a time; this one reads
//! a log in half the time of its three.

#![allow(clippy::inline_always)] // What is not inlined is compiled without the instructions that it is about.

use std::arch::x86_64::__m256i;

use pulp::NullaryFnOnce;
use pulp::bytemuck::cast;
use pulp::core_arch::x86::Avx2;
use pulp::x86::V3;

use super::arrange::{COMPARED, shared};

/// Of one instruction, in bytes.
const VECTOR: usize = 32;
/// What is looked at together: a table is loaded once for all vectors.
const VECTORS: usize = 2;
const CHUNK: usize = VECTORS * VECTOR;
/// A bit of one byte each.
const BUCKETS_OF_A_SET: usize = 8;
const SETS: usize = 2;

/// For each of the first places the buckets of the sixteen halves, twice over: a shuffle works on 16 bytes, two at a time.
type Halves = [[u8; VECTOR]; COMPARED];

/// What passes in a chunk: a bit for each position, and the buckets of each.
struct Passed {
    positions: u64,
    buckets: [[[u8; VECTOR]; SETS]; VECTORS],
}

/// A search for up to some eighty needles of three bytes or more, on processors with AVX2.
#[derive(Debug)]
pub(super) struct Buckets {
    simd: V3,
    lower: [Halves; SETS],
    upper: [Halves; SETS],
    /// The needles of each bucket.
    needles: Vec<Vec<Vec<u8>>>,
}

impl Buckets {
    /// `None` where the processor cannot do it.
    pub(super) fn of(needles: &[&[u8]]) -> Option<Self> {
        let simd = V3::try_new()?;
        let mut this = Self {
            simd,
            lower: [[[0; VECTOR]; COMPARED]; SETS],
            upper: [[[0; VECTOR]; COMPARED]; SETS],
            needles: Vec::new(),
        };
        for (at, members) in shared(needles, SETS * BUCKETS_OF_A_SET).into_iter().enumerate() {
            let (set, bit) = (at / BUCKETS_OF_A_SET, 1 << (at % BUCKETS_OF_A_SET));
            for needle in &members {
                for place in 0..COMPARED {
                    // Behind the end of a short needle anything may stand.
                    let may = |half: usize, of: fn(u8) -> u8| {
                        needle.get(place).is_none_or(|byte| usize::from(of(*byte)) == half % 16)
                    };
                    for half in 0..VECTOR {
                        this.lower[set][place][half] |= if may(half, |byte| byte & 15) { bit } else { 0 };
                        this.upper[set][place][half] |= if may(half, |byte| byte >> 4) { bit } else { 0 };
                    }
                }
            }
            this.needles.push(members.into_iter().map(<[u8]>::to_vec).collect());
        }
        Some(this)
    }

    /// Where the next needle is, at or after `from`, and whether it begins with a newline.
    pub(super) fn find(&self, data: &[u8], mut from: usize) -> Option<(usize, bool)> {
        while from < data.len() {
            let (chunk, passed) = self.simd.vectorize(Search { buckets: self, data, from });
            let found = self.compare(data, chunk, &passed);
            if found.is_some() {
                return found;
            }
            from = chunk + CHUNK;
        }
        None
    }

    /// The first needle that begins in a chunk.
    fn compare(&self, data: &[u8], chunk: usize, passed: &Passed) -> Option<(usize, bool)> {
        let mut positions = passed.positions;
        while positions != 0 {
            let at = positions.trailing_zeros() as usize;
            positions &= positions - 1;
            let rest = data.get(chunk + at..).unwrap_or_default();
            for (set, buckets) in passed.buckets[at / VECTOR].iter().enumerate() {
                let mut buckets = buckets[at % VECTOR];
                while buckets != 0 {
                    let bucket = set * BUCKETS_OF_A_SET + buckets.trailing_zeros() as usize;
                    buckets &= buckets - 1;
                    if let Some(needle) = self.needles[bucket].iter().find(|needle| rest.starts_with(needle))
                    {
                        return Some((chunk + at, needle.starts_with(b"\n")));
                    }
                }
            }
        }
        None
    }
}

/// Skips what is in no bucket.
struct Search<'s> {
    buckets: &'s Buckets,
    data: &'s [u8],
    from: usize,
}

impl NullaryFnOnce for Search<'_> {
    type Output = (usize, Passed);

    /// The next chunk in which something passes, or the last one.
    #[inline(always)]
    fn call(self) -> Self::Output {
        let Self { buckets, data, mut from } = self;
        let (avx, avx2) = (buckets.simd.avx, buckets.simd.avx2);
        while let Some(seen) = data.get(from..).and_then(<[u8]>::first_chunk) {
            let passed = buckets.look(seen);
            let any = avx2._mm256_or_si256(any(avx2, passed[0]), any(avx2, passed[1]));
            if avx._mm256_testz_si256(any, any) == 0 {
                return (from, told(avx2, passed));
            }
            from += CHUNK;
        }
        // The end, filled up; what passes is compared with the data itself.
        let mut seen = [0; CHUNK + COMPARED];
        let rest = data.get(from..).unwrap_or_default();
        seen[..rest.len()].copy_from_slice(rest);
        (from, told(avx2, buckets.look(&seen)))
    }
}

impl Buckets {
    #[inline(always)]
    fn look(&self, seen: &[u8; CHUNK + COMPARED]) -> [[__m256i; SETS]; VECTORS] {
        let avx2 = self.simd.avx2;
        let half = cast([15_u8; VECTOR]);
        let mut passed = [[cast([0xff_u8; VECTOR]); SETS]; VECTORS];
        for place in 0..COMPARED {
            let bytes = [vector(seen, place), vector(seen, VECTOR + place)];
            let low = bytes.map(|bytes| avx2._mm256_and_si256(bytes, half));
            let high = bytes.map(|bytes| avx2._mm256_and_si256(avx2._mm256_srli_epi16::<4>(bytes), half));
            for (set, (lower, upper)) in self.lower.iter().zip(&self.upper).enumerate() {
                let (lower, upper) = (cast(lower[place]), cast(upper[place]));
                for (at, passed) in passed.iter_mut().enumerate() {
                    let low = avx2._mm256_shuffle_epi8(lower, low[at]);
                    let high = avx2._mm256_shuffle_epi8(upper, high[at]);
                    passed[set] = avx2._mm256_and_si256(passed[set], avx2._mm256_and_si256(low, high));
                }
            }
        }
        passed
    }
}

#[inline(always)]
fn vector(seen: &[u8; CHUNK + COMPARED], from: usize) -> __m256i {
    cast(seen[from..].first_chunk::<VECTOR>().copied().unwrap_or_default())
}

/// Where any bucket is.
#[inline(always)]
fn any(avx2: Avx2, [one, other]: [__m256i; SETS]) -> __m256i {
    avx2._mm256_or_si256(one, other)
}

#[inline(always)]
fn told(avx2: Avx2, passed: [[__m256i; SETS]; VECTORS]) -> Passed {
    let none = cast([0_u8; VECTOR]);
    let positions = |buckets| {
        let empty = avx2._mm256_cmpeq_epi8(any(avx2, buckets), none);
        u64::from(!avx2._mm256_movemask_epi8(empty).cast_unsigned())
    };
    let positions = positions(passed[0]) | positions(passed[1]) << VECTOR;
    Passed { positions, buckets: passed.map(|sets| sets.map(cast)) }
}
