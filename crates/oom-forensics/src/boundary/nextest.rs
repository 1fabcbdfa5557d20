//! Nextest: one line per test that ended, the output of those that failed, and a summary.

use super::{Event, Status, TestName, Totals, counted};

pub(super) fn read(line: &str) -> Option<Event<'_>> {
    let trimmed = line.trim_start_matches(['\u{2500}', '-', ' ']);
    if let Some(rest) = trimmed.strip_prefix("STDOUT:").or_else(|| trimmed.strip_prefix("STDERR:")) {
        let rest = rest.trim().trim_end_matches(['\u{2500}', '-', ' ']);
        return Some(Event::Output(test_of(rest)));
    }
    let line = line.trim_start();
    if line.starts_with("Summary [") {
        return summary(line).map(Event::Totals);
    }
    if line.starts_with("Starting ") && line.contains(" tests across ") || line.starts_with("Nextest run ID ")
    {
        return Some(Event::Session);
    }
    result(line)
}

/// `PASS [   0.005s] (1/9) my-crate::bin module::test`
fn result(line: &str) -> Option<Event<'_>> {
    let (word, rest) = line.split_once(" [")?;
    let (_, rest) = rest.split_once("s] ")?;
    let status = match word.trim() {
        "PASS" | "LEAK" => Status::Passed,
        "FAIL" | "TIMEOUT" | "ABORT" | "XFAIL" => Status::Failed,
        "SKIP" => Status::Skipped,
        signal if signal.len() < 12 && signal.starts_with("SIG") => Status::Failed,
        // "TRY 1 FAIL", "FLAKY 2/3".
        tries if tries.starts_with("TRY ") => Status::Rerun,
        tries if tries.starts_with("FLAKY ") => Status::Passed,
        _ => return None,
    };
    let rest = rest.trim_start();
    let rest = match rest.strip_prefix('(') {
        Some(counter) => counter.split_once(") ")?.1,
        None => rest,
    };
    Some(Event::Result { test: Some(test_of(rest)?), status })
}

fn test_of(text: &str) -> Option<TestName<'_>> {
    let (binary, name) = text.trim().split_once(' ')?;
    let name = name.trim();
    (!name.is_empty() && !name.contains(' ')).then_some(TestName { file: Some(binary), name })
}

/// `Summary [  12.345s] 100 tests run: 95 passed (1 slow), 4 failed, 1 timed out, 3 skipped`
fn summary(line: &str) -> Option<Totals> {
    let (head, counts) = line.split_once(" run: ")?;
    let seconds = head.split_once('[')?.1.split_once("s]")?.0.trim().parse().ok();
    let mut totals = Totals { seconds: seconds.filter(|s: &f64| s.is_finite()), ..Totals::default() };
    let mut inside = 0_i32;
    // What is in parentheses is counted already.
    let items = counts.split(|c: char| {
        inside += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && inside == 0
    });
    for item in items {
        let (number, word) = counted(item)?;
        match word.split(' ').next()? {
            "passed" => totals.passed = number,
            "failed" | "timed" => totals.failed = totals.failed.saturating_add(number),
            "exec" => totals.errors = number,
            "skipped" => totals.skipped = number,
            _ => {}
        }
    }
    Some(totals)
}
