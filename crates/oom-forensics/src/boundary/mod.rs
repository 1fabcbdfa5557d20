//! Where tests begin and end: what a line says about them, in the words of three runners.

mod cargo;
mod nextest;
mod pytest;

pub(crate) use pytest::dot as status_of_dot;

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Status {
    Passed,
    Failed,
    /// In pytest: outside the test itself, in its setup or teardown.
    Error,
    Skipped,
    ExpectedFailure,
    UnexpectedPass,
    /// It is run again, and another result follows.
    Rerun,
}

/// Numbers of tests as a runner sums them up at its end.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Totals {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) errors: u64,
    pub(crate) skipped: u64,
    pub(crate) expected_failures: u64,
    pub(crate) unexpected_passes: u64,
    pub(crate) seconds: Option<f64>,
}

impl Totals {
    pub(crate) fn count(&mut self, status: Status) {
        let number = match status {
            Status::Passed => &mut self.passed,
            Status::Failed => &mut self.failed,
            Status::Error => &mut self.errors,
            Status::Skipped => &mut self.skipped,
            Status::ExpectedFailure => &mut self.expected_failures,
            Status::UnexpectedPass => &mut self.unexpected_passes,
            Status::Rerun => return,
        };
        *number += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.passed, other.passed),
            (&mut self.failed, other.failed),
            (&mut self.errors, other.errors),
            (&mut self.skipped, other.skipped),
            (&mut self.expected_failures, other.expected_failures),
            (&mut self.unexpected_passes, other.unexpected_passes),
        ] {
            *mine = mine.saturating_add(theirs);
        }
        self.seconds = match (self.seconds, other.seconds) {
            (Some(mine), Some(theirs)) => Some(mine + theirs),
            (mine, theirs) => mine.or(theirs),
        };
    }

    /// Everything that was not skipped.
    pub(crate) fn run(&self) -> u64 {
        [self.passed, self.failed, self.errors, self.expected_failures, self.unexpected_passes]
            .into_iter()
            .fold(0, u64::saturating_add)
    }
}

/// A test: its file (with Rust, its binary), and what it is called there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TestName<'l> {
    pub(crate) file: Option<&'l str>,
    pub(crate) name: &'l str,
}

/// In which part of pytest's output a line stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Part {
    /// Tests are run, and programs say what they like.
    #[default]
    Progress,
    /// What failed, one section each.
    Failures,
    /// What failed in setup or teardown.
    Errors,
    /// Sections of tests that did not fail.
    Others,
    /// One line for each failure.
    Summary,
}

/// What a line says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Event<'l> {
    /// A runner begins.
    Session,
    /// It works with several processes, and their output is mixed.
    Workers,
    /// Another part of pytest's output begins.
    Part(Part),
    /// A test begins, and runs alone.
    Started(TestName<'l>),
    /// A test ended; without a name it is the one that had begun.
    Result { test: Option<TestName<'l>>, status: Status },
    /// What follows was printed by a test that ended, or by none.
    Output(Option<TestName<'l>>),
    /// Tests ended, one character each.
    Dots { file: Option<&'l str>, dots: &'l str },
    /// What follows is about one test, by its name without its file.
    Section { name: &'l str, is_teardown: bool },
    /// One line of the summary about a test that failed, with the beginning of its message.
    Summary { test: TestName<'l>, message: &'l str },
    /// A test binary begins.
    Binary(&'l str),
    /// A runner ends.
    Totals(Totals),
}

/// What `line` says, where it stands in `part`.
pub(crate) fn read(line: &str, part: Part) -> Option<Event<'_>> {
    pytest::read(line, part).or_else(|| nextest::read(line)).or_else(|| cargo::read(line))
}

/// The number before a word in a list such as `3 passed, 1 failed`.
fn counted(item: &str) -> Option<(u64, &str)> {
    let (number, word) = item.trim().split_once(' ')?;
    Some((number.parse().ok()?, word.trim()))
}

#[cfg(test)]
mod tests;
