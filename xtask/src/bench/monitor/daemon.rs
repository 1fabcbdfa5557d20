//! The daemon as users have it, `omnimind memory daemon`, while it looks every second at a service of many processes: the time of a
//! processor and the memory that it takes.
//!
//! It runs in a mount namespace of its own, in which `/run` is empty but for the directory that says that systemd runs, and
//! `/sys/fs/cgroup` is the tree of the processes that the benchmark started. So it sees what it would see on a machine with that
//! service, and can neither see nor change anything that really runs here. It writes a line for each round, by which rounds are
//! counted; the daemon that systemd starts does not, and has less to do.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::MIB;
use crate::bench::report::{Goal, Row};

/// Until it has found its services, and what it keeps is warm.
const WARM_UP: Duration = Duration::from_secs(5);
/// Less than a process that sleeps takes.
const LEAST_RSS_BYTES: u64 = 64 << 10;
const SERVICE: &str = "omnimind.service";
/// Makes the namespace out of `$1`, the tree, and becomes the rest.
const SURROUNDINGS: &str = "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && \
                            mount --bind \"$1\" /sys/fs/cgroup && shift && exec \"$@\"";

/// `folder` is where the tree of cgroups is.
pub(super) fn rows(omnimind: &Path, folder: &Path, processes: usize, watched: Duration) -> Result<[Row; 3]> {
    let mut daemon = Daemon::start(omnimind, folder, processes)?;
    thread::sleep(WARM_UP);
    let (began, before_s, rounds) = (Instant::now(), daemon.cpu_s()?, daemon.rounds());
    thread::sleep(watched);
    let (took_s, cpu_s, rounds) =
        (began.elapsed().as_secs_f64(), daemon.cpu_s()? - before_s, daemon.rounds() - rounds);
    daemon.expect_alive()?;
    ensure!(rounds as f64 > took_s * 0.9 - 1.0, "the daemon looked {rounds} times in {took_s:.0} s");
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.child.id()))?;
    let mib = |name: &str| field(&status, name).map_or(f64::NAN, |bytes| bytes as f64 / MIB);
    Ok([
        Row::ours(
            format!("one core, daemon that looks at {processes} processes every second"),
            "%",
            cpu_s / took_s * 1e2,
        )
        .goal(Goal::AtMost(0.5)),
        Row::ours("memory of that daemon, with the pages of its program", "MiB", mib("VmRSS"))
            .goal(Goal::AtMost(12.0)),
        Row::ours("the same without them", "MiB", mib("RssAnon")),
    ])
}

/// A daemon that runs; it is ended when this is dropped.
struct Daemon {
    child: Child,
    rounds: Arc<AtomicU64>,
}

impl Daemon {
    fn start(omnimind: &Path, folder: &Path, processes: usize) -> Result<Self> {
        let mut command = Command::new("unshare");
        command
            .args(["--map-root-user", "--mount", "sh", "-c", SURROUNDINGS, "sh"])
            .arg(folder.join("cgroup"));
        command.arg(omnimind).args(["--json", "memory", "daemon", "--interval", "1", "--state"]);
        command.arg(folder.join("measures.json"));
        // Nobody's own settings.
        command.env("XDG_CONFIG_HOME", folder).env_remove("OMNIMIND_CONFIG").env_remove("NOTIFY_SOCKET");
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.context("starting unshare, of util-linux")?;
        let lines = child.stdout.take().context("no stdout")?;
        let rounds = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&rounds);
        thread::spawn(move || count(lines, processes as u64 * LEAST_RSS_BYTES, &counted));
        Ok(Self { child, rounds })
    }

    /// Rounds so far that saw the service with all its memory.
    fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    fn expect_alive(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the daemon ended with {status}; its message is above");
        }
        Ok(())
    }

    /// Time of a processor so far, of all its threads, in seconds. The kernel counts it in nanoseconds.
    fn cpu_s(&mut self) -> Result<f64> {
        self.expect_alive()?;
        let mut nanoseconds = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            nanoseconds += text.split_whitespace().next().context("schedstat is empty")?.parse::<u64>()?;
        }
        Ok(nanoseconds as f64 / 1e9)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Counts the rounds in which the service has at least so much memory.
fn count(lines: ChildStdout, least_bytes: u64, rounds: &AtomicU64) {
    for line in BufReader::new(lines).lines().map_while(Result::ok) {
        let report: Value = serde_json::from_str(&line).unwrap_or_default();
        if report["services"][SERVICE]["rss_bytes"].as_u64().is_some_and(|bytes| bytes >= least_bytes) {
            rounds.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A line of `/proc/PID/status`, in bytes.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_line_of_its_name() {
        let status = "VmRSS:\t  900 kB\nRssAnon:\t     123 kB\nRssFile:\t 777 kB\n";
        assert_eq!(field(status, "RssAnon"), Some(123 << 10));
        assert_eq!(field(status, "Rss"), None);
        assert_eq!(field(status, "VmHWM"), None);
    }
}
