//! Drop-ins of the configured services and the unit of the monitor: their text, installing and removing them.
//!
//! Every file begins with [`HEADER`]. A file without it is never overwritten and never removed. All files are written, or none.

mod install;
mod text;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::{Config, is_unit_name};
use crate::error::{Error, Result};

pub use install::{Change, Changed, install, show, uninstall};

/// The first line of every file that is installed.
pub const HEADER: &str =
    "# Installed by `omnimind systemd install`; `omnimind systemd uninstall` removes it. Edits are lost.";

/// The unit of the monitor.
pub const MONITOR: &str = "omnimind-memory-monitor.service";

/// The name of each drop-in.
pub const DROP_IN: &str = "50-omnimind-memory.conf";

/// Whose services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Those of the system.
    System,
    /// Those of the user who calls (`--user`).
    User,
}

/// What is to be installed, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The directory of units: `/etc/systemd/system`, or `~/.config/systemd/user`, or one below a test's root.
    pub directory: PathBuf,
    /// The files, with paths relative to the directory.
    pub files: Vec<UnitFile>,
    /// The link that starts the monitor with the system, and where it points, both relative.
    pub link: (PathBuf, PathBuf),
}

/// A file to install.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnitFile {
    /// Its path, relative to the directory of units.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

/// Where units of this scope are installed, below a root (`/` for the real system).
///
/// # Errors
///
/// [`Error::Refused`] for a user without `XDG_CONFIG_HOME` and `HOME`.
pub fn directory(scope: Scope, root: &Path) -> Result<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    match scope {
        Scope::System => Ok(root.join("etc/systemd/system")),
        Scope::User => {
            let config =
                variable("XDG_CONFIG_HOME").or_else(|| variable("HOME").map(|home| home.join(".config")));
            let next = "set HOME, or XDG_CONFIG_HOME, to an absolute path";
            let config = config
                .ok_or_else(|| Error::refused("the user's units", "there is no home directory", next))?;
            let below_root: PathBuf = config.components().skip(1).collect();
            Ok(root.join(below_root).join("systemd/user"))
        }
    }
}

/// What is to be installed for this configuration.
///
/// `command` starts the monitor: the absolute path of the program, and its arguments (`memory daemon`).
///
/// # Errors
///
/// [`Error::Config`] for a name that is none of a unit, and [`Error::Refused`] for a command that is not absolute or cannot be
/// written in a unit.
pub fn plan(config: &Config, scope: Scope, directory: PathBuf, command: &[String]) -> Result<Plan> {
    let mut files = Vec::new();
    for (unit, policy) in &config.services {
        if !is_unit_name(unit) || unit == MONITOR {
            let reason = "is not the name of a service, scope or slice that can be managed".to_owned();
            return Err(Error::Config { key: format!("memory.services.{unit:?}"), reason });
        }
        // Nothing to say of a service is no file.
        if let Some(text) = text::drop_in(unit, policy, scope) {
            files.push(UnitFile { path: PathBuf::from(format!("{unit}.d")).join(DROP_IN), text });
        }
    }
    files.push(UnitFile { path: MONITOR.into(), text: text::monitor(config, scope, command)? });
    let target = match scope {
        Scope::System => "multi-user.target.wants",
        Scope::User => "default.target.wants",
    };
    let link = (PathBuf::from(target).join(MONITOR), Path::new("..").join(MONITOR));
    Ok(Plan { directory, files, link })
}

#[cfg(test)]
mod tests;
