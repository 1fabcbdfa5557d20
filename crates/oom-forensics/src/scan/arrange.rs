//! Which needles a vectorised search is to look for together.
//!
//! Teddy compares the first bytes of the needles by halves, in eight buckets: a bucket passes every combination of the halves
//! of its needles, and whatever passes is compared once more, slowly. So the buckets are filled with needles whose halves
//! combine to what is rare in a log.

/// Teddy's, where it takes 32 bytes at a time. Needle `n` goes into bucket `7 - n % 8`.
const BUCKETS: usize = 8;

/// So many of a needle's first bytes are compared by halves, at most.
pub(super) const COMPARED: usize = 4;

/// How frequent a byte is in logs, in thousandths, roughly.
const fn frequency(byte: u8) -> f64 {
    match byte {
        b' ' => 130.0,
        // Behind the name of a file, a logger, an error.
        b':' => 15.0,
        b'j' | b'q' | b'x' | b'z' => 20.0,
        // One is rarer than the other, but next to each other they are words, and words come again and again; digits are numbers.
        b'a'..=b'z' | b'0'..=b'9' => 40.0,
        b'.' | b'_' | b'/' | b',' | b'=' | b'-' | b'\n' => 8.0,
        b'A'..=b'Z' | b'(' | b')' | b'"' | b'\'' => 4.0,
        b'!'..=b'~' => 2.0,
        _ => 0.2,
    }
}

/// The same by upper and lower half: it is asked a hundred thousand times before anything is searched for.
static FREQUENCIES: [[f64; 16]; 16] = {
    let mut table = [[0.0; 16]; 16];
    let mut byte = 0;
    while byte < 256 {
        table[byte >> 4][byte & 15] = frequency(byte as u8);
        byte += 1;
    }
    table
};

/// The end of a literal that begins with its rarest four bytes. Where that is, the literal may be.
pub(super) fn rarest_tail(literal: &[u8]) -> &[u8] {
    let rarity = |from: &usize| literal[*from..*from + 4].iter().map(|b| frequency(*b).ln()).sum::<f64>();
    let last = literal.len().saturating_sub(4);
    let rarest = (0..=last).filter(|from| from + 4 <= literal.len());
    let from = rarest.min_by(|a, b| rarity(a).total_cmp(&rarity(b)));
    &literal[from.unwrap_or_default()..]
}

/// What a bucket passes: for each of the first bytes the halves that occur.
#[derive(Clone, Copy, Default)]
struct Bucket {
    low: [u16; COMPARED],
    high: [u16; COMPARED],
    len: usize,
}

impl Bucket {
    fn with(mut self, needle: &[u8], compared: usize) -> Self {
        for at in 0..compared {
            // Behind the end of a needle anything may stand.
            self.low[at] |= needle.get(at).map_or(u16::MAX, |byte| 1 << (byte & 15));
            self.high[at] |= needle.get(at).map_or(u16::MAX, |byte| 1 << (byte >> 4));
        }
        self.len += 1;
        self
    }

    /// How often it passes something, if bytes were independent of each other.
    fn passes(&self, compared: usize) -> f64 {
        if self.len == 0 {
            return 0.0;
        }
        let at = |at: usize| {
            let (mut sum, mut high) = (0.0, self.high[at]);
            while high != 0 {
                let row = &FREQUENCIES[high.trailing_zeros() as usize];
                let mut low = self.low[at];
                while low != 0 {
                    sum += row[low.trailing_zeros() as usize % 16];
                    low &= low - 1;
                }
                high &= high - 1;
            }
            sum
        };
        (0..compared).map(at).product()
    }
}

/// The most frequent ones first, and those that begin alike next to each other.
fn sorted<'n>(needles: &[&'n [u8]], compared: usize) -> impl Iterator<Item = &'n [u8]> {
    let alone = |needle: &[u8]| Bucket::default().with(needle, compared).passes(compared);
    let mut sorted: Vec<_> = needles.iter().map(|needle| (alone(needle), *needle)).collect();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    sorted.into_iter().map(|(_, needle)| needle)
}

/// The needles of each of so many buckets, however many one takes.
#[cfg(target_arch = "x86_64")]
pub(super) fn shared<'n>(needles: &[&'n [u8]], count: usize) -> Vec<Vec<&'n [u8]>> {
    // Beside each what it passes.
    let mut buckets = vec![(Bucket::default(), 0.0); count];
    let mut members = vec![Vec::new(); count];
    for needle in sorted(needles, COMPARED) {
        let fuller = buckets.iter().map(|(bucket, passed)| {
            let with = bucket.with(needle, COMPARED);
            let passes = with.passes(COMPARED);
            (with, passes, passes - passed)
        });
        let Some((best, (bucket, passes, _))) = fuller.enumerate().min_by(|a, b| a.1.2.total_cmp(&b.1.2))
        else {
            break;
        };
        buckets[best] = (bucket, passes);
        members[best].push(needle);
    }
    members
}

/// The needles in an order in which they share buckets well.
pub(super) fn arranged<'n>(needles: &[&'n [u8]]) -> Vec<&'n [u8]> {
    let compared = needles.iter().map(|needle| needle.len()).min().unwrap_or_default().min(COMPARED);
    let room = needles.len().div_ceil(BUCKETS);
    // The last row of needles does not reach all buckets.
    let short = room * BUCKETS - needles.len();
    let mut buckets = [Bucket::default(); BUCKETS];
    let mut members: [Vec<&[u8]>; BUCKETS] = std::array::from_fn(|_| Vec::new());
    for needle in sorted(needles, compared) {
        let cost = |at: &usize| {
            let bucket = buckets[*at];
            bucket.with(needle, compared).passes(compared) - bucket.passes(compared)
        };
        let free = (0..BUCKETS).filter(|at| buckets[*at].len < room - usize::from(*at >= BUCKETS - short));
        let Some(best) = free.min_by(|a, b| cost(a).total_cmp(&cost(b))) else { continue };
        buckets[best] = buckets[best].with(needle, compared);
        members[best].push(needle);
    }
    (0..room).flat_map(|row| members.iter().filter_map(move |bucket| bucket.get(row).copied())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_is_searched_for_from_its_rarest_bytes_on() {
        assert_eq!(rarest_tail(b"object has no attribute '_embedding_model'"), b"'_embedding_model'");
        assert_eq!(rarest_tail(b"gpt-4 (provider=ollama"), b"-4 (provider=ollama");
        assert_eq!(rarest_tail(b"abc"), b"abc");
        assert_eq!(rarest_tail(b"aXYZ"), b"aXYZ");
    }

    #[test]
    fn arranging_keeps_every_needle() {
        for count in 0..40_u8 {
            let needles: Vec<Vec<u8>> =
                (0..count).map(|at| vec![at.wrapping_mul(37); 3 + at as usize % 5]).collect();
            let needles: Vec<&[u8]> = needles.iter().map(Vec::as_slice).collect();
            let mut arranged = arranged(&needles);
            let mut sorted = needles.clone();
            arranged.sort_unstable();
            sorted.sort_unstable();
            assert_eq!(arranged, sorted);
        }
    }
}
