//! Several searches over the same bytes, read as one: the next hit of any of them.

use aho_corasick::packed;
use aho_corasick::{AhoCorasick, Input, Span};
use regex::bytes::Regex;

use super::arrange::{arranged, rarest_tail};
#[cfg(target_arch = "x86_64")]
use super::buckets::Buckets;
use super::needles::{LONG, SHORT};

/// What one vectorised search takes on. It could take 64, but then it compares 16 bytes at a time instead of 32.
const MOST_NEEDLES_AT_ONCE: usize = 32;

/// With more, a bucket has so many that it passes too much.
#[cfg(target_arch = "x86_64")]
const MOST_NEEDLES_IN_BUCKETS: usize = 96;

/// One search. Which kind it is was decided by what the processor can do.
#[derive(Debug)]
enum Finder {
    /// Everything at once.
    #[cfg(target_arch = "x86_64")]
    Buckets(Box<Buckets>),
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
            #[cfg(target_arch = "x86_64")]
            Self::Buckets(buckets) => {
                let found = buckets.find(data, from);
                return found.map_or(usize::MAX, |(at, is_before_line)| at + usize::from(is_before_line));
            }
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

fn bytes(needles: &[&'static str]) -> Vec<&'static [u8]> {
    needles.iter().map(|needle| needle.as_bytes()).collect()
}

/// One search for everything, and more only where users ask for very much.
#[cfg(target_arch = "x86_64")]
fn at_once<'n>(tails: impl Iterator<Item = &'n [u8]>) -> Option<Vec<Finder>> {
    let needles: Vec<&[u8]> = bytes(SHORT).into_iter().chain(bytes(LONG)).chain(tails).collect();
    let groups = in_groups(&needles, MOST_NEEDLES_IN_BUCKETS);
    groups.iter().map(|needles| Some(Finder::Buckets(Box::new(Buckets::of(needles)?)))).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn at_once<'n>(_: impl Iterator<Item = &'n [u8]>) -> Option<Vec<Finder>> {
    None
}

fn one_by_one<'n>(tails: impl Iterator<Item = &'n [u8]>) -> Vec<Finder> {
    // One of fewer than four bytes makes a whole group compare fewer.
    let (longer, shorter): (Vec<&[u8]>, Vec<&[u8]>) = tails.partition(|needle| needle.len() > 3);
    let theirs = [longer, shorter].into_iter().flat_map(|needles| in_groups(&needles, MOST_NEEDLES_AT_ONCE));
    let groups =
        [arranged(&bytes(SHORT)), bytes(LONG)].into_iter().chain(theirs.map(|group| arranged(&group)));
    groups.filter_map(|needles| Finder::of(&needles)).collect()
}

/// As few groups as possible, of about the same size.
fn in_groups<'n>(needles: &[&'n [u8]], most: usize) -> Vec<Vec<&'n [u8]>> {
    let groups = needles.len().div_ceil(most);
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
        let tails = literals.iter().map(|literal| rarest_tail(literal.as_bytes()));
        let finders = at_once(tails.clone()).unwrap_or_else(|| one_by_one(tails));
        Self(finders.into_iter().chain(regexes.into_iter().map(Finder::Regex)).collect())
    }

    /// As on processors without such instructions.
    #[cfg(test)]
    pub(crate) fn without_buckets(literals: &[String]) -> Self {
        Self(one_by_one(literals.iter().map(|literal| rarest_tail(literal.as_bytes()))))
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
