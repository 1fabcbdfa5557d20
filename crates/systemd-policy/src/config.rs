//! Which services matter how much, and from when on something is to be done.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
    /// The share of the last ten seconds in which some task waited for memory (PSI `some avg10`) from which on pressure is
    /// high, in percent: 10.
    pub pressure_high_percent: f64,
    /// The time between two looks of the daemon, in seconds: 30.
    pub interval_s: u64,
    /// How far ahead the forecast may call for action, in seconds: 300.
    pub forecast_s: u64,
    /// How long a measure stays before it may be lifted or changed, in seconds: 120. What keeps decisions from flapping.
    pub hold_s: u64,
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

impl Default for Config {
    fn default() -> Self {
        let service = |name: &str, priority, critical_share| {
            (name.to_owned(), ServicePolicy { priority, critical_share, release_socket: None })
        };
        Self {
            ram_critical: 0.90,
            ram_high: 0.80,
            swap_high: 0.50,
            pressure_high_percent: 10.0,
            interval_s: 30,
            forecast_s: 300,
            hold_s: 120,
            services: BTreeMap::from([
                service("omnimind.service", Priority::Critical, 0.8),
                service("omnimind-daemon.service", Priority::High, 0.5),
                service("omnimind-core.service", Priority::High, 0.7),
                service("omnimind-frontend.service", Priority::Medium, 0.0),
            ]),
        }
    }
}
