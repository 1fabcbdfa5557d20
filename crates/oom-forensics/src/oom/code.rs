//! Lines of code that talk of a failure. Tracebacks show them next to the failure itself.

/// Whether what stands before `at` says that the line is code, and the words at `at` part of it.
pub(super) fn is_code_before(line: &str, at: usize) -> bool {
    const FIRST: &[&str] = &[
        "except",
        "catch",
        "import",
        "from",
        "class",
        "def",
        "with",
        "assert",
        "if",
        "elif",
        "raise",
        "return",
        "while",
        "for",
        "match",
        "case",
        "throw",
        "print",
        "isinstance",
        "#",
        "//",
        "\"\"\"",
    ];
    let before = &line[..at];
    let quoted = before.trim_end_matches(['r', 'f', 'b', 'u']).ends_with(['"', '\'', '`']);
    // Pytest marks the line that failed with `>`, and what it says with `E`. Only code is indented by four and more.
    let marked =
        before.strip_prefix("E ").or_else(|| before.strip_prefix('>')).unwrap_or(before).trim_start();
    let end = marked.find([' ', '(', ':', ',']).unwrap_or(marked.len());
    let first = &marked[..end];
    FIRST.contains(&first)
        || first.starts_with('#')
        || before.contains("match=")
        || before.contains("pytest.raises(")
        || before.contains("side_effect")
        || before.ends_with("except ")
        || (quoted && [" in ", "==", "(", "= "].iter().any(|sign| code_sign(before, sign)))
}

/// Whether a sign stands right before the quote in which the words are.
fn code_sign(before: &str, sign: &str) -> bool {
    let opened = before.rfind(['"', '\'', '`']).unwrap_or_default();
    before[..opened].trim_end_matches(['r', 'f', 'b', 'u']).trim_end().ends_with(sign.trim_end())
        && (before.starts_with(' ') || before.starts_with('>'))
}
