//! Several searches over the same bytes, read as one: the next hit of any of them.

use aho_corasick::packed;
use aho_corasick::{AhoCorasick, Input, Span};
use regex::bytes::Regex;

use super::arrange::{arranged, rarest_tail};
use super::needles::{LONG, SHORT};

/// What one vectorised search takes on. It could take 64, but then it compares 16 bytes at a time instead of 32.
const MOST_NEEDLES_AT_ONCE: usize = 32;

/// One search. Which kind it is was decided by what the processor can do.
#[derive(Debug)]
enum Finder {
    /// Teddy: 32 bytes at a time. Beside it, how far behind its beginning a needle counts.
    Packed(Box<packed::Searcher>, Vec<u8>),
    /// The automaton, where there are no such instructions.
    Automaton(Box<AhoCorasick>, Vec<u8>),
    /// What users brought.
    Regex(Regex),
}

impl Finder {
    fn of(needles: &[&[u8]]) -> Option<Self> {
        // A newline at the beginning is the end of the line before.
        let skips = needles.iter().map(|needle| u8::from(needle.starts_with(b"\n"))).collect();
        if let Some(searcher) = packed::Config::new().builder().extend(needles).build() {
            return Some(Self::Packed(Box::new(searcher), skips));
        }
        AhoCorasick::new(needles).ok().map(|automaton| Self::Automaton(Box::new(automaton), skips))
    }

    /// Where the next hit is, at or after `from`; `usize::MAX` if there is none.
    fn find(&self, data: &[u8], from: usize) -> usize {
        if from >= data.len() {
            return usize::MAX;
        }
        let (found, skips) = match self {
            Self::Packed(searcher, skips) => {
                (searcher.find_in(data, Span { start: from, end: data.len() }), skips)
            }
            Self::Automaton(automaton, skips) => (automaton.find(Input::new(data).range(from..)), skips),
            Self::Regex(regex) => return regex.find_at(data, from).map_or(usize::MAX, |found| found.start()),
        };
        found.map_or(usize::MAX, |found| {
            found.start() + usize::from(skips.get(found.pattern().as_usize()).copied().unwrap_or_default())
        })
    }
}

/// As few groups as possible, of about the same size.
fn in_groups<'n>(needles: &[&'n [u8]]) -> Vec<Vec<&'n [u8]>> {
    let groups = needles.len().div_ceil(MOST_NEEDLES_AT_ONCE);
    (0..groups).map(|group| needles.iter().skip(group).step_by(groups).copied().collect()).collect()
}

/// All searches.
#[derive(Debug)]
pub(crate) struct Finders(Vec<Finder>);

/// The next hit of each search.
#[derive(Debug)]
pub(crate) struct Next(Vec<usize>);

impl Next {
    pub(crate) fn hit(&self) -> Option<usize> {
        self.0.iter().copied().min().filter(|hit| *hit != usize::MAX)
    }
}

impl Finders {
    /// Searches for what tests and out-of-memory messages are found by, for each of `literals`, and for whatever matches one
    /// of `regexes`.
    pub(crate) fn new(literals: &[String], regexes: impl IntoIterator<Item = Regex>) -> Self {
        let bytes = |needles: &[&'static str]| needles.iter().map(|needle| needle.as_bytes()).collect();
        let (short, long): (Vec<&[u8]>, Vec<&[u8]>) = (bytes(SHORT), bytes(LONG));
        let tails = literals.iter().map(|literal| rarest_tail(literal.as_bytes()));
        // One of fewer than four bytes makes a whole group compare fewer.
        let (longer, shorter): (Vec<&[u8]>, Vec<&[u8]>) = tails.partition(|needle| needle.len() > 3);
        let theirs = in_groups(&longer).into_iter().chain(in_groups(&shorter)).map(|group| arranged(&group));
        let groups = [arranged(&short), long].into_iter().chain(theirs);
        let finders = groups.filter_map(|needles| Finder::of(&needles));
        Self(finders.chain(regexes.into_iter().map(Finder::Regex)).collect())
    }

    pub(crate) fn start(&self, data: &[u8], from: usize) -> Next {
        Next(self.0.iter().map(|finder| finder.find(data, from)).collect())
    }

    /// Only those search again whose hit was passed.
    pub(crate) fn resume(&self, next: &mut Next, data: &[u8], from: usize) {
        for (hit, finder) in next.0.iter_mut().zip(&self.0) {
            if *hit < from {
                *hit = finder.find(data, from);
            }
        }
    }
}
