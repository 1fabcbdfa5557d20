//! Which services matter how much, and from when on something is to be done.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::alerts::AlertConfig;
use crate::budget::Budget;
use crate::{Error, Result};

/// What a unit may be of, for this crate: what has processes, or holds those that do.
const KINDS: [&str; 3] = [".service", ".scope", ".slice"];
/// The longest name of a unit that systemd takes, in bytes.
const LONGEST_NAME: usize = 255;

/// The table `[memory]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The share of RAM in use from which on it is critical: 0.90.
    pub ram_critical: f64,
    /// From which on it is high: 0.80.
    pub ram_high: f64,
    /// The share of swap in use from which on it is high: 0.50.
    pub swap_high: f64,
    /// The share of the card's memory in use from which on it is high: 0.85.
    pub vram_high: f64,
    /// The share of the last ten seconds in which some task waited for memory (PSI `some avg10`) from which on pressure is
    /// high, in percent: 10.
    pub pressure_high_percent: f64,
    /// The time between two looks of the daemon, in seconds: 30.
    pub interval_s: u64,
    /// How far ahead the forecast may call for action, in seconds: 300.
    pub forecast_s: u64,
    /// How long a measure stays before it may be lifted or changed, in seconds: 120. What keeps decisions from flapping.
    pub hold_s: u64,
    /// Whether the daemon takes its measures back when it ends: yes.
    pub lift_at_end: bool,
    /// Whom to tell, and how often at most.
    pub alerts: AlertConfig,
    /// What memory may be used: the table `[memory.budget]`. It is compared with, never enforced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// The services, by unit name. No other is ever touched.
    pub services: BTreeMap<String, ServicePolicy>,
}

/// How much a service matters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServicePolicy {
    /// How much.
    pub priority: Priority,
    /// The share of its memory that must stay in RAM, from 0 to 1.
    #[serde(default)]
    pub critical_share: f64,
    /// Where it can be asked to release memory, if it listens: see [`act`](crate::act).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_socket: Option<std::path::PathBuf>,
    /// `MemoryLow=` of its drop-in, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_low_bytes: Option<u64>,
    /// `MemoryHigh=` of its drop-in, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_high_bytes: Option<u64>,
    /// `MemoryMax=` of its drop-in, in bytes. Beyond it the kernel kills; so there is none unless one is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_max_bytes: Option<u64>,
    /// `MemorySwapMax=` of its drop-in, in bytes; without it, 0 for what is critical and no limit for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_swap_max_bytes: Option<u64>,
}

/// How much a service matters, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// It may be swapped first.
    Low,
    /// As usual.
    Medium,
    /// Rather not.
    High,
    /// Never.
    Critical,
}

impl ServicePolicy {
    /// A service with this priority, and this share of its memory to stay in RAM.
    #[must_use]
    pub const fn new(priority: Priority, critical_share: f64) -> Self {
        Self {
            priority,
            critical_share,
            release_socket: None,
            memory_low_bytes: None,
            memory_high_bytes: None,
            memory_max_bytes: None,
            memory_swap_max_bytes: None,
        }
    }

    /// What is protected must not be above what it is slowed down at, nor that above what it is killed at.
    fn limits_in_order(&self, key: &str) -> Result<()> {
        let limits = [
            ("memory_low_bytes", self.memory_low_bytes),
            ("memory_high_bytes", self.memory_high_bytes),
            ("memory_max_bytes", self.memory_max_bytes),
        ];
        let given = limits.into_iter().filter_map(|(name, bytes)| Some((name, bytes?)));
        let given: Vec<(&str, u64)> = given.collect();
        for pair in given.windows(2) {
            if let [(lower, less), (upper, more)] = pair
                && less > more
            {
                let reason = format!("{less} is above {upper} ({more}); low, high and max must not fall");
                return Err(invalid(&format!("{key}.{lower}"), reason));
            }
        }
        Ok(())
    }
}

impl Default for Config {
    fn default() -> Self {
        let service = |name: &str, priority, critical_share| {
            (name.to_owned(), ServicePolicy::new(priority, critical_share))
        };
        Self {
            ram_critical: 0.90,
            ram_high: 0.80,
            swap_high: 0.50,
            vram_high: 0.85,
            pressure_high_percent: 10.0,
            interval_s: 30,
            forecast_s: 300,
            hold_s: 120,
            lift_at_end: true,
            alerts: AlertConfig::default(),
            budget: None,
            services: BTreeMap::from([
                service("omnimind.service", Priority::Critical, 0.8),
                service("omnimind-daemon.service", Priority::High, 0.5),
                service("omnimind-core.service", Priority::High, 0.7),
                service("omnimind-frontend.service", Priority::Medium, 0.0),
            ]),
        }
    }
}

