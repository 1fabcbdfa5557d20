//! What tests leave besides their results: what programs said of their memories, and processes that nobody waits for.

use std::time::Instant;

use super::dispatcher::Dispatcher;
use crate::process::{self, Members};
use crate::witness::{Happening, Statement};

impl Dispatcher<'_, '_> {
    pub(super) fn read_statements(&mut self) {
        self.statements_read = Instant::now();
        for statement in self.outside.witness.read() {
            self.take_down(&statement);
        }
    }

    fn take_down(&mut self, said: &Statement) {
        let at_ms = said.at_unix_ms.saturating_sub(self.outside.began_unix_ms);
        let marked = said.test.as_ref().and_then(|mark| {
            let number = mark.strip_prefix(&self.context.group.name)?.strip_prefix('/')?.parse().ok()?;
            (number < self.ledger.len()).then_some(number)
        });
        let test = marked
            .or_else(|| self.ledger.of_process(said.pid, at_ms))
            .or_else(|| self.outside.watch.with(|board| board.test_of(said.pid)).flatten())
            .or_else(|| self.ledger.only_at(at_ms));
        let Some(test) = test else {
            self.unattributed += 1;
            return;
        };
        match said.event {
            Happening::Consolidated | Happening::Rescued => self.ledger.consolidated(test, said.bytes),
            Happening::CpuFallback => {
                let what = said.memory.as_ref().map_or_else(String::new, |memory| format!(": {memory}"));
                self.ledger.fell_back(test, format!("it said that it went on with the processor{what}"));
            }
            Happening::Reactivated | Happening::Other => {}
        }
    }

    /// What tests left in processes that they shared is ended, and counted.
    pub(super) fn clean_up(&mut self) {
        self.read_statements();
        if self.unattributed > 0 {
            self.notes.push(format!("{} statements of programs belong to no test", self.unattributed));
        }
        let members = Members { run: Some(self.context.run.to_owned()), ..Members::default() };
        let prefix = format!("{}/", self.context.group.name);
        for process in members.alive() {
            let mark = process::variable(process.pid, process::TEST_VARIABLE);
            let test = mark.and_then(|mark| mark.strip_prefix(&prefix)?.parse().ok());
            match test.filter(|test| *test < self.ledger.len()) {
                Some(test) => self.ledger.left_behind(test, 1),
                None => self
                    .notes
                    .push("a process was left behind and ended; whose it was is not known".to_owned()),
            }
        }
        members.end();
    }
}
