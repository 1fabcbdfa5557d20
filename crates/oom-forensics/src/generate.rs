//! Logs made to order, with what is to be found in them: for tests and benches. A plan gives the same log on every machine.
//!
//! The log is that of `pytest -n 8 -v` on a card that others use, too: results of workers in any order between lines of
//! programs, sections with tracebacks, colours, lines that talk of failure and report none, the summary, and the last line.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};

use crate::cause::Cause;

/// What a log is to contain.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Chooses words, order and numbers.
    pub seed: u64,
    /// All tests, also the skipped ones.
    pub tests: u64,
    /// Tests that run out of memory.
    pub ooms: u64,
    /// Tests whose setup fails, because an object has no attribute `_embedding_model`.
    pub setup_errors: u64,
    /// Tests that fail, because a model has the wrong name.
    pub wrong_models: u64,
    /// Tests that are skipped.
    pub skipped: u64,
    /// Lines that the log has at least; most of them say nothing.
    pub lines: u64,
    /// Bytes that the log has at least.
    pub bytes: u64,
    /// Whether there are colours.
    pub colours: bool,
    /// What ends a line.
    pub line_end: &'static str,
}

impl Default for Plan {
    /// The shape of the log that this crate was made for, in a thousandth of its size.
    fn default() -> Self {
        Self {
            seed: 1,
            tests: 4_479,
            ooms: 188,
            setup_errors: 136,
            wrong_models: 6,
            skipped: 12,
            lines: 0,
            bytes: 0,
            colours: true,
            line_end: "\n",
        }
    }
}

impl Plan {
    /// And in its full size: 225 MB, 627,000 lines.
    #[must_use]
    pub fn full() -> Self {
        Self { lines: 627_000, bytes: 225_000_000, ..Self::default() }
    }
}

/// What is to be found in the log.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Expected {
    /// Tests that ran.
    pub tests_run: u64,
    /// Of these, tests that passed.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
    /// Tests that ended in an error.
    pub errors: u64,
    /// Tests that were skipped.
    pub skipped: u64,
    /// Out-of-memory errors by test file.
    pub by_file: BTreeMap<String, u64>,
    /// By root cause.
    pub by_cause: BTreeMap<Cause, u64>,
    /// Of each error, in the order of the log: the test, which of the tests it was, and the line of its message.
    pub ooms: Vec<(String, u64, u64)>,
    /// In how many messages each process is named.
    pub processes: BTreeMap<u32, u64>,
    /// What the log has, in bytes.
    pub bytes: u64,
    /// And in lines.
    pub lines: u64,
}

/// What happens to a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Passes,
    Skips,
    RunsOut(Cause),
    SetupFails,
    WrongModel,
}

/// Writes the log.
///
/// # Errors
///
/// If it cannot be written.
///
/// # Panics
///
/// Never; of more failures than tests only the first are taken.
pub fn write(plan: &Plan, log: &mut impl Write) -> io::Result<Expected> {
    let mut writer =
        Writer { log, plan, random: Random(plan.seed), expected: Expected::default(), text: String::new() };
    writer.all()?;
    Ok(writer.expected)
}

/// The log in memory.
///
/// # Panics
///
/// Never: memory can always be written.
#[must_use]
pub fn bytes(plan: &Plan) -> (Vec<u8>, Expected) {
    let mut log = Vec::new();
    let expected = write(plan, &mut log).unwrap_or_default();
    (log, expected)
}

/// `SplitMix64`, by Steele, Lea and Flood.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn pick<'t>(&mut self, from: &[&'t str]) -> &'t str {
        from[self.below(from.len() as u64) as usize]
    }
}

const WORDS: &[&str] = &[
    "loading",
    "the",
    "model",
    "from",
    "cache",
    "with",
    "dimension",
    "384",
    "and",
    "batch",
    "size",
    "tensor",
    "shape",
    "(16, 128)",
    "device",
    "cuda:0",
    "request",
    "completed",
    "in",
    "ms",
    "processing",
    "step",
    "score",
    "value",
    "retry",
    "connection",
    "of",
    "agent",
    "memory",
    "started",
    "handler",
    "embedding",
    "phi",
    "integrated",
    "information",
    "queue",
    "worker",
    "passed",
    "to",
    "next",
    "stage",
    "output",
    "of",
    "module",
    "0.9871",
    "True",
    "None",
    "session",
    "token",
];
const MODULES: &[&str] =
    &["agents.memory", "integrations.llm", "core.phi", "embeddings.service", "mcp.server", "quantum.backend"];
const FOLDERS: &[&str] =
    &["agents", "integrations", "consciousness", "embeddings", "mcp", "quantum", "memory"];
