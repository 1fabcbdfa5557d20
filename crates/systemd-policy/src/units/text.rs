//! What the files say.

use std::fmt::Write as _;

use super::{HEADER, Scope};
use crate::act::{Limit, RELEASE_PATIENCE};
use crate::config::{Config, Priority, ServicePolicy};
use crate::error::{Error, Result};

/// What one round may take beyond the interval, without asking services to release memory and without sending alerts, in seconds.
const ROUND_S: u64 = 120;

/// The drop-in of a service; `None` if there is nothing to say.
pub(super) fn drop_in(unit: &str, policy: &ServicePolicy, scope: Scope) -> Option<String> {
    let (_, kind) = unit.rsplit_once('.')?;
    let swap_max = policy.memory_swap_max_bytes.or((policy.priority == Priority::Critical).then_some(0));
    let limits = [
        (Limit::MemoryLow, policy.memory_low_bytes),
        (Limit::MemoryHigh, policy.memory_high_bytes),
        (Limit::MemoryMax, policy.memory_max_bytes),
        (Limit::MemorySwapMax, swap_max),
    ];
    let mut lines: Vec<String> =
        limits.iter().filter(|(_, bytes)| bytes.is_some()).map(|(limit, bytes)| limit.line(*bytes)).collect();
    // Slices and scopes start no processes of their own.
    if kind == "service" {
        if policy.critical_share > 0.0 {
            // What must stay in RAM must be lockable; how much that is at most is known only with a limit.
            let share = |max: u64| ((max as f64 * policy.critical_share) as u64).to_string();
            lines.push(format!(
                "LimitMEMLOCK={}",
                policy.memory_max_bytes.map_or("infinity".to_owned(), share)
            ));
        }
        let adjust = match policy.priority {
            Priority::Low => 500,
            Priority::Medium => 0,
            Priority::High => -500,
            Priority::Critical => -900,
        };
        // Below what they inherit, users may not go.
        if adjust > 0 || (adjust < 0 && scope == Scope::System) {
            lines.push(format!("OOMScoreAdjust={adjust}"));
        }
    }
    if lines.is_empty() {
        return None;
    }
    let mut section = kind.to_owned();
    section[..1].make_ascii_uppercase();
    Some(format!("{HEADER}\n[{section}]\n{}\n", lines.join("\n")))
}

/// The unit of the monitor.
pub(super) fn monitor(config: &Config, scope: Scope, command: &[String]) -> Result<String> {
    let next = "give the absolute path of the program";
    if !command.first().is_some_and(|program| program.starts_with('/')) {
        return Err(Error::refused("the unit of the monitor", "its command is no absolute path", next));
    }
    let listening = config.services.values().filter(|policy| policy.release_socket.is_some()).count() as u64;
    let waits_s =
        listening * RELEASE_PATIENCE.as_secs() + config.alerts.ways().len() as u64 * config.alerts.timeout_s;
    let mut text = format!(
        "{HEADER}\n[Unit]\nDescription=Memory monitor: RAM and swap of services\n\n\
         [Service]\nType=notify\nNotifyAccess=main\nExecStart={}\nRestart=on-failure\nRestartSec=5\nWatchdogSec={}\n\
         TimeoutStopSec={ROUND_S}\n\n",
        quoted(command)?,
        config.interval_s.saturating_mul(2).saturating_add(ROUND_S).saturating_add(waits_s),
    );
    // What a user's systemd can do without privileges, and what costs the monitor nothing.
    text.push_str(
        "# For what it has set, so that it can be taken back after a restart.\n\
         RuntimeDirectory=omnimind\nRuntimeDirectoryMode=0755\nRuntimeDirectoryPreserve=yes\n\
         NoNewPrivileges=yes\nLockPersonality=yes\nMemoryDenyWriteExecute=yes\nRestrictRealtime=yes\n\
         RestrictSUIDSGID=yes\nRestrictNamespaces=yes\nSystemCallArchitectures=native\n\
         # process_madvise, pidfd_open and process_vm_readv are in it.\n\
         SystemCallFilter=@system-service\nSystemCallFilter=~@keyring @resources @setuid @chown\nSystemCallErrorNumber=EPERM\n\
         UMask=0077\n",
    );
    let network = config.alerts.webhook.is_some();
    let families = if network { "AF_UNIX AF_INET AF_INET6" } else { "AF_UNIX" };
    let _ = writeln!(text, "RestrictAddressFamilies={families}");
    let target = match scope {
        Scope::User => "default.target",
        Scope::System => {
            text.push_str(SYSTEM);
            if !network {
                text.push_str("PrivateNetwork=yes\nIPAddressDeny=any\n");
            }
            "multi-user.target"
        }
    };
    let _ = write!(text, "\n[Install]\nWantedBy={target}\n");
    Ok(text)
}

/// For the monitor of the system. Limits are set by systemd, over D-Bus; cgroups are written only to reclaim.
const SYSTEM: &str = "\
# To see and advise pages of other processes; for nothing else.
CapabilityBoundingSet=CAP_SYS_PTRACE CAP_SYS_NICE
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
# To ask the driver how full the card is. Of devices it sees only these, and those that hold nothing, such as /dev/null.
DevicePolicy=closed
DeviceAllow=char-nvidia* rw
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
# memory.reclaim is written in the cgroups of the services.
ProtectControlGroups=no
KeyringMode=private
RemoveIPC=yes
";

/// As `ExecStart=` reads it: each argument in quotes, with `%` and `$` meaning themselves.
fn quoted(command: &[String]) -> Result<String> {
    let mut line = String::new();
    for argument in command {
        if argument.chars().any(char::is_control) {
            let next = "move the program to a path without control characters";
            return Err(Error::refused(
                "the unit of the monitor",
                format!("{argument:?} cannot be written in it"),
                next,
            ));
        }
        let escaped =
            argument.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
        let plain = argument.chars().all(|c| c.is_ascii_alphanumeric() || "/-_.=+:,".contains(c))
            && !argument.is_empty();
        let space = if line.is_empty() { "" } else { " " };
        let quote = if plain { "" } else { "\"" };
        let _ = write!(line, "{space}{quote}{escaped}{quote}");
    }
    Ok(line)
}
