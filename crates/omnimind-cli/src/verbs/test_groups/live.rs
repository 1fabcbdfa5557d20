//! What happens while groups run, on stderr: a line per test, and on a terminal what goes on now.

use std::io::Write;
use std::time::Duration;

use test_groups::report::Outcome;
use test_groups::{Event, Observer, TestReport};

use super::words;
use crate::output::{BAD, BOLD, Bytes, DIM, GOOD, Output, Paint, Percent, Progress, WARN, count, printable};

#[derive(Debug)]
pub(super) struct Live {
    output: Output,
    /// Of the group that runs.
    progress: Option<Progress>,
}

impl Live {
    pub(super) fn new(output: Output) -> Self {
        Self { output, progress: None }
    }

    /// A line that stays.
    fn say(&self, line: &str) {
        if self.output.is_quiet() {
            return;
        }
        // Lost if stderr is closed: nothing can be said about that.
        let write = || drop(writeln!(anstream::stderr().lock(), "{line}"));
        match &self.progress {
            Some(progress) => progress.beside(write),
            None => write(),
        }
    }

    fn finished(&self, test: &TestReport) {
        let style = match test.outcome {
            Outcome::Passed => GOOD,
            Outcome::PassedOnCpu => WARN,
            Outcome::Failed | Outcome::TimedOut => BAD,
            Outcome::Skipped | Outcome::NotRun => DIM,
        };
        let outcome = format!("{:>13}", words::outcome(test.outcome));
        let took = words::duration(Duration::from_millis(test.duration_ms));
        let peak = words::bytes(test.vram.map(|vram| vram.peak_bytes));
        let again = if test.attempts > 1 { format!(" ({} attempts)", test.attempts) } else { String::new() };
        self.say(&format!("{}  {took:>9}  {peak:>9}  {}{again}", outcome.paint(style), printable(&test.id)));
    }
}

impl Observer for Live {
    fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::GroupStarted { group } => {
                let question = group.question.as_str().paint(DIM);
                self.say(&format!("{}  {question}", group.name.as_str().paint(BOLD)));
            }
            Event::TestsListed { to_run, .. } => self.progress = Some(self.output.progress(*to_run)),
            Event::TestStarted { id, on_cpu, .. } => {
                if let Some(progress) = &self.progress {
                    progress.begin(printable(&if *on_cpu {
                        format!("{id} on the CPU")
                    } else {
                        (*id).to_owned()
                    }));
                }
            }
            Event::Looked { sample, card_bytes, .. } => {
                if let Some(progress) = &self.progress {
                    let share = Percent(sample.used_bytes as f64 / (*card_bytes).max(1) as f64);
                    let running = count(sample.running.into(), "test");
                    let used = Bytes(sample.used_bytes);
                    progress.begin(format!("{running} running, {used} of the card in use ({share})"));
                }
            }
            Event::TestFinished { test, .. } => {
                self.finished(test);
                if let Some(progress) = &self.progress {
                    progress.step();
                }
            }
            Event::GroupFinished { report } => {
                self.progress = None;
                if let Some(stopped) = &report.stopped {
                    self.say(&format!("{:>13}  {stopped}", "stopped".paint(WARN)));
                }
            }
            _ => {}
        }
    }
}
