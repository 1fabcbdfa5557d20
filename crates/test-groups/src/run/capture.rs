//! What a test printed, in bounded memory: its beginning and its end.

use std::collections::VecDeque;

const HEAD_BYTES: usize = 32 << 10;
const TAIL_BYTES: usize = 224 << 10;
/// What a report quotes of it.
const MESSAGE_BYTES: usize = 2 << 10;

/// The first 32 KiB and the last 224 KiB.
#[derive(Debug, Default)]
pub(crate) struct Capture {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    cut_bytes: u64,
}

impl Capture {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let (first, rest) = bytes.split_at(bytes.len().min(HEAD_BYTES - self.head.len()));
        self.head.extend_from_slice(first);
        let (old, new) = rest.split_at(rest.len().saturating_sub(TAIL_BYTES));
        self.cut_bytes += old.len() as u64;
        let over = (self.tail.len() + new.len()).saturating_sub(TAIL_BYTES);
        self.tail.drain(..over);
        self.cut_bytes += over as u64;
        self.tail.extend(new);
    }

    /// Beginning and end, with a line between them that says how much is missing.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head.clone();
        if self.cut_bytes > 0 {
            bytes.extend_from_slice(format!("\n[{} bytes are left out here]\n", self.cut_bytes).as_bytes());
        }
        bytes.extend(&self.tail);
        bytes
    }

    /// All of it, if nothing was left out.
    pub(crate) fn whole(&self) -> Option<Vec<u8>> {
        (self.cut_bytes == 0).then(|| self.bytes())
    }

    /// The last words: at most 2 KiB, whole lines where there are some.
    pub(crate) fn message(&self) -> Option<String> {
        let bytes = self.bytes();
        last_words(&String::from_utf8_lossy(&bytes))
    }
}

/// At most 2 KiB of the end of a text, whole lines where there are some.
pub(crate) fn last_words(text: &str) -> Option<String> {
    let text = text.trim_end();
    let mut from = text.len().saturating_sub(MESSAGE_BYTES);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let mut words = &text[from..];
    if from > 0
        && let Some((_, whole)) = words.split_once('\n')
    {
        words = whole;
    }
    let words = words.trim();
    (!words.is_empty()).then(|| words.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_long_output_keeps_its_beginning_and_its_end() {
        let mut capture = Capture::default();
        capture.push(b"first");
        for _ in 0..10_000 {
            capture.push(&[b'x'; 1000]);
        }
        capture.push(b"\nlast");
        let bytes = capture.bytes();
        assert!(bytes.starts_with(b"first") && bytes.ends_with(b"\nlast"));
        assert!(bytes.len() < HEAD_BYTES + TAIL_BYTES + 64);
        assert!(String::from_utf8_lossy(&bytes).contains("bytes are left out here"));
        assert_eq!(capture.message().as_deref(), Some("last"));
    }

    #[test]
    fn nothing_but_spaces_is_no_message() {
        assert_eq!(last_words(" \n\n"), None);
        assert_eq!(last_words("é\n"), Some("é".to_owned()));
    }

    proptest! {
        #[test]
        fn what_is_kept_and_what_is_cut_is_all_there_was(pieces in prop::collection::vec(0usize..200_000, 0..12)) {
            let mut capture = Capture::default();
            for length in &pieces {
                capture.push(&vec![b'a'; *length]);
            }
            let total: u64 = pieces.iter().map(|length| *length as u64).sum();
            prop_assert_eq!(capture.head.len() as u64 + capture.tail.len() as u64 + capture.cut_bytes, total);
        }

        #[test]
        fn last_words_are_short_whatever_the_text(text in "\\PC{0,3000}") {
            prop_assert!(last_words(&text).is_none_or(|words| words.len() <= MESSAGE_BYTES));
        }
    }
}
