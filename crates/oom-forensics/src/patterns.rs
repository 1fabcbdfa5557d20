//! Known errors to look for: names, literals or regular expressions, and how severe each is. They are configuration.

use std::collections::BTreeSet;

use aho_corasick::AhoCorasick;
use regex::bytes::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::error::{Error, Result};
use crate::scan::LONGEST_NEEDLE_BYTES;

/// So many patterns are taken at most.
pub const MOST_PATTERNS: usize = 256;

/// A compiled regular expression takes at most so much, in bytes.
const MOST_REGEX_BYTES: usize = 1 << 20;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Low,
    /// Something does not do what it should.
    Medium,
    /// Tests or users are hit.
    High,
    /// Nothing can be relied on after it.
    Critical,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    pattern: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: Spanned<String>,
    literal: Option<Spanned<String>>,
    regex: Option<Spanned<String>>,
    severity: Severity,
}

/// One pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    pub(crate) name: String,
    pub(crate) severity: Severity,
}

/// All that is looked for.
///
/// ```
/// use oom_forensics::Patterns;
///
/// let patterns = Patterns::parse("[[pattern]]\nname = \"no space\"\nliteral = \"No space left\"\nseverity = \"high\"\n")?;
/// assert_eq!(patterns.names().collect::<Vec<_>>(), ["no space"]);
///
/// let error = Patterns::parse("[[pattern]]\nname = \"x\"\nregex = \"(\"\nseverity = \"high\"\n").unwrap_err();
/// assert!(error.to_string().starts_with("patterns: line 3: pattern \"x\": regex: "));
/// # Ok::<(), oom_forensics::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Patterns {
    /// Those with a literal first, in the order of the file, then those with a regular expression.
    all: Vec<Pattern>,
    literals: Vec<String>,
    regexes: Vec<Regex>,
    automaton: Option<AhoCorasick>,
}

impl Patterns {
    /// None at all.
    #[must_use]
    pub fn none() -> Self {
        Self { all: Vec::new(), literals: Vec::new(), regexes: Vec::new(), automaton: None }
    }

    /// Those of the crate: its `patterns.toml`.
    ///
    /// # Errors
    ///
    /// None, because a test reads them.
    pub fn known() -> Result<Self> {
        Self::parse(include_str!("patterns.toml"))
    }

    /// Reads a file of patterns, each a `[[pattern]]` with `name`, `severity`, and `literal` or `regex`.
    ///
    /// Literals are compared byte by byte. Regular expressions see one line at a time and ASCII classes.
    ///
    /// # Errors
    ///
    /// Names line, pattern and key of what is wrong: no TOML, an unknown key, a name twice, neither or both of `literal`
    /// and `regex`, a literal shorter than 3 or longer than 512 bytes or over several lines, a regular expression that
    /// does not compile, matches nothing at all, or is too big, and more than [`MOST_PATTERNS`].
    pub fn parse(text: &str) -> Result<Self> {
        let file: File = toml::from_str(text)
            .map_err(|error| Error::Toml { message: error.to_string().trim_end().into() })?;
        let mut names = BTreeSet::new();
        let (mut literals, mut regexes) = (Vec::new(), Vec::new());
        for entry in file.pattern {
            let line = |at: usize| 1 + text[..at.min(text.len())].bytes().filter(|b| *b == b'\n').count();
            let name = entry.name.get_ref().clone();
            let wrong = |at: usize, key: &'static str, reason: &str| {
                Err(Error::Pattern { line: line(at), name: name.clone(), key, reason: reason.to_owned() })
            };
            let at = entry.name.span().start;
            if name.trim().is_empty() || !names.insert(name.clone()) {
                return wrong(at, "name", "each pattern needs a name of its own");
            }
            if names.len() > MOST_PATTERNS {
                return wrong(at, "name", "this is one too many; 256 are taken at most");
            }
            let pattern = Pattern { name: name.clone(), severity: entry.severity };
            match (entry.literal, entry.regex) {
                (Some(literal), None) => {
                    let at = literal.span().start;
                    let literal = literal.into_inner();
                    if !(3..=LONGEST_NEEDLE_BYTES).contains(&literal.len()) {
                        return wrong(at, "literal", "a literal has 3 to 512 bytes");
                    }
                    if literal.contains(['\n', '\r']) {
                        return wrong(
                            at,
                            "literal",
                            "logs are searched line by line; give what stands in one line",
                        );
                    }
                    literals.push((pattern, literal));
                }
                (None, Some(regex)) => {
                    let compiled = compile(regex.get_ref());
                    match compiled {
                        Ok(compiled) => regexes.push((pattern, compiled)),
                        Err(reason) => return wrong(regex.span().start, "regex", &reason),
                    }
                }
                (Some(_), Some(_)) => {
                    return wrong(at, "regex", "a pattern has a literal or a regex, not both");
                }
                (None, None) => return wrong(at, "literal", "it is missing; give a literal or a regex"),
            }
        }
        let all = literals.iter().map(|it| &it.0).chain(regexes.iter().map(|it| &it.0)).cloned().collect();
        let literals: Vec<String> = literals.into_iter().map(|(_, literal)| literal).collect();
        let regexes = regexes.into_iter().map(|(_, regex)| regex).collect();
        let automaton = if literals.is_empty() {
            None
        } else {
            let built = AhoCorasick::new(&literals);
            Some(built.map_err(|error| Error::Toml { message: format!("too many literals: {error}") })?)
        };
        Ok(Self { all, literals, regexes, automaton })
    }

    /// What they are called, in the order of the report.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|pattern| pattern.name.as_str())
    }

    pub(crate) fn all(&self) -> &[Pattern] {
        &self.all
    }

    pub(crate) fn literals(&self) -> &[String] {
        &self.literals
    }

    pub(crate) fn regexes(&self) -> &[Regex] {
        &self.regexes
    }

    /// Which of them are in a line, each once, by their place in [`all`](Self::all).
    pub(crate) fn found_in(&self, line: &[u8], found: &mut Vec<usize>) {
        found.clear();
        if let Some(automaton) = &self.automaton {
            found.extend(automaton.find_overlapping_iter(line).map(|hit| hit.pattern().as_usize()));
        }
        let regexes = self.regexes.iter().enumerate();
        found.extend(
            regexes.filter(|(_, regex)| regex.is_match(line)).map(|(at, _)| self.literals.len() + at),
        );
        found.sort_unstable();
        found.dedup();
    }
}

