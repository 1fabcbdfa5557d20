//! Finds phrases of whole words, in any ASCII case, in time linear in the text. Knows no meaning: which phrases
//! matter is for [`label`](crate::label) and [`message`](crate::message) to say.
//!
//! Nothing here looks further from a word than a fixed number of bytes, so no text makes it slow.

/// Whether `_` is part of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Underscore {
    /// As in messages: `test_oom_is_handled` is one word, and not `oom`.
    Joins,
    /// As in labels: `structural_failure` is two words.
    Separates,
}

/// The most bytes between two words of one phrase: a line break and the indentation of a wrapped log line.
const LONGEST_GAP: usize = 32;
/// The most bytes looked at for one word before a phrase.
const LONGEST_NEIGHBOUR: usize = 24;

#[derive(Clone, Copy)]
enum Class {
    Other,
    Alphanumeric,
    Underscore,
    NotAscii,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Other; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'_' => Class::Underscore,
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => Class::Alphanumeric,
            0x80.. => Class::NotAscii,
            _ => Class::Other,
        };
        byte += 1;
    }
    classes
};

impl Underscore {
    /// The length of the word character at `at`, or 0 where there is none.
    #[inline]
    fn char_len(self, text: &str, at: usize) -> usize {
        match text.as_bytes().get(at).map(|&byte| CLASSES[usize::from(byte)]) {
            None | Some(Class::Other) => 0,
            Some(Class::Alphanumeric) => 1,
            Some(Class::Underscore) => usize::from(self == Self::Joins),
            Some(Class::NotAscii) => {
                let c = text.get(at..).and_then(|rest| rest.chars().next());
                c.filter(|c| c.is_alphanumeric()).map_or(0, char::len_utf8)
            }
        }
    }

    /// The end of the word that `at` stands in.
    fn word_end(self, text: &str, mut at: usize) -> usize {
        loop {
            match self.char_len(text, at) {
                0 => return at,
                len => at += len,
            }
        }
    }

    /// Where each word of `text` starts and ends.
    pub(crate) fn words(self, text: &str) -> impl Iterator<Item = (usize, usize)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            while at < text.len() && self.char_len(text, at) == 0 {
                // Past the whole character: `at` must stay on a boundary.
                at += 1;
                while !text.is_char_boundary(at) {
                    at += 1;
                }
            }
            let start = at;
            at = self.word_end(text, start);
            (at > start).then_some((start, at))
        })
    }

    /// Where `phrase` ends if it begins at `start`, which is the start of a word.
    pub(crate) fn phrase_end(self, text: &str, start: usize, phrase: &[&str]) -> Option<usize> {
        let mut at = start;
        for (i, word) in phrase.iter().enumerate() {
            if i > 0 {
                at += gap_len(&text.as_bytes()[at..])?;
            }
            let end = at + word.len();
            if !text.get(at..end)?.eq_ignore_ascii_case(word) || self.char_len(text, end) > 0 {
                return None;
            }
            at = end;
        }
        Some(at)
    }
}

/// The length of what may stand between two words of one phrase. The end of a sentence may not.
fn gap_len(bytes: &[u8]) -> Option<usize> {
    let len = bytes.iter().take(LONGEST_GAP).take_while(|b| b" \t\r\n-_:'\"`(=".contains(b)).count();
    (len > 0).then_some(len)
}

/// The ASCII word before `at`, and where it starts, if only `between` parts them.
pub(crate) fn word_before<'t>(text: &'t str, at: usize, between: &[u8]) -> Option<(usize, &'t str)> {
    let before = &text.as_bytes()[..at];
    let gap = before.iter().rev().take(LONGEST_GAP).take_while(|b| between.contains(b)).count();
    let before = &before[..before.len() - gap];
    let len = before.iter().rev().take(LONGEST_NEIGHBOUR).take_while(|b| b.is_ascii_alphanumeric()).count();
    let start = before.len() - len;
    let whole =
        start.checked_sub(1).is_none_or(|i| before[i].is_ascii() && !before[i].is_ascii_alphanumeric());
    (len > 0 && whole).then(|| text.get(start..before.len()).map(|word| (start, word))).flatten()
}

