//! What can be typed: verbs, options and their help. Nothing here does anything.
#![allow(clippy::doc_markdown)] // Doc comments are the help here, and terminals know no backticks.

#[cfg(target_os = "linux")]
mod memory;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use omnimind_memory::{Layer, Policy, ProcessContext, TaskKind};

#[cfg(target_os = "linux")]
pub(crate) use memory::{
    Alert, Apply, Budget, Daemon, Forecast, MemoryVerb, Release, SystemdVerb, Units, Whose,
};

/// Consolidates GPU memory instead of deleting it: stores tensors durably within an error bound, finds them again by
/// resemblance, and brings them back.
#[derive(Debug, Parser)]
#[command(name = "omnimind", version, max_term_width = 100, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 refused, 5 damaged data found."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Options of every verb.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every verb")]
pub(crate) struct Global {
    /// The store [env: OMNIMIND_STORE] [default: $XDG_DATA_HOME/omnimind]
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) store: Option<PathBuf>,
    /// The configuration [env: OMNIMIND_CONFIG] [default: $XDG_CONFIG_HOME/omnimind/omnimind.toml]
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say nothing but results and errors
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more: every tensor, every reason
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// The whole idea in one minute, on real weights; leaves nothing behind
    Demo(Demo),
    /// Store files of tensors durably, one memory per file
    Consolidate(Consolidate),
    /// The memories of the store
    List(List),
    /// Everything about one memory
    Show(Named),
    /// What a vector reminds of
    DejaVu(DejaVu),
    /// Whether a vector resembles what crashed, without anybody reading what crashed
    #[cfg(feature = "homomorphic")]
    Influence(Influence),
    /// Bring a memory back as a file
    Reactivate(Reactivate),
    /// Remove a memory; `gc` then frees its space
    Forget(Named),
    /// Read everything in the store and report what is damaged
    Verify(Verify),
    /// Free the space that no memory uses
    Gc,
    /// The index that deja-vu searches
    Index {
        #[command(subcommand)]
        verb: IndexVerb,
    },
    /// What was consolidated, and what it saved
    Stats,
    /// What the GPU has, and who holds it; with --watch live
    Gpu(Gpu),
    /// Where a piece of work should run, and why
    Place(Place),
    /// Which tests of a log ran out of GPU memory, where, why, and what to do about it
    OomReport(OomReport),
    /// Run groups of tests, and watch what each holds of the GPU
    #[cfg(unix)]
    TestGroups(TestGroups),
    /// RAM and swap of services: what is so, what should be done, and doing it
    #[cfg(target_os = "linux")]
    Memory {
        #[command(subcommand)]
        verb: MemoryVerb,
    },
    /// The units that keep memory as it is configured: written, removed, shown
    #[cfg(target_os = "linux")]
    Systemd {
        #[command(subcommand)]
        verb: SystemdVerb,
    },
    /// The settings in effect, and where each came from
    Config,
    /// Completions for a shell, to be sourced by it
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// The one who may open what is sealed
    Keyholder {
        #[command(subcommand)]
        verb: KeyholderVerb,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Keep the store, the key and the file that was brought back
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) keep: Option<PathBuf>,
    /// Where minilm-slice.safetensors and sentence-embeddings.npy are
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) data: Option<PathBuf>,
    /// Use the simulated GPU even where there is a real one
    #[arg(long)]
    pub(crate) simulated: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Consolidate {
    /// .safetensors, .npy or .npz
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,
    /// On whose behalf: this context may recall the memories
    #[arg(long)]
    pub(crate) context: ProcessContext,
    /// What it is, for example model or activation
    #[arg(long = "type", value_name = "TYPE", default_value = "model")]
    pub(crate) kind: String,
    /// How much may be lost: rel=6e-3, abs=1e-3, ratio=0.3 or exact [default: compression.bound]
    #[arg(long)]
    pub(crate) bound: Option<Policy>,
    /// The error that it was born of, for example oom, crash or structural_failure
    #[arg(long, value_name = "NAME")]
    pub(crate) error_type: Option<String>,
    /// How severe that was: low, medium, high or critical
    #[arg(long, value_name = "LEVEL")]
    pub(crate) severity: Option<String>,
    /// What it hit: low, medium, high or system-wide
    #[arg(long, value_name = "LEVEL")]
    pub(crate) impact: Option<String>,
    /// The message of the error; what it was is recognised from it
    #[arg(long, value_name = "TEXT")]
    pub(crate) error_text: Option<String>,
    /// An embedding to find it by: float .npy of shape [d], or [n, d] with one row for each of n files
    #[arg(long, value_name = "FILE.npy", value_hint = ValueHint::FilePath)]
    pub(crate) signature: Option<PathBuf>,
    /// Which row of the signature file, from 0
    #[arg(long, value_name = "N", requires = "signature")]
    pub(crate) row: Option<usize>,
    /// Anything else worth knowing; may be given often
    #[arg(long = "meta", value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub(crate) metadata: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only this layer: preconscious or unconscious
    #[arg(long)]
    pub(crate) layer: Option<Layer>,
    /// Only this type
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: Option<String>,
    /// Only what this context may recall
    #[arg(long)]
    pub(crate) context: Option<ProcessContext>,
    /// Only what is younger: 2h, 3days, or a date such as 2026-11-21
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) since: Option<SystemTime>,
    /// Only what is older
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) until: Option<SystemTime>,
    /// Only what has at least this trauma score, from 0 to 1
    #[arg(long, value_name = "SCORE")]
    pub(crate) min_trauma: Option<f64>,
    /// At most so many, the youngest
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The content hash, or a beginning of it that fits no other
    pub(crate) hash: String,
}

