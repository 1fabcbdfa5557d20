//! A line as it is read: without colours, without what stands before it in logs of build servers, and as text.

use std::borrow::Cow;

/// The text of a line. Escape sequences and a carriage return at the end are gone, bytes that are not UTF-8 are replaced.
pub(crate) fn text(line: &[u8]) -> Cow<'_, str> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if memchr::memchr(0x1b, line).is_none() {
        return String::from_utf8_lossy(line);
    }
    Cow::Owned(String::from_utf8_lossy(&without_escapes(line)).into_owned())
}

/// Takes out `ESC [ … letter` (colours, cursor), `ESC ] … BEL` (titles, links) and two-byte sequences.
fn without_escapes(line: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = memchr::memchr(0x1b, rest) {
        plain.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        let sequence = match rest.first() {
            Some(b'[') => 1 + rest[1..].iter().take_while(|b| !(0x40..0x7f).contains(*b)).count() + 1,
            Some(b']') => {
                let body = rest.iter().take_while(|b| !matches!(**b, 0x07 | 0x1b)).count();
                // An escape sequence may end it instead of a bell, and is then taken out by itself.
                body + usize::from(rest.get(body) == Some(&0x07))
            }
            Some(_) => 1,
            None => 0,
        };
        rest = rest.get(sequence..).unwrap_or_default();
    }
    plain.extend_from_slice(rest);
    plain
}

/// The text behind a time stamp such as `2026-11-21T08:00:00.1234567Z `, which build servers put before every line.
pub(crate) fn behind_timestamp(line: &str) -> &str {
    let bytes = line.as_bytes();
    let Some(end) = bytes.iter().take(40).position(|b| *b == b' ') else { return line };
    let is_stamp = end >= 20
        && bytes[end - 1] == b'Z'
        && bytes[..end - 1].iter().all(|b| b.is_ascii_digit() || b"-T:.".contains(b));
    if is_stamp { &line[end + 1..] } else { line }
}

/// At most `most` bytes of a text, cut between characters; `…` says that there was more. What would move the cursor of whoever
/// prints it is replaced.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    let text = text.trim();
    let printable = |c: char| {
        if c == '\t' {
            ' '
        } else if c.is_control() {
            '\u{fffd}'
        } else {
            c
        }
    };
    if text.len() <= most {
        return text.chars().map(printable).collect();
    }
    let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    text[..end].chars().map(printable).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_titles_and_carriage_returns_are_taken_out() {
        for (line, plain) in [
            (&b"\x1b[1m\x1b[31mE   CUDA\x1b[0m\r"[..], "E   CUDA"),
            (b"\x1b]8;;http://x\x07link\x1b]8;;\x1b\\ text", "link text"),
            (b"\x1b[", ""),
            (b"\x1b", ""),
            (b"a\x1b]never ended", "a"),
            (b"\xff plain", "\u{fffd} plain"),
        ] {
            assert_eq!(text(line), plain);
        }
    }

    #[test]
    fn a_time_stamp_is_stepped_over_and_nothing_else() {
        assert_eq!(behind_timestamp("2026-11-21T08:00:00.1234567Z === x ==="), "=== x ===");
        for other in ["== x ==", "2026-11-21 08:00", "", "Z "] {
            assert_eq!(behind_timestamp(other), other);
        }
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(shortened(" aéé ", 2), "a…");
        assert_eq!(shortened("aéé", 5), "aéé");
        assert_eq!(shortened("a\tb\u{8}\u{7f}", 9), "a b\u{fffd}\u{fffd}");
    }
}