/// A regular expression that cannot reach over a line, and does not match where nothing is.
fn compile(regex: &str) -> std::result::Result<Regex, String> {
    let built = RegexBuilder::new(regex)
        .unicode(false)
        .multi_line(true)
        .crlf(true)
        .size_limit(MOST_REGEX_BYTES)
        .build();
    let compiled = built.map_err(|error| {
        let text = error.to_string();
        text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned()
    })?;
    if compiled.is_match(b"") {
        return Err("it matches an empty line, and so all of them; ask for something".to_owned());
    }
    Ok(compiled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patterns_that_come_along_are_valid_and_have_those_that_were_asked_for() {
        let known = Patterns::known().unwrap();
        for literal in
            ["object has no attribute '_embedding_model'", "gpt-4 (provider=ollama", "out of memory"]
        {
            assert!(known.literals().iter().any(|known| known.contains(literal)), "{literal}");
        }
    }

    #[test]
    fn a_line_has_each_pattern_once_even_where_they_overlap() {
        let toml = "[[pattern]]\nname = 'a'\nliteral = 'abc'\nseverity = 'low'\n\
                    [[pattern]]\nname = 'b'\nregex = 'b.d$'\nseverity = 'low'\n\
                    [[pattern]]\nname = 'c'\nliteral = 'bcd'\nseverity = 'low'\n";
        let patterns = Patterns::parse(toml).unwrap();
        assert_eq!(patterns.names().collect::<Vec<_>>(), ["a", "c", "b"]);
        let mut found = Vec::new();
        patterns.found_in(b"abc abcd", &mut found);
        assert_eq!(found, [0, 1, 2]);
        patterns.found_in(b"abc\xff", &mut found);
        assert_eq!(found, [0]);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_with_line_and_key() {
        let head = "# ours\n[[pattern]]\nname = 'x'\nseverity = 'low'\n";
        for (rest, words) in [
            ("", "line 3: pattern \"x\": literal: it is missing"),
            ("literal = 'ab'\n", "line 5: pattern \"x\": literal: a literal has 3 to 512 bytes"),
            ("literal = \"a\\nbc\"\n", "line 5: pattern \"x\": literal: logs are searched line by line"),
            ("regex = '[a'\n", "line 5: pattern \"x\": regex: unclosed character class"),
            ("regex = 'a*'\n", "line 5: pattern \"x\": regex: it matches an empty line"),
            ("regex = 'abc'\nliteral = 'abc'\n", "regex: a pattern has a literal or a regex, not both"),
            ("literal = 'abc'\nsevere = 1\n", "unknown field `severe`"),
            ("literal = 'abc'\n[[pattern]]\nname = 'x'\n", "missing field `severity`"),
            (
                "literal = 'abc'\n[[pattern]]\nname = 'x'\nliteral = 'abc'\nseverity = 'low'\n",
                "line 7: pattern \"x\": name",
            ),
            ("literal = 'abc'\nseverity = 'bad'\n", "line 6"),
        ] {
            let error = Patterns::parse(&format!("{head}{rest}")).unwrap_err().to_string();
            assert!(error.contains(words), "{rest}: {error}");
        }
        assert!(Patterns::parse("x = 1").unwrap_err().to_string().contains("pattern"));
    }
}
