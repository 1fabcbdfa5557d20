//! What the two runners of Rust tests share.

use crate::config::{Group, Runner};
use crate::error::{Error, Result};
use crate::run::{Context, Halt};

/// What cargo prints about builds and packages is read up to here.
pub(super) const MOST_BYTES: u64 = 256 << 20;

/// That cargo, or a command of it, is there.
pub(super) fn check(context: &Context<'_>, arguments: &[&str], next_step: &str) -> Result<(), Halt> {
    let mut words = program(context);
    words.extend(arguments.iter().map(|word| (*word).to_owned()));
    let missing = |reason: String| Error::RunnerMissing {
        group: context.group.name.clone(),
        program: if context.group.runner == Runner::Nextest { "cargo nextest" } else { "cargo" }.to_owned(),
        reason,
        next_step: next_step.to_owned(),
    };
    match context.errand_output(&words, |_| {}, MOST_BYTES) {
        Ok((errand, _)) if errand.ended.success() => Ok(()),
        Ok((errand, _)) => Err(missing(errand.ended.how()).into()),
        Err(Halt::Broken(Error::RunnerMissing { reason, .. })) => Err(missing(reason).into()),
        Err(halt) => Err(halt),
    }
}

/// `cargo`, or what is set instead.
pub(super) fn program(context: &Context<'_>) -> Vec<String> {
    context.program(&["cargo"])
}

/// Which packages and test binaries.
pub(super) fn selection(group: &Group) -> Vec<String> {
    let mut words = Vec::new();
    if group.packages.is_empty() {
        words.push("--workspace".to_owned());
    }
    for (option, values) in [("-p", &group.packages), ("--test", &group.binaries)] {
        words.extend(values.iter().flat_map(|value| [option.to_owned(), value.clone()]));
    }
    words
}

/// A test binary as `nextest` names it: `package` for its library, `package::name` for an integration test, else
/// `package::kind/name`.
pub(super) fn binary_id(package: &str, kind: &str, name: &str) -> String {
    match kind {
        "lib" | "rlib" | "dylib" | "cdylib" | "staticlib" => package.to_owned(),
        "test" => format!("{package}::{name}"),
        kind => format!("{package}::{kind}/{name}"),
    }
}