/// The ASCII word after `at`, if only spaces or hyphens part them.
fn word_after(text: &str, at: usize) -> Option<&str> {
    let after = &text.as_bytes()[at..];
    let gap = after.iter().take(LONGEST_GAP).take_while(|b| b" \t-_".contains(b)).count();
    let len = after[gap..].iter().take(LONGEST_NEIGHBOUR).take_while(|b| b.is_ascii_alphabetic()).count();
    text.get(at + gap..at + gap + len).filter(|word| !word.is_empty())
}

pub(crate) fn is_one_of(word: &str, list: &[&str]) -> bool {
    list.iter().any(|w| w.eq_ignore_ascii_case(word))
}

/// Whether what stands at `start..end` is denied (`no`, `not a`, `avoids`, `didn't`) or only talked about
/// (`SIGSEGV handler`).
pub(crate) fn is_denied_or_only_mentioned(text: &str, start: usize, end: usize) -> bool {
    const DENIALS: &[&str] = &[
        "no",
        "non",
        "not",
        "never",
        "without",
        "avoid",
        "avoids",
        "avoided",
        "avoiding",
        "prevent",
        "prevents",
        "prevented",
        "preventing",
    ];
    const ARTICLES: &[&str] = &["a", "an", "any", "the"];
    const MENTIONS: &[&str] = &["handler", "handlers", "handling"];
    const BETWEEN: &[u8] = b" \t-_'\"`";

    let mut before = word_before(text, start, BETWEEN);
    if let Some((at, word)) = before
        && is_one_of(word, ARTICLES)
    {
        before = word_before(text, at, BETWEEN);
    }
    let denied = before.is_some_and(|(at, word)| {
        // What "didn't" ends in: the apostrophe splits it.
        let contracted = word.eq_ignore_ascii_case("t")
            && text.as_bytes()[..at].last_chunk::<2>().is_some_and(|tail| tail.eq_ignore_ascii_case(b"n'"));
        contracted || is_one_of(word, DENIALS)
    });
    denied || word_after(text, end).is_some_and(|word| is_one_of(word, MENTIONS))
}

/// Whether `needle` (lower-case) is somewhere in `haystack`, in any ASCII case.
pub(crate) fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window.eq_ignore_ascii_case(needle.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(underscore: Underscore, text: &str) -> Vec<&str> {
        underscore.words(text).map(|(start, end)| &text[start..end]).collect()
    }

    #[test]
    fn words_are_runs_of_letters_and_digits_of_any_script() {
        assert_eq!(words(Underscore::Joins, "a_b—c1, “Zürich” 表!"), ["a_b", "c1", "Zürich", "表"]);
        assert_eq!(words(Underscore::Separates, "__a_b__"), ["a", "b"]);
        assert_eq!(words(Underscore::Joins, ""), [""; 0]);
        assert_eq!(words(Underscore::Joins, "\u{301}\u{1F480}"), [""; 0]);
    }

    #[test]
    fn a_phrase_may_be_wrapped_but_not_span_two_sentences() {
        let phrase = &["out", "of", "memory"];
        let end = |text: &str| Underscore::Joins.phrase_end(text, 0, phrase);
        assert_eq!(end("Out\n    OF-memory!"), Some(17));
        assert_eq!(end("out. Of memory"), None);
        assert_eq!(end("out of memoryß"), None);
        assert_eq!(end("out of"), None);
        assert_eq!(end("outofmemory"), None);
    }

    #[test]
    fn a_denial_may_carry_an_article_or_be_contracted() {
        for text in ["no X", "not a X", "isn't X", "non-X", "avoids the X", "X handler", "X-handling"] {
            let at = text.find('X').unwrap();
            assert!(is_denied_or_only_mentioned(text, at, at + 1), "{text}");
        }
        for text in ["X", "now X", "t X", "a X", "nono X", "é X", "X: handler"] {
            let at = text.find('X').unwrap();
            assert!(!is_denied_or_only_mentioned(text, at, at + 1), "{text}");
        }
    }
}
