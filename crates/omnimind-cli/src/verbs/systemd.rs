//! `systemd`: the units of the memory monitor and of the configured services: written, removed, shown. What they say is left to
//! `systemd-policy`.

use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde::Serialize;
use systemd_policy::act::{Hands, InEffect, Limit, SystemdHands};
use systemd_policy::units::{self, Change, Changed, MONITOR, Plan, Scope, UnitFile};
use systemd_policy::{Error, Roots};

use super::memory::{clear, expect_systemd, failure};
use crate::args::{SystemdVerb, Units};
use crate::failure::Failure;
use crate::output::{DIM, GOOD, Paint, WARN, count};
use crate::session::Session;

/// Where the monitor of the system cannot read: `ProtectHome=` and `PrivateTmp=` hide it.
const HIDDEN: [&str; 5] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];
/// How long the monitor may take to end: it takes back what it has set.
const ENDS_WITHIN: Duration = Duration::from_mins(2);

#[derive(Debug, Serialize)]
struct Answer<'a> {
    changes: &'a [Changed],
    /// What the files say, or would say.
    files: &'a [UnitFile],
}

pub(super) fn run(session: &Session, verb: &SystemdVerb) -> Result<(), Failure> {
    match verb {
        SystemdVerb::Install { units, now } => install(session, units, *now),
        SystemdVerb::Uninstall(units) => uninstall(session, units),
        SystemdVerb::Show(units) => show(session, units),
    }
}

fn install(session: &Session, args: &Units, now: bool) -> Result<(), Failure> {
    if args.root.is_none() {
        expect_here()?;
    }
    let plan = plan(session, args)?;
    if args.root.is_none() && !args.user {
        expect_readable(session, args)?;
    }
    let changes = units::install(&plan).map_err(failure)?;
    let is_any = changes.iter().any(|one| one.change != Change::Unchanged);
    if args.root.is_none() {
        let mut hands = hands(args.user);
        if is_any {
            hands.reload().map_err(failure)?;
        }
        if now {
            hands.restart(MONITOR).map_err(failure)?;
        }
    }
    session.output.result(&Answer { changes: &changes, files: &plan.files }, |out| {
        list(out, &changes)?;
        match (&args.root, now) {
            (Some(_), _) => Ok(()),
            (None, true) => writeln!(out, "the monitor is started"),
            (None, false) => {
                let user = if args.user { "--user " } else { "" };
                writeln!(out, "the monitor starts with the system; now: systemctl {user}restart {MONITOR}")
            }
        }
    })
}

fn uninstall(session: &Session, args: &Units) -> Result<(), Failure> {
    if args.root.is_none() {
        expect_here()?;
    }
    let plan = plan(session, args)?;
    if args.root.is_none() {
        stop(&mut hands(args.user))?;
        clear(args.user)?;
    }
    let changes = units::uninstall(&plan).map_err(failure)?;
    let removed: Vec<Changed> =
        changes.into_iter().filter(|changed| changed.change == Change::Removed).collect();
    if args.root.is_none() && !removed.is_empty() {
        hands(args.user).reload().map_err(failure)?;
    }
    session.output.result(&Answer { changes: &removed, files: &[] }, |out| match removed.as_slice() {
        [] => writeln!(out, "nothing was installed"),
        removed => list(out, removed),
    })
}

fn show(session: &Session, args: &Units) -> Result<(), Failure> {
    let plan = plan(session, args)?;
    let changes = units::show(&plan).map_err(failure)?;
    session.output.result(&Answer { changes: &changes, files: &plan.files }, |out| {
        for file in &plan.files {
            writeln!(out, "{}", plan.directory.join(&file.path).display().paint(DIM))?;
            writeln!(out, "{}", file.text)?;
        }
        writeln!(out, "`omnimind systemd install` would leave:")?;
        list(out, &changes)
    })
}

/// Stops the monitor, and waits until it has taken back what it has set.
fn stop(hands: &mut SystemdHands) -> Result<(), Failure> {
    match hands.stop(MONITOR) {
        Ok(()) => {}
        Err(Error::Gone { .. }) => return Ok(()),
        Err(error) => return Err(failure(error)),
    }
    let pause = Duration::from_millis(100);
    let mut waited = Duration::ZERO;
    // A unit without a cgroup does not run.
    while !matches!(
        hands.in_effect(MONITOR, Limit::MemoryMax),
        Ok(InEffect::WhenItStarts) | Err(Error::Gone { .. })
    ) {
        if waited >= ENDS_WITHIN {
            return Err(Failure::Partial(format!(
                "{MONITOR} does not end; nothing was removed; see `systemctl status {MONITOR}`"
            )));
        }
        thread::sleep(pause);
        waited += pause;
    }
    Ok(())
}

fn plan(session: &Session, args: &Units) -> Result<Plan, Failure> {
    let scope = if args.user { Scope::User } else { Scope::System };
    let root = args.root.as_deref().unwrap_or(Path::new("/"));
    let directory = units::directory(scope, root).map_err(failure)?;
    let mut command = vec![text(&program(args)?)?, "memory".to_owned(), "daemon".to_owned()];
    if args.user {
        command.push("--user".to_owned());
    }
    if let Some(file) = &session.settings.file {
        command.extend(["--config".to_owned(), text(&absolute(file)?)?]);
    }
    units::plan(&session.config().memory, scope, directory, &command).map_err(failure)
}

fn program(args: &Units) -> Result<PathBuf, Failure> {
    match &args.program {
        Some(path) => absolute(path),
        None => env::current_exe().map_err(|source| Failure::Io {
            what: "the path of this program".to_owned(),
            source,
            next: "name it with --program",
        }),
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|source| Failure::Io {
        what: format!("{path:?}"),
        source,
        next: "give an absolute path",
    })
}

fn text(path: &Path) -> Result<String, Failure> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Failure::Usage(format!("{path:?} is not UTF-8, and units are text; choose another name"))
    })
}

fn expect_here() -> Result<(), Failure> {
    expect_systemd().map_err(|_| {
        Failure::Refused(
            "systemd does not run here; --root DIR writes the units for another system, `omnimind systemd show` prints them"
                .to_owned(),
        )
    })
}

/// What the monitor of the system runs and reads must not lie where it sees nothing.
fn expect_readable(session: &Session, args: &Units) -> Result<(), Failure> {
    let program = program(args)?;
    let file = session.settings.file.as_deref().map(absolute).transpose()?;
    for (path, next) in [(Some(program), "--program"), (file, "--config /etc/omnimind/omnimind.toml")] {
        if let Some(path) = path.filter(|path| HIDDEN.iter().any(|hidden| path.starts_with(hidden))) {
            return Err(Failure::Usage(format!(
                "{path:?} is in a directory that the monitor of the system does not see; move it, and name it with {next}"
            )));
        }
    }
    Ok(())
}

fn hands(user: bool) -> SystemdHands {
    if user { SystemdHands::user(Roots::default()) } else { SystemdHands::system(Roots::default()) }
}

fn list(out: &mut dyn Write, changes: &[Changed]) -> io::Result<()> {
    for Changed { path, change } in changes {
        let (word, style) = match change {
            Change::Created => ("created", GOOD),
            Change::Updated => ("updated", WARN),
            Change::Unchanged => ("unchanged", DIM),
            Change::Removed => ("removed", WARN),
        };
        writeln!(out, "{}  {}", format!("{word:<9}").paint(style), path.display())?;
    }
    writeln!(out, "{}", count(changes.len() as u64, "file").paint(DIM))
}
