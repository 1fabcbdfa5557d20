//! Reads logs and concludes.

use std::io::{self, Read};

use crate::cause::Thresholds;
use crate::conclude;
use crate::error::{Error, Result};
use crate::input;
use crate::patterns::Patterns;
use crate::report::{Format, Log, Report};
use crate::run::Run;
use crate::scan::{Finders, Scanner, Window};

/// So many logs are kept apart.
const MOST_LOGS: usize = 10_000;

/// What to look for, and how to judge it.
#[derive(Debug, Clone)]
pub struct Config {
    /// From where on something is a cause.
    pub thresholds: Thresholds,
    /// Known errors to look for.
    pub patterns: Patterns,
    /// How many of the first out-of-memory errors the report shows.
    pub first_ooms: usize,
}

impl Config {
    /// The thresholds and patterns that come along, and the first ten errors.
    ///
    /// # Errors
    ///
    /// None, because a test reads the patterns.
    pub fn standard() -> Result<Self> {
        Ok(Self { thresholds: Thresholds::default(), patterns: Patterns::known()?, first_ooms: 10 })
    }
}

/// Reads logs in one pass, in a memory that does not grow with them, and yields a [`Report`].
///
/// ```
/// use oom_forensics::{Analyzer, Cause, Config};
///
/// let log = b"tests/test_a.py::test_big FAILED [100%]\n\
///     =================== FAILURES ===================\n\
///     ___________________ test_big ___________________\n\
///     E   torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 8.00 GiB. GPU 0 has a total capacity of 3.81 GiB of \
///     which 3.50 GiB is free.\n\
///     =========== short test summary info ============\n\
///     FAILED tests/test_a.py::test_big - torch.OutOfMemoryError: CUDA out of memory.\n\
///     ============== 1 failed in 0.52s ===============\n";
///
/// let mut analyzer = Analyzer::new(Config::standard()?);
/// analyzer.read("pytest.log", &log[..])?;
/// let report = analyzer.finish();
/// assert_eq!((report.tests_run, report.failed, report.oom_total), (1, 1, 1));
/// assert_eq!(report.first_ooms[0].test.as_deref(), Some("tests/test_a.py::test_big"));
/// assert_eq!(report.by_cause[0].cause, Cause::OneAllocationTooLarge);
/// # Ok::<(), oom_forensics::Error>(())
/// ```
#[derive(Debug)]
pub struct Analyzer {
    scanner: Scanner,
    run: Run,
    thresholds: Thresholds,
    first_ooms: usize,
    logs: Vec<Log>,
    is_open: bool,
    notes: Vec<String>,
}

impl Analyzer {
    /// Ready for the first log.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self::with_window(config, Window::default())
    }

    pub(crate) fn with_window(config: Config, window: Window) -> Self {
        let Config { thresholds, patterns, first_ooms } = config;
        let finders = Finders::new(patterns.literals(), patterns.regexes().iter().cloned());
        Self {
            scanner: Scanner::new(finders, window),
            run: Run::new(patterns, thresholds),
            thresholds,
            first_ooms,
            logs: Vec::new(),
            is_open: false,
            notes: Vec::new(),
        }
    }

    /// A log begins that is given piece by piece. The one before ends.
    pub fn begin_log(&mut self, name: &str) {
        self.begin(name, Format::Plain);
    }

    fn begin(&mut self, name: &str, format: Format) {
        self.end_log();
        self.is_open = true;
        if self.logs.len() < MOST_LOGS {
            let name = crate::line::shortened(name, 512);
            self.logs.push(Log { name, format, bytes: 0, lines: 0 });
        }
        self.run.begin_log(self.logs.len() as u32 - 1);
    }

    /// The next piece of the log. Where it is cut makes no difference.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        if !self.is_open {
            self.begin_log("log");
        }
        while !bytes.is_empty() {
            let spare = self.scanner.spare();
            let (now, later) = bytes.split_at(spare.len().min(bytes.len()));
            spare[..now.len()].copy_from_slice(now);
            self.scanner.advance(now.len());
            bytes = later;
            self.scan_if_full();
        }
    }

    /// Reads a log to its end: plain, or packed by gzip or zstd.
    ///
    /// # Errors
    ///
    /// If it cannot be read on. What was read until then counts, and reading another log afterwards is fine.
    pub fn read(&mut self, name: &str, log: impl Read) -> Result<()> {
        let failed = |bytes, source| Err(Error::Read { log: name.to_owned(), bytes, source });
        let (mut log, format) = match input::open(log) {
            Ok(opened) => opened,
            Err(source) => return failed(0, source),
        };
        self.begin(name, format);
        let ended = loop {
            match log.read(self.scanner.spare()) {
                Ok(0) => break Ok(()),
                Ok(bytes) => {
                    self.scanner.advance(bytes);
                    self.scan_if_full();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        let bytes = self.scanner.bytes();
        self.end_log();
        match ended {
            Ok(()) => Ok(()),
            // A run that was killed leaves its log packed to half.
            Err(error)
                if format != Format::Plain && error.kind() == io::ErrorKind::UnexpectedEof && bytes > 0 =>
            {
                self.notes
                    .push(format!("{name} ends in the middle of its packed data; what is there was read"));
                Ok(())
            }
            Err(error) => failed(bytes, error),
        }
    }

    /// Everything that the logs say.
    #[must_use]
    pub fn finish(mut self) -> Report {
        self.end_log();
        conclude::report(self.run, self.logs, self.first_ooms, &self.thresholds, self.notes)
    }

    fn scan_if_full(&mut self) {
        if self.scanner.is_full() {
            let run = &mut self.run;
            self.scanner.scan(&mut |candidate| run.look(candidate));
        }
    }

    fn end_log(&mut self) {
        if !std::mem::take(&mut self.is_open) {
            return;
        }
        let run = &mut self.run;
        self.scanner.finish(&mut |candidate| run.look(candidate));
        if let Some(log) = self.logs.last_mut() {
            log.bytes = log.bytes.saturating_add(self.scanner.bytes());
            log.lines = log.lines.saturating_add(self.scanner.lines());
        }
        self.scanner.rewind();
    }
}
