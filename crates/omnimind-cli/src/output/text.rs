//! Text in lines of a terminal.

use std::io::{self, Write};

/// No line is longer, in columns, unless a word is.
pub(crate) const WIDTH: usize = 80;

/// Text of programs that nobody checked, so that it cannot steer the terminal: control characters as their pictures, and
/// those that turn the direction of writing as unknown ones. Line breaks and tabs stay.
pub(crate) fn printable(text: &str) -> String {
    let shown = |symbol| match symbol {
        '\n' | '\t' => symbol,
        '\0'..='\x1f' => char::from_u32(0x2400 + symbol as u32).unwrap_or(char::REPLACEMENT_CHARACTER),
        '\x7f'..='\u{9f}'
        | '\u{61c}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
        _ => symbol,
    };
    text.chars().map(shown).collect()
}

/// The end of a text that is too long, which is what tells tests and files apart.
pub(crate) fn tail(text: &str, most: usize) -> String {
    let text = &printable(text);
    let length = text.chars().count();
    if length <= most {
        return text.clone();
    }
    let end: String = text.chars().skip(length + 1 - most).collect();
    format!("…{end}")
}

/// A text of several lines, indented. Words that are too long stand out.
pub(crate) fn wrapped(out: &mut dyn Write, indent: usize, text: &str) -> io::Result<()> {
    let room = WIDTH - indent;
    let mut line = String::new();
    for word in printable(text).split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
            writeln!(out, "{:indent$}{line}", "")?;
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    writeln!(out, "{:indent$}{line}", "")
}
