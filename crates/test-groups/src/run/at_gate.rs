//! `nextest`: started once for all tests, each of which asks at the gate whether it may begin.

use std::fs;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

use super::context::Output;
use super::dispatcher::{Dispatcher, Message, Place, Running};
use super::follow::{Ended, Follow, SharedCapture, Stop, follow};
use super::last_words;
use super::ledger::{End, How};
use super::pull::{Asking, Pull};
use super::socket::Peer;
use crate::gate::{Answer, Question};
use crate::process;
use crate::runners::Suite;
use crate::runners::nextest::{self, Report};

impl Dispatcher<'_, '_> {
    pub(super) fn begin_nextest(&mut self, suite: &nextest::Suite) {
        if let Err(error) = self.start_nextest(suite) {
            self.stop(format!("cargo nextest cannot be started: {error}"));
        }
    }

    fn start_nextest(&mut self, suite: &nextest::Suite) -> std::io::Result<()> {
        let context = self.context;
        let no_socket =
            || std::io::Error::other(format!("no socket can be made in {}", context.private.display()));
        let socket = self.listen().ok_or_else(no_socket)?;
        let gate = context.private.join("gate");
        let program = context.gate.map_or_else(std::env::current_exe, |gate| Ok(gate.to_owned()))?;
        std::os::unix::fs::symlink(fs::canonicalize(program)?, &gate)?;
        let command = suite.all(context, self.most_at_once, socket.path(), &gate);
        let mark = context.mark("nextest");
        let (started, output) = process::start_with_two_pipes(command, &mark)?;
        let (stop, capture) = (Stop::default(), SharedCapture::default());
        let how = Follow {
            name: "nextest".to_owned(),
            mark,
            stop: stop.clone(),
            log: context.log,
            capture: SharedCapture::clone(&capture),
            forensics: None,
        };
        self.pull = Pull::Nextest { stop, over: false, capture, _socket: socket };
        let messages = self.messages.clone();
        self.scope.spawn(move || {
            let over = AtomicBool::new(false);
            let ended = std::thread::scope(|scope| {
                let mut output = Output { pipe: output, over: &over };
                let reports = messages.clone();
                scope.spawn(move || {
                    nextest::read(&mut output, |report| {
                        let _ = reports.send(Message::Nextest(report));
                    });
                });
                let ended = follow(started, &how);
                over.store(true, Ordering::Release);
                ended
            });
            // After all that it said.
            let _ = messages.send(Message::NextestEnded(ended));
        });
        Ok(())
    }

    pub(super) fn at_the_gate(&mut self, peer: &Peer, question: &Question) {
        let Suite::Nextest(suite) = self.suite else { return };
        let test = suite.by_id(&question.binary_id, &question.test);
        let over = self.stopped.is_some();
        match test.filter(|test| !self.ledger.is_done(*test) && !self.ledger.is_running(*test)) {
            Some(test) if !over => {
                let asking =
                    Asking { peer: peer.clone(), place: Place::Gate(question.pid), pid: question.pid };
                self.asking.insert(test, asking);
                self.wait(test);
            }
            // One that was not listed is none of ours.
            _ => peer.answer(&Answer { go: !over, mark: self.context.mark("nextest").test }),
        }
    }

    pub(super) fn nextest_said(&mut self, report: Report) {
        let Suite::Nextest(suite) = self.suite else { return };
        let at_gate = |test: &usize| {
            self.running
                .get(test)
                .is_some_and(|running| matches!(running.place, Place::Gate(_)) && !running.is_over)
        };
        let tests = suite.by_message(&report.name);
        let running = tests.iter().copied().find(at_gate);
        let untouched = |test: &usize| !self.ledger.is_done(*test) && self.ledger.report(*test).attempts == 0;
        if let Some(test) = running {
            let Some(running) = self.running.get_mut(&test) else { return };
            running.is_over = true;
            let Place::Gate(pid) = running.place else { return };
            let members = process::Members::of(pid, self.context.mark(test));
            let messages = self.messages.clone();
            self.scope.spawn(move || {
                let left_processes = members.sweep();
                let _ = messages.send(Message::Swept { test, report, left_processes });
            });
        } else if let Some(test) = tests.iter().copied().find(untouched).filter(|_| self.stopped.is_none()) {
            if report.ignored {
                return;
            }
            // It did not come to the gate: its binary or a script before it could not be started.
            if self.asking.remove(&test).is_some() {
                self.slots.ended(test, None);
            }
            self.begin_attempt(test, None, None);
            self.finish(test, self.end_of(&report, 0));
        }
    }

    pub(super) fn swept(&mut self, test: usize, report: &Report, left_processes: u64) {
        let Some(running) = self.running.remove(&test) else { return };
        let mut end = self.end_of(report, left_processes);
        (end.how, end.message) = running.judged(end.how, end.message, self.context);
        self.finish(test, end);
    }

    fn end_of(&self, report: &Report, left_processes: u64) -> End {
        let out_of_memory = self.context.forensics.out_of_memory(&mut report.output.as_slice());
        let how = if report.passed { How::Passed } else { How::Failed };
        let words = last_words(&String::from_utf8_lossy(&report.output));
        let message = if report.passed { None } else { words.or_else(|| Some("it said nothing".to_owned())) };
        End { how, message, out_of_memory, left_processes, vram: None }
    }

    pub(super) fn nextest_ended(&mut self, ended: &Ended) {
        /// `nextest` says with this code that tests failed.
        const TESTS_FAILED: i32 = 100;
        let Pull::Nextest { over, capture, .. } = &mut self.pull else { return };
        *over = true;
        let words = capture.lock().unwrap_or_else(PoisonError::into_inner).message().unwrap_or_default();
        let here = |running: &Running| matches!(running.place, Place::Gate(_)) && !running.is_over;
        let tests: Vec<usize> =
            self.running.iter().filter(|(_, running)| here(running)).map(|(test, _)| *test).collect();
        for test in tests {
            let Some(running) = self.running.remove(&test) else { continue };
            let message = format!("cargo nextest ended with {} while it ran", ended.how());
            let (how, message) = running.judged(How::Failed, Some(message), self.context);
            self.finish(test, End { how, message, out_of_memory: None, left_processes: 0, vram: None });
        }
        let code = ended.status.and_then(|status| status.code());
        if !ended.success() && code != Some(TESTS_FAILED) {
            self.stop(format!("cargo nextest ended with {}\n{words}", ended.how()));
        }
    }
}
