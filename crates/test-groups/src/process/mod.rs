//! Processes of tests: started in a group of their own and marked, found again wherever they went, and ended to the last one.
//!
//! A process belongs to a test if it descends from the one that was started, is in its process group, or carries its mark in
//! its environment. While a [`Reaper`] lives, what loses its parent becomes a child of this process (Linux), so that daemons are
//! found among its descendants. One that leaves its group and clears its environment after its parent has ended is not
//! found.
//!
//! If this process is itself killed with SIGKILL, what it started goes on: `PR_SET_PDEATHSIG` would end children with the
//! *thread* that started them, and tests are started from threads that come and go. Workers of pytest and tests behind the
//! gate end by themselves at the next test, because their socket is gone.

mod reaper;
mod table;

use std::collections::HashSet;
use std::io::{self, PipeReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub(crate) use reaper::Reaper;
pub(crate) use table::{Process, parent_of, variable};

/// The variable with the run, unlike any other at the time.
pub(crate) const RUN_VARIABLE: &str = "OMNIMIND_TEST_RUN";
/// The variable with the test: `GROUP/NUMBER`.
pub(crate) const TEST_VARIABLE: &str = "OMNIMIND_TEST";

/// The time between SIGTERM and SIGKILL.
pub(crate) const GRACE: Duration = Duration::from_secs(2);
/// How long processes that outlive their test may take to end by themselves before they count as left behind.
const AFTERMATH: Duration = Duration::from_millis(200);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What marks the processes of one test, or of one worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) run: String,
    pub(crate) test: String,
}

impl Mark {
    pub(crate) fn put_on(&self, command: &mut Command) {
        command.env(RUN_VARIABLE, &self.run).env(TEST_VARIABLE, &self.test);
    }

    fn is_on(&self, pid: u32) -> bool {
        variable(pid, RUN_VARIABLE).is_some_and(|run| run == self.run)
            && variable(pid, TEST_VARIABLE).is_some_and(|test| test == self.test)
    }
}

/// A process that was started here, and all that it prints.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) child: Child,
    pub(crate) output: PipeReader,
}

/// Starts a process in a group of its own; what it and its children print comes through one pipe.
pub(crate) fn start(mut command: Command, mark: &Mark) -> io::Result<Started> {
    let (output, writer) = io::pipe()?;
    mark.put_on(&mut command);
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).process_group(0);
    let child = reaper::start(&mut command)?;
    Ok(Started { child, output })
}

/// Starts a process as [`start`] does, with a pipe for stdout and one for stderr.
pub(crate) fn start_with_two_pipes(mut command: Command, mark: &Mark) -> io::Result<(Started, PipeReader)> {
    let (output, output_writer) = io::pipe()?;
    let (errors, errors_writer) = io::pipe()?;
    mark.put_on(&mut command);
    command.stdin(Stdio::null()).stdout(output_writer).stderr(errors_writer).process_group(0);
    let child = reaper::start(&mut command)?;
    Ok((Started { child, output: errors }, output))
}

/// Which processes are meant.
#[derive(Debug, Clone, Default)]
pub(crate) struct Members {
    /// These, the groups that they lead, and what descends from them.
    pub(crate) leaders: Vec<u32>,
    /// And what carries one of these.
    pub(crate) marks: Vec<Mark>,
    /// And what carries the mark of this run, whichever its test.
    pub(crate) run: Option<String>,
}

impl Members {
    pub(crate) fn of(leader: u32, mark: Mark) -> Self {
        Self { leaders: vec![leader], marks: vec![mark], run: None }
    }

    /// Those that are there now, zombies among them.
    pub(crate) fn now(&self) -> Vec<Process> {
        let all = table::all();
        let own = std::process::id();
        // All that could be meant descends from this process if orphans come to it, and else may be anywhere.
        let candidates = if Reaper::works() { table::descendants(&all, &[own]) } else { all };
        let mut found: HashSet<u32> = HashSet::new();
        for process in &candidates {
            let leads = self.leaders.contains(&process.pid) || self.leaders.contains(&process.group);
            let marked = || self.marks.iter().any(|mark| mark.is_on(process.pid));
            let of_run = || self.run.is_some() && variable(process.pid, RUN_VARIABLE) == self.run;
            if process.pid != own && (leads || marked() || of_run()) {
                found.insert(process.pid);
            }
        }
        let roots: Vec<u32> = found.iter().copied().collect();
        found.extend(table::descendants(&candidates, &roots).iter().map(|process| process.pid));
        candidates.into_iter().filter(|process| found.contains(&process.pid)).collect()
    }

    /// Those that have not ended.
    pub(crate) fn alive(&self) -> Vec<Process> {
        reaper::reap_orphans();
        self.now().into_iter().filter(|process| !process.zombie).collect()
    }

    /// Ends them all: SIGTERM, after [`GRACE`] SIGKILL. Returns how many there were.
    pub(crate) fn end(&self) -> u64 {
        let mut seen: HashSet<(u32, u64)> = HashSet::new();
        let mut signalled: HashSet<(u32, u64)> = HashSet::new();
        let begun = Instant::now();
        loop {
            let alive = self.alive();
            if alive.is_empty() || begun.elapsed() > GRACE * 2 {
                return seen.len() as u64;
            }
            let killing = begun.elapsed() > GRACE;
            for process in &alive {
                seen.insert(process.identity());
                if killing {
                    process.signal(Signal::SIGKILL);
                } else if signalled.insert(process.identity()) {
                    process.signal(Signal::SIGTERM);
                    // One that is stopped would not hear it.
                    process.signal(Signal::SIGCONT);
                }
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// What is still there after a test has ended gets a moment to end by itself, and then is ended. Returns how many were.
    pub(crate) fn sweep(&self) -> u64 {
        let begun = Instant::now();
        while !self.alive().is_empty() {
            if begun.elapsed() > AFTERMATH {
                return self.end();
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        0
    }
}

impl Process {
    fn identity(&self) -> (u32, u64) {
        (self.pid, self.started)
    }

    /// If it is still the same process that has this number.
    fn signal(&self, signal: Signal) {
        if table::process(self.pid).is_some_and(|now| now.started == self.started) {
            // It may have ended since; then there is nothing to do.
            let _ = kill(Pid::from_raw(self.pid as i32), signal);
        }
    }
}

/// Forgets a child that has been waited for.
pub(crate) fn forget(pid: u32) {
    reaper::forget(pid);
}
