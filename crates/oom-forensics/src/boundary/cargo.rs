//! `cargo test`: binaries, results, the output of what failed, and a summary of each binary.

use super::{Event, Status, TestName, Totals, counted};

pub(super) fn read(line: &str) -> Option<Event<'_>> {
    let trimmed = line.trim();
    if let Some(binary) = trimmed.strip_prefix("Running ") {
        return binary_of(binary).map(Event::Binary);
    }
    if let Some(name) = trimmed.strip_prefix("Doc-tests ") {
        return Some(Event::Binary(name));
    }
    if let Some(result) = trimmed.strip_prefix("test result: ") {
        return totals(result).map(Event::Totals);
    }
    if let Some(rest) = trimmed.strip_prefix("test ") {
        let (name, word) = rest.rsplit_once(" ... ")?;
        let status = match word.split(',').next()? {
            "ok" => Status::Passed,
            "FAILED" => Status::Failed,
            "ignored" => Status::Skipped,
            _ => return None,
        };
        // `should_panic` stands behind the name.
        let name = name.split(" - should panic").next()?.trim();
        return Some(Event::Result { test: Some(TestName { file: None, name }), status });
    }
    let output = trimmed.strip_prefix("---- ")?;
    let name = output.strip_suffix(" stdout ----").or_else(|| output.strip_suffix(" stderr ----"))?;
    Some(Event::Output(Some(TestName { file: None, name })))
}

/// `unittests src/lib.rs (target/debug/deps/my_crate-0123456789abcdef)`
fn binary_of(text: &str) -> Option<&str> {
    let (_, program) = text.strip_suffix(')')?.rsplit_once('(')?;
    let name = program.rsplit(['/', '\\']).next()?;
    let name = name.rsplit_once('-').map_or(name, |(name, _)| name);
    (!name.is_empty()).then_some(name)
}

/// `FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s`
fn totals(text: &str) -> Option<Totals> {
    let (_, counts) = text.split_once(". ")?;
    let mut totals = Totals::default();
    for item in counts.split(';') {
        if let Some(seconds) = item.trim().strip_prefix("finished in ") {
            let seconds = seconds.strip_suffix('s').and_then(|seconds| seconds.parse().ok());
            totals.seconds = seconds.filter(|s: &f64| s.is_finite());
            continue;
        }
        let (number, word) = counted(item)?;
        match word {
            "passed" => totals.passed = number,
            "failed" => totals.failed = number,
            "ignored" => totals.skipped = number,
            _ => {}
        }
    }
    Some(totals)
}
