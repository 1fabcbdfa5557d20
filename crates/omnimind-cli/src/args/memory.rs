//! The verbs about RAM and swap of services, and about the units of systemd that keep them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueHint};

#[derive(Debug, Subcommand)]
pub(crate) enum MemoryVerb {
    /// RAM, swap, the configured services, and what should be done; changes nothing
    Report(Recorded),
    /// Do what should be done, check that it took effect, and undo what belongs to what failed
    Apply(Apply),
    /// Which processes hold swap, how much, since when, and of which unit
    Swap(Recorded),
    /// What memory may be used, against what is
    Budget(Budget),
    /// Watch for a while, and say when RAM, swap or the card's memory will be exhausted
    Forecast(Forecast),
    /// Look and do what should be done again and again, until it is stopped
    Daemon(Daemon),
    /// Ask a process that listens for it to release memory
    Release(Release),
    /// Send a trial alert every way that is configured, and say which way it could not go
    Alert(Alert),
}

/// Which machine is looked at.
#[derive(Debug, Args)]
pub(crate) struct Recorded {
    /// Look at a machine that was recorded below this directory (proc, sys) instead of at this one
    #[arg(long, value_name = "DIR", hide = true, value_hint = ValueHint::DirPath)]
    pub(crate) recorded: Option<PathBuf>,
}

/// Whose services, and where is written down what was done to them.
#[derive(Debug, Args)]
pub(crate) struct Whose {
    /// Your own services instead of those of the system
    #[arg(long)]
    pub(crate) user: bool,
    /// Where is written down what was set, so that it can be taken back [default: /run/omnimind/measures.json, with --user
    /// $XDG_RUNTIME_DIR/omnimind/measures.json]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) state: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// Only show what would be done
    #[arg(long, conflicts_with = "undo")]
    pub(crate) dry_run: bool,
    /// Take back all that stands
    #[arg(long)]
    pub(crate) undo: bool,
    #[command(flatten)]
    pub(crate) whose: Whose,
    /// Look at a machine that was recorded below this directory (proc, sys); nothing can be done to it
    #[arg(long, value_name = "DIR", hide = true, requires = "dry_run", value_hint = ValueHint::DirPath)]
    pub(crate) recorded: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Budget {
    /// A file of targets, such as omnimind_parameters.json [default: memory.budget, or else omnimind_parameters.json here]
    #[arg(long, value_name = "FILE.json", value_hint = ValueHint::FilePath)]
    pub(crate) parameters: Option<PathBuf>,
    /// Fail, with exit code 1, if a target is missed
    #[arg(long)]
    pub(crate) gate: bool,
    #[command(flatten)]
    pub(crate) machine: Recorded,
}

#[derive(Debug, Args)]
pub(crate) struct Forecast {
    /// How long to watch, 2s to 1day
    #[arg(long = "for", value_name = "TIME", default_value = "10s", value_parser = watch_time)]
    pub(crate) time: Duration,
    /// Time between two looks, 100ms to 1h; at least five looks are needed
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = pause)]
    pub(crate) every: Duration,
    #[command(flatten)]
    pub(crate) machine: Recorded,
}

#[derive(Debug, Args)]
pub(crate) struct Daemon {
    /// Time between two looks [default: memory.interval_s, 30]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) interval: Option<u64>,
    #[command(flatten)]
    pub(crate) whose: Whose,
}

#[derive(Debug, Args)]
pub(crate) struct Release {
    /// Where it listens, as release_socket of a service in [memory.services]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub(crate) socket: PathBuf,
    /// How much, in MiB
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    pub(crate) mib: u64,
    /// Of the card's memory instead of RAM
    #[arg(long)]
    pub(crate) vram: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Alert {
    /// What it says
    #[arg(long, default_value = "a trial: alerts of the memory monitor arrive here")]
    pub(crate) text: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SystemdVerb {
    /// Write the drop-ins of the configured services and the unit of the memory monitor
    Install {
        #[command(flatten)]
        units: Units,
        /// Start the monitor at once, too
        #[arg(long, conflicts_with = "root")]
        now: bool,
    },
    /// Stop the monitor and remove everything that was installed
    Uninstall(Units),
    /// What the files would say, and which would change
    Show(Units),
}

/// Where units are installed, and for whom.
#[derive(Debug, Args)]
pub(crate) struct Units {
    /// For your own services instead of those of the system
    #[arg(long)]
    pub(crate) user: bool,
    /// Write below this directory for another system, and tell no systemd
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) root: Option<PathBuf>,
    /// The program that the monitor runs [default: this one]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) program: Option<PathBuf>,
}

fn watch_time(text: &str) -> Result<Duration, String> {
    duration(text, Duration::from_secs(2), Duration::from_hours(24), "2s to 1day")
}

fn pause(text: &str) -> Result<Duration, String> {
    duration(text, Duration::from_millis(100), Duration::from_hours(1), "100ms to 1h")
}

fn duration(text: &str, least: Duration, most: Duration, range: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).ok().filter(|time| (least..=most).contains(time));
    time.ok_or_else(|| format!("write a time, {range}"))
}
