//! Pytest: dots, `-v`, workers of xdist, its sections, its summary and its last line.

use super::{Event, Part, Status, TestName, Totals, counted};

pub(super) fn read(line: &str, part: Part) -> Option<Event<'_>> {
    match line.as_bytes().first()? {
        b'=' => return bar_title(line, b'=').and_then(part_of),
        b'_' => return bar_title(line, b'_').filter(|title| !title.starts_with("_ ")).map(section),
        b'[' if line.starts_with("[gw") => return worker_result(line),
        b'g' if line.starts_with("gw0 ") => return Some(Event::Workers),
        b'0'..=b'9' if line.contains(" workers [") => return Some(Event::Workers),
        b'0'..=b'9' => return totals(line).map(Event::Totals),
        _ => {}
    }
    if let Some(event) = summary(line) {
        return Some(event);
    }
    if part != Part::Progress {
        return None;
    }
    dots(line).or_else(|| result(line))
}

/// The text between two bars of one sign: `=== FAILURES ===`, `= 1 failed in 2s =`.
fn bar_title(line: &str, sign: u8) -> Option<&str> {
    let line = line.trim_end();
    let sign = char::from(sign);
    let inner = line.strip_prefix(sign)?.strip_suffix(sign)?;
    let title = inner.trim_start_matches(sign).strip_prefix(' ')?;
    let title = title.trim_end_matches(sign).strip_suffix(' ')?.trim();
    (!title.is_empty()).then_some(title)
}

fn part_of(title: &str) -> Option<Event<'_>> {
    Some(match title {
        "test session starts" => Event::Session,
        "FAILURES" => Event::Part(Part::Failures),
        "ERRORS" => Event::Part(Part::Errors),
        "short test summary info" | "rerun test summary info" => Event::Part(Part::Summary),
        "PASSES" | "XFAILURES" | "XPASSES" => Event::Part(Part::Others),
        _ => match totals(title) {
            Some(totals) => Event::Totals(totals),
            // "warnings summary", "slowest 10 durations", coverage: nothing in them is about one test.
            None if !title.contains("::") => Event::Part(Part::Others),
            None => return None,
        },
    })
}

fn section(title: &str) -> Event<'_> {
    let prefixes = ["ERROR at setup of ", "ERROR at teardown of ", "ERROR collecting "];
    let stripped = prefixes.iter().find_map(|prefix| title.strip_prefix(prefix));
    Event::Section { name: stripped.unwrap_or(title), is_teardown: title.starts_with(prefixes[1]) }
}

/// `188 failed, 4281 passed, 12 skipped, 136 errors in 1234.56s (0:20:34)`
fn totals(text: &str) -> Option<Totals> {
    let text = text.trim_end();
    let (counts, rest) = text.rsplit_once(" in ")?;
    let seconds = rest.split([' ', '(']).next()?;
    let seconds = seconds.strip_suffix('s').unwrap_or(seconds).parse().ok();
    let mut totals = Totals { seconds: Some(seconds.filter(|s: &f64| s.is_finite())?), ..Totals::default() };
    if counts == "no tests ran" {
        return Some(totals);
    }
    for item in counts.split(", ") {
        let (number, word) = counted(item)?;
        match word {
            "passed" => totals.passed = number,
            "failed" => totals.failed = number,
            "error" | "errors" => totals.errors = number,
            "skipped" => totals.skipped = number,
            "xfailed" => totals.expected_failures = number,
            "xpassed" => totals.unexpected_passes = number,
            "deselected" | "warning" | "warnings" | "rerun" | "subtests passed" | "subtests failed" => {}
            _ => return None,
        }
    }
    Some(totals)
}

fn status(word: &str) -> Option<Status> {
    Some(match word {
        "PASSED" => Status::Passed,
        "FAILED" => Status::Failed,
        "ERROR" => Status::Error,
        "SKIPPED" => Status::Skipped,
        "XFAIL" => Status::ExpectedFailure,
        "XPASS" => Status::UnexpectedPass,
        "RERUN" => Status::Rerun,
        _ => return None,
    })
}

/// `[gw3] [ 12%] PASSED tests/test_a.py::test_b `
fn worker_result(line: &str) -> Option<Event<'_>> {
    let (_, rest) = line.split_once("] ")?;
    let rest = match rest.strip_prefix('[') {
        Some(percent) => percent.split_once("%] ")?.1,
        None => rest,
    };
    let (word, id) = rest.trim().split_once(' ')?;
    let status = status(word)?;
    Some(Event::Result { test: Some(node_id(without_reason(id.trim(), status))?), status })
}

