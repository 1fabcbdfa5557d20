//! A project in a temporary directory, a card of which test processes say themselves what they hold, and a reader of outputs
//! that knows one sentence.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use test_groups::report::Outcome;
use test_groups::{
    Config, Error, Event, Forensics, GroupReport, Holder, Look, Observer, Options, OutOfMemory, Report,
    TestReport, Vram,
};

pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const CARD_BYTES: u64 = 1000 * MIB;

/// A card of 1,000 MiB. A process holds what it last wrote of itself into a file: `PID BYTES`, a line each, as long as it lives.
pub(crate) struct PaperCard(pub(crate) PathBuf);

impl Vram for PaperCard {
    fn source(&self) -> String {
        "paper".to_owned()
    }

    fn look(&mut self, device: u32) -> Result<Look, String> {
        if device != 0 {
            return Err(format!("there is no card {device}"));
        }
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        let mut held = BTreeMap::new();
        for line in text.lines() {
            if let Some((pid, bytes)) = line.split_once(' ')
                && let (Ok(pid), Ok(bytes)) = (pid.parse::<u32>(), bytes.parse::<u64>())
            {
                held.insert(pid, bytes);
            }
        }
        held.retain(|pid, bytes| *bytes > 0 && lives(*pid));
        let used_bytes = held.values().sum();
        let holders = held.into_iter().map(|(pid, bytes)| Holder { pid, used_bytes: Some(bytes) }).collect();
        Ok(Look { total_bytes: CARD_BYTES, used_bytes, holders: Some(holders) })
    }
}

/// Whether a process is there and no zombie.
pub(crate) fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// A card that cannot be seen.
pub(crate) struct NoCard;

impl Vram for NoCard {
    fn source(&self) -> String {
        "none".to_owned()
    }

    fn look(&mut self, _: u32) -> Result<Look, String> {
        Err("there is no driver".to_owned())
    }
}

/// Knows `CUDA out of memory` at any place of a line, in constant memory.
pub(crate) struct OneSentence;

impl Forensics for OneSentence {
    fn out_of_memory(&self, output: &mut dyn Read) -> Option<OutOfMemory> {
        const SENTENCE: &[u8] = b"CUDA out of memory";
        let mut window: Vec<u8> = Vec::new();
        let mut buffer = [0; 8192];
        while let Ok(bytes @ 1..) = output.read(&mut buffer) {
            window.extend_from_slice(&buffer[..bytes]);
            if window.windows(SENTENCE.len()).any(|part| part == SENTENCE) {
                let message = "CUDA out of memory".to_owned();
                return Some(OutOfMemory { message, cause: None, requested_bytes: None });
            }
            window.drain(..window.len().saturating_sub(SENTENCE.len()));
        }
        None
    }
}

/// What an observer heard, in a line each.
#[derive(Default)]
pub(crate) struct Heard(pub(crate) Vec<String>);

impl Observer for Heard {
    fn event(&mut self, event: &Event<'_>) {
        self.0.push(match event {
            Event::GroupStarted { group } => format!("group {}", group.name),
            Event::TestsListed { to_run, skipped, .. } => format!("listed {to_run} {skipped}"),
            Event::TestStarted { id, attempt, on_cpu, .. } => format!("start {id} {attempt} {on_cpu}"),
            Event::TestFinished { test, .. } => format!("end {} {:?}", test.id, test.outcome),
            Event::GroupFinished { report } => format!("done {}", report.name),
            _ => return,
        });
    }
}

pub(crate) struct Project {
    pub(crate) directory: TempDir,
    pub(crate) options: Options,
}

impl Project {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = Options { output_dir: Some(directory.path().join("out")), ..Options::default() };
        Self { directory, options }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> &Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    pub(crate) fn card(&self) -> PathBuf {
        self.path("card")
    }

    /// The configuration; every group finds the card's file as `$CARD`.
    pub(crate) fn config(&self, groups: &str) -> Config {
        let head =
            format!("sample_every = \"5ms\"\n[defaults.environment]\nCARD = \"{}\"\n", self.card().display());
        Config::parse(&format!("{head}{groups}"), &self.path("test-groups.toml"))
            .unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn try_run(&self, groups: &str) -> Result<Report, Error> {
        self.run_heard(groups, &mut ())
    }

    pub(crate) fn run_heard(&self, groups: &str, observer: &mut dyn Observer) -> Result<Report, Error> {
        let vram = Box::new(PaperCard(self.card()));
        test_groups::run(&self.config(groups), &self.options, vram, &OneSentence, observer)
    }

    /// The report of the only group.
    pub(crate) fn run(&self, group: &str) -> GroupReport {
        let report = self.try_run(group).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(report.vram_source, "paper");
        let report = report.groups.into_iter().next().unwrap();
        println!("{}", fs::read_to_string(report.log.as_ref().unwrap()).unwrap_or_default());
        println!("stopped: {:?}, notes: {:?}", report.stopped, report.notes);
        report
    }
}

/// A group of commands, each a script of `bash`, with more settings.
pub(crate) fn scripts(settings: &str, scripts: &[(&str, &str)]) -> String {
    let head = format!("[[group]]\nname = \"g\"\nquestion = \"?\"\nrunner = \"command\"\n{settings}\n");
    let commands = scripts.iter().map(|(name, script)| {
        // A JSON string is a TOML string.
        let script = serde_json::to_string(script).unwrap();
        format!("[[group.command]]\nname = {name:?}\nrun = [\"bash\", \"-c\", {script}]\n")
    });
    std::iter::once(head).chain(commands).collect()
}

pub(crate) fn test<'a>(report: &'a GroupReport, id: &str) -> &'a TestReport {
    let found = report.tests.iter().find(|test| test.id == id);
    found.unwrap_or_else(|| {
        panic!("no {id} among {:?}", report.tests.iter().map(|test| &test.id).collect::<Vec<_>>())
    })
}

pub(crate) fn outcomes(report: &GroupReport) -> BTreeMap<&str, Outcome> {
    report.tests.iter().map(|test| (test.id.as_str(), test.outcome)).collect()
}

/// Numbers of processes that scripts wrote into a file.
pub(crate) fn pids(path: &Path) -> Vec<u32> {
    fs::read_to_string(path).unwrap_or_default().lines().map(|line| line.trim().parse().unwrap()).collect()
}
