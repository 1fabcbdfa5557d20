//! The peak of a command's anonymous memory: `RssAnon` in `/proc/PID/status`, looked at every two milliseconds. Pages of
//! mapped files do not count: the kernel takes them back when it needs them.

use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// What a command needed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Need {
    pub(super) peak_anon_bytes: u64,
    pub(super) seconds: f64,
}

/// Runs a command to its end under watch.
pub(super) fn watch(command: &mut Command) -> Result<Need> {
    let what = format!("{command:?}");
    let start = Instant::now();
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    let mut child = spawned.with_context(|| format!("starting {what}"))?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let exit = loop {
        peak = peak
            .max(std::fs::read_to_string(&status).ok().and_then(|text| anonymous_bytes(&text)).unwrap_or(0));
        if let Some(exit) = child.try_wait()? {
            break exit;
        }
        sleep(Duration::from_millis(2));
    };
    if !exit.success() {
        bail!("{what} failed: {exit}");
    }
    Ok(Need { peak_anon_bytes: peak, seconds: start.elapsed().as_secs_f64() })
}

fn anonymous_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anonymous_memory_is_read_from_the_status_of_a_process() {
        let status = "Name:\tomnimind\nVmRSS:\t  900 kB\nRssAnon:\t     123 kB\nRssFile:\t 777 kB\n";
        assert_eq!(anonymous_bytes(status), Some(123 * 1024));
        assert_eq!(anonymous_bytes("Name:\tkthreadd\n"), None);
    }
}
