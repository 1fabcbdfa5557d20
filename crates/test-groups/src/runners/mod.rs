//! The runners: which tests there are, how one is started, and how those that start their tests themselves are spoken with.
//!
//! `command` and `cargo-test` start a process per test. `nextest` starts tests itself; each asks at the gate. `pytest` runs
//! tests in workers that ask for each, or, isolated, one per process.

pub(crate) mod cargo;
mod cargo_test;
mod command;
pub(crate) mod nextest;
pub(crate) mod pytest;

use std::process::Command;

use crate::config::Runner;
use crate::error::Result;
use crate::run::{Context, Halt};

/// A test that the runner told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) id: String,
    /// Its runner does not run it.
    pub(crate) skipped: bool,
}

/// The tests of a group, and how one of them is started.
#[derive(Debug)]
pub(crate) enum Suite {
    Command(command::Suite),
    CargoTest(cargo_test::Suite),
    Nextest(nextest::Suite),
    Pytest(pytest::Suite),
}

impl Suite {
    /// Finds out which tests there are; builds them if need be.
    pub(crate) fn list(context: &Context<'_>) -> Result<(Self, Vec<Listed>), Halt> {
        Ok(match context.group.runner {
            Runner::Command => {
                let (suite, tests) = command::list(context);
                (Self::Command(suite), tests)
            }
            Runner::CargoTest => {
                let (suite, tests) = cargo_test::list(context)?;
                (Self::CargoTest(suite), tests)
            }
            Runner::Nextest => {
                let (suite, tests) = nextest::list(context)?;
                (Self::Nextest(suite), tests)
            }
            Runner::Pytest => {
                let (suite, tests) = pytest::list(context)?;
                (Self::Pytest(suite), tests)
            }
        })
    }

    /// The command that runs one test, by its number in the list, in a process of its own.
    pub(crate) fn one(&self, context: &Context<'_>, test: usize) -> Command {
        match self {
            Self::Command(suite) => suite.one(context, test),
            Self::CargoTest(suite) => suite.one(context, test),
            Self::Nextest(suite) => suite.one(context, test),
            Self::Pytest(suite) => suite.one(context, test),
        }
    }
}

/// Makes sure that the program of a group is there, before any group runs.
pub(crate) fn check(context: &Context<'_>) -> Result<(), Halt> {
    match context.group.runner {
        // One of several commands that is missing is a test that fails.
        Runner::Command => Ok(()),
        Runner::CargoTest => cargo::check(context, &["--version"], "install Rust from https://rustup.rs"),
        Runner::Nextest => cargo::check(
            context,
            &["nextest", "--version"],
            "`cargo install --locked cargo-nextest`, or take the runner `cargo-test`",
        ),
        Runner::Pytest => pytest::check(context),
    }
}
