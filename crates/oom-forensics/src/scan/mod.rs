//! Finds the few lines of a log that may say something, without looking at lines at all: big blocks are searched for a
//! handful of substrings, and only around a hit does a line become a line.

mod arrange;
#[cfg(target_arch = "x86_64")]
mod buckets;
mod finder;
mod needles;

pub(crate) use finder::Finders;
use memchr::{memchr, memchr_iter, memrchr};

/// No substring that is searched for is longer, in bytes.
pub(crate) const LONGEST_NEEDLE_BYTES: usize = 512;

/// How much is looked at, at once and around a hit. Constants but for tests, which cut everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// What is seen of a line before a hit, in bytes.
    pub(crate) before: usize,
    /// And from the hit on.
    pub(crate) after: usize,
    /// What is held of the log at a time.
    pub(crate) block: usize,
}

impl Default for Window {
    /// A block fits into the second cache of a processor; a line of ordinary length is seen whole.
    fn default() -> Self {
        Self { before: 8 << 10, after: 56 << 10, block: 256 << 10 }
    }
}

/// A line, or of a very long one what lies around a hit, without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate<'b> {
    pub(crate) text: &'b [u8],
    /// From 1.
    pub(crate) line: u64,
}

/// Whether the line after a candidate is one, too, whatever it contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Search,
    NextLine,
}

/// Holds one block of a log, and hands out the candidates in it. How the log arrives makes no difference: a candidate depends
/// on the bytes around it and on nothing else.
#[derive(Debug)]
pub(crate) struct Scanner {
    finders: Finders,
    window: Window,
    buffer: Vec<u8>,
    /// How much of the buffer is filled.
    len: usize,
    /// Where the search goes on.
    from: usize,
    /// Where a newline is at `from`, and the line after it is wanted.
    then: Then,
    /// Whether the first line was handed out. It always is: there is no newline before it to find it by.
    begun: bool,
    /// Up to where newlines are counted, and how many there were.
    counted: usize,
    newlines: u64,
    /// What was thrown away before the buffer, in bytes.
    gone: u64,
    /// Whether the newline at the end was put there.
    unended: bool,
}

impl Scanner {
    pub(crate) fn new(finders: Finders, window: Window) -> Self {
        let least = 2 * (window.before + window.after + LONGEST_NEEDLE_BYTES);
        let buffer = vec![0; window.block.max(least)];
        Self {
            finders,
            window,
            buffer,
            len: 0,
            from: 0,
            then: Then::Search,
            begun: false,
            counted: 0,
            newlines: 0,
            gone: 0,
            unended: false,
        }
    }