impl Config {
    /// Itself, if it is valid.
    ///
    /// ```
    /// use systemd_policy::Config;
    ///
    /// assert!(Config::default().validated().is_ok());
    /// let error = Config { ram_high: 0.95, ..Config::default() }.validated().unwrap_err();
    /// assert!(error.to_string().starts_with("memory.ram_high: 0.95 is not below memory.ram_critical (0.9)"));
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with the key if a share is not within 0 to 1, `ram_high` is not below `ram_critical`, a time is 0, a
    /// unit's name is none, or a value of the budget is out of its range.
    pub fn validated(self) -> Result<Self> {
        within("memory.ram_critical", self.ram_critical, 1.0)?;
        within("memory.ram_high", self.ram_high, 1.0)?;
        within("memory.swap_high", self.swap_high, 1.0)?;
        within("memory.vram_high", self.vram_high, 1.0)?;
        within("memory.pressure_high_percent", self.pressure_high_percent, 100.0)?;
        if self.ram_high >= self.ram_critical {
            let reason = format!(
                "{} is not below memory.ram_critical ({}); 0.80 below 0.90 is usual",
                self.ram_high, self.ram_critical
            );
            return Err(invalid("memory.ram_high", reason));
        }
        for (key, seconds) in [
            ("memory.interval_s", self.interval_s),
            ("memory.forecast_s", self.forecast_s),
            ("memory.hold_s", self.hold_s),
        ] {
            if !(1..=LONGEST_S).contains(&seconds) {
                return Err(invalid(key, format!("{seconds} is not a time from 1 to {LONGEST_S} seconds")));
            }
        }
        for (unit, policy) in &self.services {
            let key = format!("memory.services.{unit:?}");
            if !is_unit_name(unit) {
                let reason = "is not the name of a unit; one such as omnimind.service, with .service, .scope or .slice, is";
                return Err(invalid(&key, reason.to_owned()));
            }
            within(&format!("{key}.critical_share"), policy.critical_share, 1.0)?;
            if policy.release_socket.as_ref().is_some_and(|path| !path.is_absolute()) {
                let key = format!("{key}.release_socket");
                return Err(invalid(
                    &key,
                    "is not an absolute path; services run in other directories".to_owned(),
                ));
            }
            policy.limits_in_order(&key)?;
        }
        self.alerts.check()?;
        let in_table = |error| match error {
            Error::Config { key, reason } => Error::Config { key: format!("memory.budget.{key}"), reason },
            other => other,
        };
        let budget = self.budget.clone().map(Budget::validated).transpose().map_err(in_table)?;
        Ok(Self { budget, ..self })
    }
}

/// A week, in seconds. Longer waits are mistakes.
const LONGEST_S: u64 = 7 * 24 * 60 * 60;

/// Whether systemd takes this as the name of a service, scope or slice (not of a template, which never runs). Such a name is
/// also safe as a part of a path.
pub(crate) fn is_unit_name(name: &str) -> bool {
    let Some(stem) = KINDS.iter().find_map(|kind| name.strip_suffix(kind)) else { return false };
    let taken = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    let first = stem.bytes().next();
    name.len() <= LONGEST_NAME
        && first.is_some_and(|byte| byte != b'.' && byte != b'@')
        && !stem.ends_with('@')
        && stem.bytes().all(taken)
}

fn within(key: &str, value: f64, most: f64) -> Result<()> {
    if (0.0..=most).contains(&value) {
        return Ok(());
    }
    Err(invalid(key, format!("{value} is not within 0 to {most}")))
}

fn invalid(key: &str, reason: String) -> Error {
    Error::Config { key: key.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        config.validated().unwrap_err().to_string()
    }

    #[test]
    fn what_is_out_of_its_range_is_refused_with_its_key() {
        assert!(refused(|config| config.ram_critical = 1.01).starts_with("memory.ram_critical: 1.01"));
        assert!(refused(|config| config.swap_high = -0.1).starts_with("memory.swap_high: -0.1"));
        assert!(refused(|config| config.ram_high = f64::NAN).starts_with("memory.ram_high: NaN"));
        assert!(refused(|config| config.ram_high = 0.9).starts_with("memory.ram_high: 0.9 is not below"));
        assert!(refused(|config| config.pressure_high_percent = 101.0).contains("within 0 to 100"));
        assert!(refused(|config| config.interval_s = 0).starts_with("memory.interval_s: 0"));
        assert!(refused(|config| config.hold_s = u64::MAX).starts_with("memory.hold_s"));
        let share = |config: &mut Config| {
            config.services.values_mut().for_each(|policy| policy.critical_share = 1.5);
        };
        assert!(refused(share).contains(".critical_share: 1.5"));
        let socket = |config: &mut Config| {
            config.services.values_mut().for_each(|policy| policy.release_socket = Some("run/x".into()));
        };
        assert!(refused(socket).contains("absolute"));
        let budget = |config: &mut Config| {
            config.budget = Some(Budget { memory_fraction: Some(2.0), ..Budget::default() });
        };
        assert!(refused(budget).starts_with("memory.budget.memory_fraction: 2"));
        let limits = |config: &mut Config| {
            for policy in config.services.values_mut() {
                (policy.memory_low_bytes, policy.memory_max_bytes) = (Some(2), Some(1));
            }
        };
        assert!(refused(limits).contains(".memory_low_bytes: 2 is above memory_max_bytes (1)"));
    }

    #[test]
    fn only_names_of_units_that_run_are_taken() {
        for name in [
            "a.service",
            "user@1000.service",
            "session-3.scope",
            "app.slice",
            "a\\x2db.service",
            "a@b.service",
        ] {
            assert!(is_unit_name(name), "{name}");
        }
        for name in [
            "",
            "a",
            ".service",
            "a.socket",
            "../a.service",
            "a/b.service",
            "a b.service",
            "a@.service",
            "é.service",
        ] {
            assert!(!is_unit_name(name), "{name}");
        }
        assert!(!is_unit_name(&format!("{}.service", "a".repeat(300))));
    }
}