#[derive(Debug, Args)]
pub(crate) struct DejaVu {
    /// Who asks
    #[arg(long)]
    pub(crate) context: ProcessContext,
    /// What to compare with: float .npy of shape [d] or [n, d]
    #[arg(long, value_name = "FILE.npy", value_hint = ValueHint::FilePath)]
    pub(crate) vector: PathBuf,
    /// Which row, from 0; needed if there are several
    #[arg(long, value_name = "N")]
    pub(crate) row: Option<usize>,
    /// How many answers
    #[arg(short, value_name = "K", default_value_t = 5)]
    pub(crate) k: usize,
    /// Only what this context has in its trace
    #[arg(long, value_name = "CONTEXT")]
    pub(crate) traced_by: Option<ProcessContext>,
    /// Only this layer: preconscious or unconscious
    #[arg(long)]
    pub(crate) layer: Option<Layer>,
    /// Only this type
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: Option<String>,
}

#[cfg(feature = "homomorphic")]
#[derive(Debug, Args)]
pub(crate) struct Influence {
    /// What to compare with: float .npy of shape [d] or [n, d]
    #[arg(long, value_name = "FILE.npy", value_hint = ValueHint::FilePath)]
    pub(crate) vector: PathBuf,
    /// Which row, from 0; needed if there are several
    #[arg(long, value_name = "N")]
    pub(crate) row: Option<usize>,
    /// Only the sum over all sealed memories, as one number
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Reactivate {
    #[command(flatten)]
    pub(crate) memory: Named,
    /// Who recalls it
    #[arg(long)]
    pub(crate) context: ProcessContext,
    /// Where to: .safetensors, or .npy for a single tensor
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Gpu {
    /// Look again and again: a live view on a terminal, with --json one line of JSON each time
    #[arg(long)]
    pub(crate) watch: bool,
    /// Time between two looks, 0.01 to 3600 [default: 1]
    #[arg(long, value_name = "SECONDS", requires = "watch", allow_negative_numbers = true, value_parser = interval)]
    pub(crate) interval: Option<Duration>,
    /// With --json: end after so many looks
    #[arg(long, value_name = "N", requires = "watch", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Look at two simulated cards on which others come and go, even where there is a real one
    #[arg(long)]
    pub(crate) simulated: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Place {
    /// What kind of work: math, quantum, tensor, embedding, or any other word for what gains nothing from a card
    #[arg(long, value_name = "KIND", value_parser = task_kind)]
    pub(crate) task: TaskKind,
    /// How much it will want of a card, in megabytes of 1,000,000 bytes
    #[arg(long, value_name = "MB", allow_negative_numbers = true, value_parser = size_mb)]
    pub(crate) size_mb: f64,
    /// Judge one card of which so much is in use, whether there is a GPU or not
    #[arg(long, value_name = "PERCENT", allow_negative_numbers = true, value_parser = percent)]
    pub(crate) vram_percent: Option<f64>,
    /// Watch the cards for so long before, 1 to 600, and judge them by how full they will be
    #[arg(long, value_name = "SECONDS", conflicts_with = "vram_percent", allow_negative_numbers = true, value_parser = watch_time)]
    pub(crate) watch_seconds: Option<Duration>,
    /// Judge two simulated cards on which others come and go, even where there is a real one
    #[arg(long, conflicts_with = "vram_percent")]
    pub(crate) simulated: bool,
    /// An embedding of the work: whether it resembles what crashed; float .npy of shape [d] or [n, d]
    #[cfg(feature = "homomorphic")]
    #[arg(long, value_name = "FILE.npy", value_hint = ValueHint::FilePath)]
    pub(crate) vector: Option<PathBuf>,
    /// Which row, from 0; needed if there are several
    #[cfg(feature = "homomorphic")]
    #[arg(long, value_name = "N", requires = "vector")]
    pub(crate) row: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct OomReport {
    /// Logs of one run: plain, .gz or .zst; - is stdin
    #[arg(required_unless_present_any = ["compare", "schema"], value_name = "LOG", value_hint = ValueHint::FilePath)]
    pub(crate) logs: Vec<PathBuf>,
    /// Compare two runs, each a log or a report saved with --json, and say whether the targets are met
    #[arg(long, num_args = 2, value_names = ["BEFORE", "AFTER"], conflicts_with = "logs", value_hint = ValueHint::FilePath)]
    pub(crate) compare: Vec<PathBuf>,
    /// Fail, with exit code 1, if a target is missed
    #[arg(long, requires = "compare")]
    pub(crate) gate: bool,
    /// Target: fewer out-of-memory errors than this [default: oom_report.targets.ooms_below, 20]
    #[arg(long, value_name = "N", requires = "compare")]
    pub(crate) ooms_below: Option<u64>,
    /// Target: fewer tests that end in an error than this [default: oom_report.targets.errors_below, 50]
    #[arg(long, value_name = "N", requires = "compare")]
    pub(crate) errors_below: Option<u64>,
    /// Target: more tests that pass than this [default: oom_report.targets.success_above, 98 %]
    #[arg(long, value_name = "PERCENT", requires = "compare", allow_negative_numbers = true, value_parser = percent)]
    pub(crate) success_above: Option<f64>,
    /// Known errors to look for, instead of those that come along [default: oom_report.patterns]
    #[arg(long, value_name = "FILE.toml", value_hint = ValueHint::FilePath)]
    pub(crate) patterns: Option<PathBuf>,
    /// Write the report as JUnit XML, too; of two runs, that of the second
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) junit: Option<PathBuf>,
    /// Write the report as a page for people, too: one HTML file that fetches nothing; of two runs, that of the second
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) html: Option<PathBuf>,
    /// Only print the JSON schema of what --json says of logs
    #[arg(long, conflicts_with_all = ["logs", "compare", "html", "junit"])]
    pub(crate) schema: bool,
}

/// What a JSON schema is of.
#[cfg(unix)]
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum SchemaOf {
    Report,
    Config,
}

#[cfg(unix)]
#[derive(Debug, Args)]
pub(crate) struct TestGroups {
    /// Which groups, by their names [default: all]
    #[arg(value_name = "GROUP")]
    pub(crate) groups: Vec<String>,
    /// Where the groups are
    #[arg(long, value_name = "FILE", default_value = "test-groups.toml", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Only say which groups there are
    #[arg(long)]
    pub(crate) list: bool,
    /// Only print the JSON schema of what --json says, or of the file
    #[arg(long, value_name = "OF", num_args = 0..=1, require_equals = true, default_missing_value = "report")]
    pub(crate) schema: Option<SchemaOf>,
    /// Run all tests of each group, whatever fails
    #[arg(long)]
    pub(crate) keep_going: bool,
    /// Give the tests a simulated card that they share, and watch that, even where there is a real one
    #[arg(long)]
    pub(crate) simulated: bool,
    /// Write the report as a page for people, too: one HTML file that fetches nothing
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) html: Option<PathBuf>,
    /// Write the report as JUnit XML, too
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) junit: Option<PathBuf>,
    /// Where logs go, and what tests needed in earlier runs [default: target/test-groups beside the file]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) output_dir: Option<PathBuf>,
    /// For test runners: waits at this socket until there is room, and becomes the test
    #[arg(long, value_name = "SOCKET", hide = true)]
    pub(crate) gate: Option<PathBuf>,
    /// The test that the gate becomes
    #[arg(last = true, hide = true, requires = "gate")]
    pub(crate) command: Vec<std::ffi::OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Move damaged objects aside, and say which memories they belonged to
    #[arg(long)]
    pub(crate) repair: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IndexVerb {
    /// How much it holds, and how it is searched
    Stats,
    /// Merge what is new, and return the space of what was forgotten
    Compact,
    /// Compare it with its check sums, and with what the store holds
    Verify {
        /// Build it anew from the store if anything is wrong
        #[arg(long)]
        repair: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyholderVerb {
    /// Make an identity. Its public key seals; only the identity itself opens
    Init {
        /// Where the secret goes; the public key goes beside it, ending in .pub [default: keyholder.key beside
        /// omnimind.toml]
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        identity: Option<PathBuf>,
        /// Protect the identity with a passphrase, which is asked for
        #[arg(long)]
        passphrase: bool,
        /// Read the passphrase from the first line of a file instead
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        passphrase_file: Option<PathBuf>,
    },
    /// Answer questions about what is sealed, coarsely and within budgets, until it is stopped
    #[cfg(all(unix, feature = "homomorphic"))]
    Serve {
        #[command(flatten)]
        key: Key,
        /// Where to be asked [default: unconscious.socket]
        #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
        socket: Option<PathBuf>,
        /// Who else may ask, as a number (uid); may be given often
        #[arg(long, value_name = "UID")]
        allow: Vec<u32>,
    },
    /// What the keyholder that serves holds, and how much was asked of it
    #[cfg(all(unix, feature = "homomorphic"))]
    Status {
        /// Where it is asked [default: unconscious.socket]
        #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
        socket: Option<PathBuf>,
    },
    /// Check the chain of the audit log: that no record was changed, taken out or put in
    #[cfg(all(unix, feature = "homomorphic"))]
    Audit {
        #[command(flatten)]
        key: Key,
    },
    /// Open a sealed memory and write it to a file. It is put down in the audit log first
    #[cfg(all(unix, feature = "homomorphic"))]
    Disclose {
        #[command(flatten)]
        memory: Named,
        #[command(flatten)]
        key: Key,
        /// Where to: .safetensors, or .npy for a single tensor
        #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
        output: PathBuf,
        /// Replace the file if it exists
        #[arg(long)]
        force: bool,
    },
    /// Exchange the key, and seal to the new one all that the store holds. Interrupted, run it again
    #[cfg(all(unix, feature = "homomorphic"))]
    Rotate {
        #[command(flatten)]
        key: Key,
        /// Only seal to the current key what is still sealed to retired ones; make no new key
        #[arg(long)]
        resume: bool,
        /// Afterwards, if nothing is left that needs them, destroy the retired keys. First restart what still seals to them
        #[arg(long)]
        destroy_retired: bool,
    },
}

/// The identity of the keyholder.
#[cfg(all(unix, feature = "homomorphic"))]
#[derive(Debug, Args)]
pub(crate) struct Key {
    /// The secret [default: keyholder.identity]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) identity: Option<PathBuf>,
    /// The file whose first line is its passphrase, if it has one; asked for otherwise
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Where budgets and the audit log are kept [default: keyholder.state]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) state: Option<PathBuf>,
}

/// Any word is a kind of work, but a typing error must not send work to the CPU.
fn task_kind(text: &str) -> Result<TaskKind, String> {
    let kind: TaskKind = text.parse().unwrap_or_else(|never: std::convert::Infallible| match never {});
    let word = text.trim().to_lowercase();
    if word.is_empty() {
        return Err("write math, quantum, tensor, embedding, or a word for other work".to_owned());
    }
    let gains = ["math", "quantum", "tensor", "embedding"];
    let near = gains.iter().find(|known| strsim::damerau_levenshtein(&word, known) == 1);
    match (near, kind) {
        (Some(known), TaskKind::Other(_)) => Err(format!(
            "is {known:?} meant? Other work, which gains nothing from a card, needs another word"
        )),
        (_, kind) => Ok(kind),
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    seconds(text, 0.01, 3600.0)
}

fn watch_time(text: &str) -> Result<Duration, String> {
    seconds(text, 1.0, 600.0)
}

fn seconds(text: &str, least: f64, most: f64) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (least..=most).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| format!("write a number of seconds, {least} to {most}"))
}

fn size_mb(text: &str) -> Result<f64, String> {
    let size = text.parse().ok().filter(|size| (0.0..=1e9).contains(size));
    size.ok_or_else(|| "write a number of megabytes, 0 to 1000000000".to_owned())
}

fn percent(text: &str) -> Result<f64, String> {
    let percent = text.trim_end_matches('%').parse().ok().filter(|percent| (0.0..=100.0).contains(percent));
    percent.ok_or_else(|| "write a number from 0 to 100".to_owned())
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

/// A point in time, or how long ago one was.
fn moment(text: &str) -> Result<SystemTime, String> {
    let dated = if text.len() == "2026-11-21".len() { format!("{text}T00:00:00Z") } else { text.to_owned() };
    let moment = match humantime::parse_duration(text) {
        Ok(ago) => SystemTime::now().checked_sub(ago),
        Err(_) => humantime::parse_rfc3339_weak(&dated).ok(),
    };
    moment
        .filter(|moment| *moment >= SystemTime::UNIX_EPOCH)
        .ok_or_else(|| "write how long ago (2h, 3days) or when (2026-11-21, 2026-11-21T08:00:00)".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_moment_is_a_date_or_how_long_ago() {
        let second = Duration::from_secs(1);
        let an_hour_ago = SystemTime::now() - 3600 * second;
        assert!(moment("1h").unwrap().duration_since(an_hour_ago).unwrap() < 60 * second);
        assert_eq!(moment("2026-11-21").unwrap(), moment("2026-11-21T00:00:00Z").unwrap());
        for bad in ["", "yesterday", "2026-13-01", "99999999999years", "1900-01-01"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }
}
