//! Any commands: each is a test, passed if it exits with 0.

use std::process::Command;

use super::Listed;
use crate::config::CommandTest;
use crate::run::Context;

/// The commands.
#[derive(Debug)]
pub(crate) struct Suite(Vec<CommandTest>);

pub(super) fn list(context: &Context<'_>) -> (Suite, Vec<Listed>) {
    let commands = context.group.commands.clone();
    let tests = commands.iter().map(|test| Listed { id: test.name.clone(), skipped: false }).collect();
    (Suite(commands), tests)
}

impl Suite {
    pub(super) fn one(&self, context: &Context<'_>, test: usize) -> Command {
        context.command(&self.0[test].run)
    }
}