    /// Bytes of this log so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.gone + self.len as u64 - u64::from(self.unended)
    }

    /// Lines of this log, once it was scanned to its end.
    pub(crate) fn lines(&self) -> u64 {
        self.newlines
    }

    /// Where the next bytes of the log are to be put. Never empty after [`scan`](Self::scan).
    pub(crate) fn spare(&mut self) -> &mut [u8] {
        &mut self.buffer[self.len..]
    }

    /// So many were put there.
    pub(crate) fn advance(&mut self, bytes: usize) {
        self.len = (self.len + bytes).min(self.buffer.len());
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len == self.buffer.len()
    }

    /// Hands out the candidates that are complete, and makes room for more.
    pub(crate) fn scan(&mut self, visit: &mut impl FnMut(Candidate<'_>) -> Then) {
        let data = &self.buffer[..self.len];
        let ended = memrchr(b'\n', &data[self.from..]).map_or(0, |at| self.from + at + 1);
        let seen = self.len.saturating_sub(self.window.after + LONGEST_NEEDLE_BYTES);
        self.scan_to(ended.max(seen).max(self.from), visit);
        self.shift();
    }

    /// Hands out the rest; the log ends here.
    pub(crate) fn finish(&mut self, visit: &mut impl FnMut(Candidate<'_>) -> Then) {
        self.scan(visit);
        if self.len > 0 && self.buffer[self.len - 1] != b'\n' {
            // So that what is found by the end of its line is found in the last one, too. There is room after a scan.
            self.buffer[self.len] = b'\n';
            self.len += 1;
            self.unended = true;
        }
        self.scan_to(self.len, visit);
        self.count_to(self.len);
    }

    /// Ready for the next log.
    pub(crate) fn rewind(&mut self) {
        (self.len, self.from, self.counted, self.newlines, self.gone) = (0, 0, 0, 0, 0);
        (self.then, self.begun, self.unended) = (Then::Search, false, false);
    }

    /// Every candidate whose hit is before `limit`.
    fn scan_to(&mut self, limit: usize, visit: &mut impl FnMut(Candidate<'_>) -> Then) {
        let mut next = self.finders.start(&self.buffer[..self.len], self.from);
        loop {
            let hit = match self.then {
                _ if !self.begun => Some(0),
                Then::NextLine => Some(self.from + 1),
                Then::Search => next.hit(),
            };
            let Some(hit) = hit.filter(|hit| *hit < limit) else { break };
            self.begun = true;
            let data = &self.buffer[..self.len];
            let first = hit.saturating_sub(self.window.before);
            let start = memrchr(b'\n', &data[first..hit]).map_or(first, |at| first + at + 1);
            let last = data.len().min(hit + self.window.after);
            let newline = memchr(b'\n', &data[hit..last]).map(|at| hit + at);
            let end = newline.unwrap_or(last);
            self.count_to(start);
            let then = visit(Candidate { text: &self.buffer[start..end], line: self.newlines + 1 });
            self.then = if newline.is_some() { then } else { Then::Search };
            self.from = end;
            self.finders.resume(&mut next, &self.buffer[..self.len], end);
        }
        // Some needles begin with the newline before their line.
        self.from = self.from.max(limit.saturating_sub(1));
    }

    fn count_to(&mut self, at: usize) {
        if at > self.counted {
            self.newlines += memchr_iter(b'\n', &self.buffer[self.counted..at]).count() as u64;
            self.counted = at;
        }
    }

    /// Throws away what is not needed any more.
    fn shift(&mut self) {
        let gone = self.from.saturating_sub(self.window.before);
        self.count_to(gone);
        self.buffer.copy_within(gone..self.len, 0);
        self.len -= gone;
        self.from -= gone;
        // A line may be counted up to beyond what is searched.
        self.counted -= gone;
        self.gone += gone as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    /// The candidates of a log that comes in pieces of `step` bytes.
    fn candidates(log: &[u8], window: Window, step: usize) -> (Vec<(u64, String)>, u64) {
        found_by(Finders::new(&["hit7".to_owned()], []), log, window, step)
    }

    fn found_by(finders: Finders, log: &[u8], window: Window, step: usize) -> (Vec<(u64, String)>, u64) {
        let mut scanner = Scanner::new(finders, window);
        let mut found = Vec::new();
        let mut visit = |candidate: Candidate<'_>| {
            let text = String::from_utf8_lossy(candidate.text).into_owned();
            let then = if text.contains("next") { Then::NextLine } else { Then::Search };
            found.push((candidate.line, text));
            then
        };
        for piece in log.chunks(step) {
            let mut rest = piece;
            while !rest.is_empty() {
                let spare = scanner.spare();
                let taken = spare.len().min(rest.len());
                spare[..taken].copy_from_slice(&rest[..taken]);
                scanner.advance(taken);
                rest = &rest[taken..];
                if scanner.is_full() {
                    scanner.scan(&mut visit);
                }
            }
        }
        scanner.finish(&mut visit);
        (found, scanner.lines())
    }

    const SMALL: Window = Window { before: 16, after: 32, block: 0 };

    #[test]
    fn lines_with_a_needle_come_with_their_number_and_without_their_end() {
        let (found, lines) = candidates(b"a\nb hit7 c hit7\n\nhit7\nd\nhit7", SMALL, 100);
        assert_eq!(
            found,
            [(1, "a".into()), (2, "b hit7 c hit7".into()), (4, "hit7".into()), (6, "hit7".into())]
        );
        assert_eq!(lines, 6);
    }

    #[test]
    fn a_line_may_ask_for_the_one_after_it() {
        let (found, _) = candidates(b"next hit7\nwhatever\nmore\nnext hit7", SMALL, 100);
        assert_eq!(found, [(1, "next hit7".into()), (2, "whatever".into()), (4, "next hit7".into())]);
    }

    #[test]
    fn of_a_line_longer_than_the_buffer_every_needle_is_seen_with_what_is_around_it() {
        let mut log = vec![b'x'; 50_000];
        for at in [5, 3_000, 3_060, 49_990] {
            log[at..at + 4].copy_from_slice(b"hit7");
        }
        log.push(b'\n');
        log.extend_from_slice(b"hit7\n");
        let (found, lines) = candidates(&log, SMALL, 100);
        let seen: Vec<_> = found.iter().map(|(line, text)| (*line, text.len())).collect();
        assert_eq!(seen, [(1, 32), (1, 48), (1, 48), (1, 26), (2, 4)]);
        assert_eq!(lines, 2);
    }

    #[test]
    fn how_a_log_arrives_makes_no_difference() {
        let mut log = Vec::new();
        for at in 0..4_000_u32 {
            log.extend_from_slice(match at.wrapping_mul(2_654_435_761) >> 28 {
                0 => b"hit7",
                1 | 2 => b"\n",
                3 => b"next hit7\n",
                _ => b"abcdefg ",
            });
        }
        let whole = candidates(&log, Window { block: 1 << 20, ..SMALL }, usize::MAX);
        assert!(whole.0.len() > 100);
        for step in [1, 7, 300, 5_000] {
            assert_eq!(candidates(&log, SMALL, step), whole);
        }
    }

    /// The first line, and those that have a needle; found without any cleverness.
    fn naively(literals: &[String], log: &[u8]) -> Vec<u64> {
        let mut needles: Vec<&[u8]> =
            needles::SHORT.iter().chain(needles::LONG).map(|it| it.as_bytes()).collect();
        needles.extend(literals.iter().map(|literal| arrange::rarest_tail(literal.as_bytes())));
        let mut log = log.to_vec();
        if !log.is_empty() && !log.ends_with(b"\n") {
            log.push(b'\n');
        }
        let mut hits = vec![!log.is_empty()];
        hits.resize(memchr_iter(b'\n', &log).count(), false);
        let mut line = 0;
        for at in 0..log.len() {
            for needle in needles.iter().filter(|needle| log[at..].starts_with(needle)) {
                if let Some(hit) = hits.get_mut(line + usize::from(needle.starts_with(b"\n"))) {
                    *hit = true;
                }
            }
            line += usize::from(log[at] == b'\n');
        }
        (1..).zip(hits).filter(|(_, hit)| *hit).map(|(line, _)| line).collect()
    }

    /// Needles, pieces of them, and bytes that share a half with theirs.
    fn log() -> impl Strategy<Value = Vec<u8>> {
        let needle =
            prop::sample::select([needles::SHORT, needles::LONG, &["hit7", "\u{e9}t\u{e9}"]].concat());
        let piece = prop_oneof![
            2 => needle.clone().prop_map(|needle| needle.as_bytes().to_vec()),
            2 => (needle.clone(), any::<prop::sample::Index>()).prop_map(|(needle, end)| needle.as_bytes()[..end.index(needle.len())].to_vec()),
            2 => (needle, any::<prop::sample::Index>(), prop::sample::select(vec![1_u8, 16, 128])).prop_map(|(needle, at, flipped)| {
                let mut needle = needle.as_bytes().to_vec();
                let at = at.index(needle.len());
                needle[at] ^= flipped;
                needle
            }),
            2 => Just(b"\n".to_vec()),
            1 => prop::collection::vec(any::<u8>(), 0..70),
        ];
        prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn the_same_lines_are_found_with_vectors_without_and_naively(log in log(), step in 1_usize..300) {
            // Longer than any line.
            let window = Window { before: 5_000, after: 5_000, block: 0 };
            let literals = ["hit7".to_owned(), "\u{e9}t\u{e9}".to_owned()];
            let expected = naively(&literals, &log);
            for finders in [Finders::new(&literals, []), Finders::without_buckets(&literals)] {
                let (found, lines) = found_by(finders, &log, window, step);
                let found: Vec<u64> = found.into_iter().map(|(line, _)| line).collect();
                prop_assert_eq!(&found, &expected);
                let ends = memchr_iter(b'\n', &log).count() as u64;
                prop_assert_eq!(lines, ends + u64::from(log.last().is_some_and(|last| *last != b'\n')));
            }
        }
    }
}
