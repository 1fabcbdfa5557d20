//! What `omnimind memory report --json` says: the machine, the services, and what should be done.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::{Config, Priority};
use crate::decide::{Recommendation, critical_bytes};
use crate::history::share;
use crate::observe::{Pressure, Snapshot, Vram};

/// The report. Its fields are a promise to those who read the JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The machine.
    pub system: SystemReport,
    /// The configured services that run, by unit name.
    pub services: BTreeMap<String, ServiceReport>,
    /// What of all services must stay in RAM, in bytes.
    pub total_critical_bytes: u64,
    /// What should be done, the first thing first.
    pub recommendations: Vec<Recommendation>,
    /// What could not be seen, and what that means.
    #[serde(default)]
    pub lacks: Vec<String>,
}

/// The machine.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SystemReport {
    /// RAM, or the container's limit, in bytes.
    pub ram_total_bytes: u64,
    /// What of it is not available, in bytes.
    pub ram_used_bytes: u64,
    /// What programs can still get without swapping, in bytes.
    pub ram_available_bytes: u64,
    /// RAM in use, in percent.
    pub ram_percent: f64,
    /// Swap, in bytes; 0 where there is none.
    pub swap_total_bytes: u64,
    /// Swap in use, in bytes.
    pub swap_used_bytes: u64,
    /// Swap in use, in percent; 0 where there is none.
    pub swap_percent: f64,
    /// How much tasks waited for memory; `null` where the kernel does not tell.
    pub pressure: Option<Pressure>,
    /// The card's memory; `null` where there is no card.
    #[serde(default)]
    pub vram: Option<Vram>,
}

/// A service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceReport {
    /// Its largest process; `null` if none can be seen.
    pub pid: Option<u32>,
    /// Resident memory of its processes, in bytes.
    pub rss_bytes: u64,
    /// Swapped memory of its processes, in bytes.
    pub swap_bytes: u64,
    /// What must stay in RAM, in bytes.
    pub critical_bytes: u64,
    /// How much it matters.
    pub priority: Priority,
}

impl Report {
    /// From what was seen and decided. Percentages are rounded to hundredths.
    #[must_use]
    pub fn of(seen: &Snapshot, recommendations: &[Recommendation], config: &Config) -> Self {
        let system = &seen.system;
        let percent = |part, whole| (share(part, whole) * 1e4).round() / 1e2;
        let critical = critical_bytes(seen, config);
        let services = seen.services.iter().filter_map(|(name, service)| {
            let priority = config.services.get(name)?.priority;
            let report = ServiceReport {
                pid: service.pid,
                rss_bytes: service.rss_bytes,
                swap_bytes: service.swap_bytes,
                critical_bytes: critical.get(name.as_str()).copied().unwrap_or_default(),
                priority,
            };
            Some((name.clone(), report))
        });
        Self {
            system: SystemReport {
                ram_total_bytes: system.ram_total_bytes,
                ram_used_bytes: system.ram_used_bytes(),
                ram_available_bytes: system.ram_available_bytes,
                ram_percent: percent(system.ram_used_bytes(), system.ram_total_bytes),
                swap_total_bytes: system.swap_total_bytes,
                swap_used_bytes: system.swap_used_bytes(),
                swap_percent: percent(system.swap_used_bytes(), system.swap_total_bytes),
                pressure: system.pressure,
                vram: seen.vram,
            },
            services: services.collect(),
            total_critical_bytes: critical.values().sum(),
            recommendations: recommendations.to_vec(),
            lacks: seen.lacks.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{Service, System};

    #[test]
    fn the_json_has_the_promised_fields() {
        let seen = Snapshot {
            system: System {
                ram_total_bytes: 16 << 30,
                ram_available_bytes: 4 << 30,
                swap_total_bytes: 3 << 30,
                swap_free_bytes: 2 << 30,
                ..System::default()
            },
            services: BTreeMap::from([(
                "omnimind.service".to_owned(),
                Service { pid: Some(7), rss_bytes: 1000, swap_bytes: 24, ..Service::default() },
            )]),
            vram: Some(Vram { used_bytes: 1, total_bytes: 4 }),
            ..Snapshot::default()
        };
        let report = Report::of(&seen, &[], &Config::default());
        let json = serde_json::to_value(&report).unwrap();
        let expected = serde_json::json!({
            "system": {
                "ram_total_bytes": 17_179_869_184_u64, "ram_used_bytes": 12_884_901_888_u64,
                "ram_available_bytes": 4_294_967_296_u64, "ram_percent": 75.0,
                "swap_total_bytes": 3_221_225_472_u64, "swap_used_bytes": 1_073_741_824, "swap_percent": 33.33,
                "pressure": null, "vram": {"used_bytes": 1, "total_bytes": 4},
            },
            "services": {"omnimind.service": {
                "pid": 7, "rss_bytes": 1000, "swap_bytes": 24, "critical_bytes": 800, "priority": "critical",
            }},
            "total_critical_bytes": 800,
            "recommendations": [],
            "lacks": [],
        });
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
    }
}