/// A file and what is in it: `tests/test_a.py::TestB::test_c[x y]`.
fn node_id(id: &str) -> Option<TestName<'_>> {
    let (file, name) = id.split_once("::")?;
    let is_path = !file.is_empty() && file.contains('.') && !file.contains(char::is_whitespace);
    (is_path && !name.is_empty()).then_some(TestName { file: Some(file), name })
}

/// `tests/test_a.py::test_b PASSED   [ 12%]`, the test alone while it runs, or the status alone when it had printed.
fn result(line: &str) -> Option<Event<'_>> {
    let line = without_percent(line);
    let bare = |line: &str| line.split_once(" (").map_or(line, |(before, _)| before).trim_end().len();
    let head = &line[..bare(line)];
    if let Some(status) = status(head) {
        return Some(Event::Result { test: None, status });
    }
    let (id, last) = split_last_word(line);
    if let Some(status) = status(last) {
        return Some(Event::Result { test: Some(node_id(id)?), status });
    }
    for word in [" SKIPPED (", " XFAIL (", " XPASS ("] {
        if let Some((id, _)) = line.split_once(word) {
            let status = status(word.trim_matches([' ', '(']))?;
            return Some(Event::Result { test: Some(node_id(id.trim_end())?), status });
        }
    }
    let first = line.find("::").and_then(|at| line[at..].find(' ').map(|space| at + space));
    node_id(&line[..first.unwrap_or(line.len())]).map(Event::Started)
}

fn is_python(file: &str) -> bool {
    file.strip_suffix(".py").is_some_and(|stem| !stem.contains(char::is_whitespace))
}

fn without_percent(line: &str) -> &str {
    let line = line.trim_end();
    let cut = line.strip_suffix("%]").and_then(|rest| rest.rsplit_once('['));
    cut.filter(|(_, percent)| percent.trim().bytes().all(|b| b.is_ascii_digit()))
        .map_or(line, |(before, _)| before.trim_end())
}

fn split_last_word(line: &str) -> (&str, &str) {
    line.rsplit_once(' ').map_or(("", line), |(before, last)| (before.trim_end(), last))
}

/// Skipped tests of a worker carry their reason behind their name.
fn without_reason(id: &str, status: Status) -> &str {
    if matches!(status, Status::Skipped | Status::ExpectedFailure | Status::UnexpectedPass)
        && id.ends_with(')')
    {
        return id.split_once(" (").map_or(id, |(id, _)| id.trim_end());
    }
    id
}

/// `tests/test_a.py ..F.s   [ 12%]`, or the same without a file where it goes on, or where workers mix.
fn dots(line: &str) -> Option<Event<'_>> {
    let stripped = without_percent(line);
    let (file, dots) = split_last_word(stripped);
    let is_file = file.is_empty() || is_python(file);
    let has_percent = stripped.len() < line.trim_end().len();
    let are_dots = !dots.is_empty() && dots.bytes().all(|b| b".FEsxXR".contains(&b));
    (is_file && are_dots && (has_percent || !file.is_empty()))
        .then_some(Event::Dots { file: Some(file).filter(|file| !file.is_empty()), dots })
}

/// How a character of [`dots`] says that a test ended.
pub(crate) fn dot(dot: u8) -> Status {
    match dot {
        b'F' => Status::Failed,
        b'E' => Status::Error,
        b's' => Status::Skipped,
        b'x' => Status::ExpectedFailure,
        b'X' => Status::UnexpectedPass,
        b'R' => Status::Rerun,
        _ => Status::Passed,
    }
}

/// `FAILED tests/test_a.py::test_b - torch.OutOfMemoryError: CUDA out of m...`
fn summary(line: &str) -> Option<Event<'_>> {
    let rest = line.strip_prefix("FAILED ").or_else(|| line.strip_prefix("ERROR "))?;
    // A dash may stand in the parameters, too.
    let from = rest.find("::").and_then(|at| rest[at..].find('[').map(|bracket| at + bracket));
    let from = from.filter(|from| rest.find(" - ").is_none_or(|dash| *from < dash));
    let from = from.and_then(|from| rest[from..].find("] - ").map(|end| from + end)).unwrap_or_default();
    let (id, message) = match rest[from..].find(" - ") {
        Some(at) => (&rest[..from + at], &rest[from + at + 3..]),
        None => (rest.trim_end(), ""),
    };
    let of_file = || is_python(id).then_some(TestName { file: Some(id), name: id });
    let test = node_id(id).or_else(of_file)?;
    Some(Event::Summary { test, message })
}