/// They talk of failure and report none.
const NEAR_MISSES: &[&str] = &[
    "out of memory handling is enabled for this worker",
    "    except torch.cuda.OutOfMemoryError:",
    ">           raise RuntimeError(\"CUDA out of memory\")",
    "checking whether it can run without CUDA out of memory",
    "RESOURCE_EXHAUSTED: quota exceeded for requests per minute",
    "WARNING  agents.memory:memory.py:77 PASSWORD is not set, FAILOVER is off",
    "downloading [ 50%]",
    "__init__ of the embedding model was called == twice ==",
];

struct Writer<'w, W> {
    log: &'w mut W,
    plan: &'w Plan,
    random: Random,
    expected: Expected,
    text: String,
}

impl<W: Write> Writer<'_, W> {
    fn line(&mut self, text: &str) -> io::Result<()> {
        self.expected.lines += 1;
        self.expected.bytes += (text.len() + self.plan.line_end.len()) as u64;
        self.log.write_all(text.as_bytes())?;
        self.log.write_all(self.plan.line_end.as_bytes())
    }

    fn painted(&self, code: &str, text: &str) -> String {
        if self.plan.colours { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn bar(&mut self, sign: &str, title: &str) -> io::Result<()> {
        let side = 78_usize.saturating_sub(title.len()).div_ceil(2).max(1);
        let bar = sign.repeat(side);
        let text = format!("{bar} {title} {bar}");
        let text = if sign == "_" { self.painted("31", &self.painted("1", &text)) } else { text };
        self.line(&text)
    }

    /// A line that says nothing, so long that the log gets its size.
    fn filler(&mut self) -> io::Result<()> {
        if self.random.below(200) == 0 {
            let near = self.random.pick(NEAR_MISSES);
            return self.line(near);
        }
        let mean = self.plan.bytes.checked_div(self.plan.lines).map_or(80, |mean| mean.clamp(40, 4_000));
        let length = mean / 2 + self.random.below(mean + 1);
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        if self.random.below(4) > 0 {
            let (module, line) = (self.random.pick(MODULES), self.random.below(900));
            let (minute, second) = (self.random.below(60), self.random.below(60));
            // Writing into a string cannot fail.
            let _ = write!(
                text,
                "INFO     {module}:{module}.py:{line} 2026-11-21 10:{minute:02}:{second:02},123"
            );
        } else {
            text.push_str("   ");
        }
        while (text.len() as u64) < length {
            text.push(' ');
            let word = self.random.pick(WORDS);
            text.push_str(word);
        }
        let written = self.line(&text);
        self.text = text;
        written
    }

    fn fillers(&mut self, count: u64) -> io::Result<()> {
        (0..count).try_for_each(|_| self.filler())
    }

    /// File and name of a test.
    fn test(number: u64) -> (String, String) {
        let folder = FOLDERS[(number / 61) as usize % FOLDERS.len()];
        let file = format!("tests/{folder}/test_{}.py", number / 61);
        let name = match number % 5 {
            0 => format!("TestGroup{}::test_case[{number}-a b]", number / 7),
            1 => format!("test_case_{number}"),
            // The same name again and again: only their order tells their sections apart.
            2 => "test_device_placement".to_owned() + if number % 10 == 2 { "_gpu" } else { "" },
            3 => format!(
                "TestService::test_handles_oom_{number}_with_a_name_so_long_that_the_bars_have_no_room"
            ),
            _ => format!("TestService::test_case_{number}"),
        };
        let name = if number % 5 == 2 { format!("TestPlacement{}::{name}", number % 61) } else { name };
        (file, name)
    }

    fn fates(&mut self) -> Vec<Fate> {
        let plan = self.plan;
        let causes = [
            Cause::CompetingProcesses,
            Cause::CompetingProcesses,
            Cause::Fragmentation,
            Cause::OneAllocationTooLarge,
            Cause::CardTooSmall,
            Cause::Unknown,
        ];
        let mut fates = Vec::new();
        fates.extend((0..plan.ooms).map(|at| Fate::RunsOut(causes[at as usize % causes.len()])));
        fates.extend((0..plan.setup_errors).map(|_| Fate::SetupFails));
        fates.extend((0..plan.wrong_models).map(|_| Fate::WrongModel));
        fates.extend((0..plan.skipped).map(|_| Fate::Skips));
        fates.resize(plan.tests as usize, Fate::Passes);
        for at in (1..fates.len()).rev() {
            let other = self.random.below(at as u64 + 1) as usize;
            fates.swap(at, other);
        }
        fates
    }

    fn all(&mut self) -> io::Result<()> {
        let fates = self.fates();
        let count = |fate: fn(&Fate) -> bool| fates.iter().filter(|it| fate(it)).count() as u64;
        let expected = &mut self.expected;
        expected.passed = count(|fate| *fate == Fate::Passes);
        expected.skipped = count(|fate| *fate == Fate::Skips);
        expected.errors = count(|fate| *fate == Fate::SetupFails);
        expected.tests_run = fates.len() as u64 - expected.skipped;
        expected.failed = expected.tests_run - expected.passed - expected.errors;
        self.bar("=", "test session starts")?;
        self.line("platform linux -- Python 3.11.5, pytest-8.3.3, pluggy-1.5.0 -- /usr/bin/python3")?;
        self.line("created: 8/8 workers")?;
        self.line(&format!("8 workers [{} items]", fates.len()))?;
        // Workers finish in another order than the tests stand in.
        let mut order: Vec<usize> = (0..fates.len()).collect();
        for at in 0..order.len() {
            let other = (at + self.random.below(8) as usize).min(order.len() - 1);
            order.swap(at, other);
        }
        let sections = (self.plan.ooms + self.plan.setup_errors + self.plan.wrong_models).max(1);
        // Half of what says nothing stands between the results, half in the sections.
        let fillers = self.plan.lines / 2 / (fates.len() as u64).max(1);
        let shown: Vec<(String, String)> = (0..fates.len()).map(|at| Self::test(at as u64)).collect();
        for (done, at) in order.iter().enumerate() {
            self.result(&shown[*at], fates[*at], (done + 1) * 100 / fates.len())?;
            self.fillers(fillers)?;
        }
        let inside = self.plan.lines / 2 / sections;
        self.bar("=", "ERRORS")?;
        for at in order.iter().filter(|at| fates[**at] == Fate::SetupFails) {
            self.setup_error(&shown[*at], inside)?;
        }
        self.bar("=", "FAILURES")?;
        for (position, at) in order.iter().enumerate() {
            match fates[*at] {
                Fate::RunsOut(cause) => {
                    self.out_of_memory(&shown[*at], cause, position as u64 + 1, inside)?;
                }
                Fate::WrongModel => self.wrong_model(&shown[*at], inside)?,
                _ => {}
            }
        }
        // What the sections did not fill.
        while self.expected.lines < self.plan.lines || self.expected.bytes < self.plan.bytes {
            self.filler()?;
        }
        self.bar("=", "short test summary info")?;
        for at in order {
            self.summary(&shown[at], fates[at])?;
        }
        self.last_line()
    }

    fn result(&mut self, (file, name): &(String, String), fate: Fate, percent: usize) -> io::Result<()> {
        let (word, colour) = match fate {
            Fate::Passes => ("PASSED", "32"),
            Fate::Skips => ("SKIPPED", "33"),
            Fate::SetupFails => ("ERROR", "31"),
            Fate::RunsOut(_) | Fate::WrongModel => ("FAILED", "31"),
        };
        let (worker, percent) = (self.random.below(8), format!(" [{percent:3}%]"));
        let (word, percent) = (self.painted(colour, word), self.painted("36", &percent));
        self.line(&format!("[gw{worker}]{percent} {word} {file}::{name} "))
    }

    fn section(&mut self, title: &str) -> io::Result<()> {
        self.bar("_", title)?;
        let worker = self.random.below(8);
        self.line(&format!("[gw{worker}] linux -- Python 3.11.5 /usr/bin/python3"))
    }

    fn raised(&mut self, file: &str, message: &str) -> io::Result<()> {
        let line = self.random.below(300);
        self.line("    def test_it(service):")?;
        self.line(">       service.run(batch)")?;
        self.line("")?;
        self.line(&format!("{file}:{line}: "))?;
        self.line("_ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _")?;
        let message = self.painted("1", &self.painted("31", &format!("E       {message}")));
        self.line(&message)?;
        self.line("")?;
        let name = message.split([' ', ':']).find(|word| word.ends_with("Error")).unwrap_or("Error");
        let (source, name) = (self.random.pick(FOLDERS), name.rsplit('.').next().unwrap_or(name));
        self.line(&format!("src/{source}.py:{line}: {name}"))
    }

    fn captured(&mut self, lines: u64) -> io::Result<()> {
        self.bar("-", "Captured log call")?;
        self.fillers(lines)
    }

    fn setup_error(&mut self, (file, name): &(String, String), lines: u64) -> io::Result<()> {
        self.section(&format!("ERROR at setup of {}", name.replace("::", ".")))?;
        self.raised(file, "AttributeError: 'EmbeddingService' object has no attribute '_embedding_model'")?;
        self.captured(lines)
    }

    fn wrong_model(&mut self, (file, name): &(String, String), lines: u64) -> io::Result<()> {
        self.section(&name.replace("::", "."))?;
        self.raised(file, "ValueError: no such model: gpt-4 (provider=ollama, timeout=30)")?;
        self.captured(lines)
    }

    fn out_of_memory(
        &mut self,
        (file, name): &(String, String),
        cause: Cause,
        position: u64,
        lines: u64,
    ) -> io::Result<()> {
        self.section(&name.replace("::", "."))?;
        let message = self.message(cause);
        // The message is the sixth line of what was raised.
        let first = self.expected.lines + 6;
        self.raised(file, &message)?;
        self.line("During handling of the above exception, another exception occurred:")?;
        self.raised(file, &message)?;
        self.captured(lines)?;
        self.line(&format!("ERROR    root:service.py:12 {message}"))?;
        self.expected.ooms.push((format!("{file}::{name}"), position, first));
        *self.expected.by_file.entry(file.clone()).or_default() += 1;
        *self.expected.by_cause.entry(cause).or_default() += 1;
        Ok(())
    }

    /// A message from which a cause follows.
    fn message(&mut self, cause: Cause) -> String {
        let mib = |from: u64, to: u64, random: &mut Random| from + random.below(to - from);
        let random = &mut self.random;
        match cause {
            Cause::CompetingProcesses => {
                let (pid, other) = (40_000 + random.below(8) as u32, 50_000 + random.below(3) as u32);
                let (requested, held) = (mib(20, 600, random), mib(800, 1_400, random));
                for pid in [pid, other] {
                    *self.expected.processes.entry(pid).or_default() += 1;
                }
                format!(
                    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate {requested}.00 MiB. GPU 0 has a total capacity \
                     of 3.81 GiB of which 17.94 MiB is free. Process {pid} has {held}.00 MiB memory in use. Process {other} has \
                     1.20 GiB memory in use. Including non-PyTorch memory, this process has 700.00 MiB memory in use. Of the \
                     allocated memory 600.00 MiB is allocated by PyTorch, and 10.50 MiB is reserved by PyTorch but unallocated. If \
                     reserved but unallocated memory is large try setting PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid \
                     fragmentation."
                )
            }
            Cause::Fragmentation => {
                let requested = mib(2, 90, random);
                format!(
                    "RuntimeError: CUDA out of memory. Tried to allocate {requested}.00 MiB (GPU 0; 3.81 GiB total capacity; 2.90 GiB \
                     already allocated; 1.94 MiB free; 3.02 GiB reserved in total by PyTorch) If reserved memory is >> allocated \
                     memory try setting max_split_size_mb to avoid fragmentation."
                )
            }
            Cause::OneAllocationTooLarge => {
                let requested = mib(4, 40, random);
                format!(
                    "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate {requested}.00 GiB. GPU 0 has a total capacty \
                     of 3.81 GiB of which 3.20 GiB is free. Including non-PyTorch memory, this process has 610.00 MiB memory in use. \
                     Of the allocated memory 100.00 MiB is allocated by PyTorch, and 1.00 MiB is reserved by PyTorch but unallocated."
                )
            }
            Cause::CardTooSmall => {
                let requested = mib(200, 800, random);
                format!(
                    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate {requested}.00 MiB. GPU 0 has a total capacity of \
                     3.81 GiB of which 90.00 MiB is free. Including non-PyTorch memory, this process has 3.72 GiB memory in use. Of \
                     the allocated memory 3.30 GiB is allocated by PyTorch, and 20.00 MiB is reserved by PyTorch but unallocated."
                )
            }
            _ => {
                let requested = random.below(1 << 34);
                format!(
                    "jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate {requested} bytes."
                )
            }
        }
    }

    fn summary(&mut self, (file, name): &(String, String), fate: Fate) -> io::Result<()> {
        let (word, message) = match fate {
            Fate::RunsOut(Cause::Unknown) => {
                ("FAILED", "jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EX...")
            }
            Fate::RunsOut(_) => ("FAILED", "torch.OutOfMemoryError: CUDA out of memory. Tried to..."),
            Fate::WrongModel => ("FAILED", "ValueError: no such model: gpt-4 (provider=ollama, timeout=30)"),
            Fate::SetupFails => {
                ("ERROR", "AttributeError: 'EmbeddingService' object has no attribute '_embedding_model'")
            }
            Fate::Passes | Fate::Skips => return Ok(()),
        };
        let (word, bold) = (self.painted("31", word), self.painted("1", name));
        self.line(&format!("{word} {file}::{bold} - {message}"))
    }

    fn last_line(&mut self) -> io::Result<()> {
        let Expected { passed, failed, errors, skipped, .. } = self.expected;
        let counts = [(failed, "failed", "31"), (passed, "passed", "32"), (skipped, "skipped", "33")];
        let mut parts: Vec<String> = counts
            .iter()
            .filter(|(count, ..)| *count > 0)
            .map(|(count, word, colour)| self.painted(colour, &format!("{count} {word}")))
            .collect();
        if errors > 0 {
            parts.push(self.painted("31", &format!("{errors} error{}", if errors == 1 { "" } else { "s" })));
        }
        let end = self.painted("31", " in 1234.56s (0:20:34)");
        let text = format!("== {}{end} ==", parts.join(", "));
        self.line(&text)
    }
}
