//! What memory may be used, and what is: a table of target against actual. Compares; enforces nothing.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::history::share;
use crate::observe::{Snapshot, Vram};
use crate::{Error, Result};

/// The keys, as they are written in `omnimind_parameters.json` and in `[memory.budget]`.
const KEYS: [&str; 11] = [
    "target_total_mb",
    "ram_max_mb",
    "vram_max_mb",
    "worker_processes",
    "batch_size",
    "cache_size_mb",
    "swap_threshold",
    "gpu_batch_size",
    "memory_fraction",
    "vm_swappiness",
    "drop_caches",
];
/// 1 PiB. More is a mistake.
const MOST_MB: f64 = (1_u64 << 30) as f64;
/// Bytes in what the keys call a megabyte: a MiB.
const MB: f64 = (1_u64 << 20) as f64;
/// No file of parameters is longer.
const LONGEST_FILE: u64 = 1 << 20;

/// Targets; what is not given is not looked at. A megabyte is 1 048 576 bytes here, as in what wrote these files.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// RAM of the services and the card's memory together, in MiB. Usual: 7500.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_total_mb: Option<f64>,
    /// RAM of the services, in MiB. Usual: 3500.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ram_max_mb: Option<f64>,
    /// The card's memory in use, in MiB. Usual: 4000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vram_max_mb: Option<f64>,
    /// How many processes the services may work with. Cannot be seen from outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_processes: Option<u32>,
    /// Items that are worked on at once. Cannot be seen from outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<u32>,
    /// What the services may keep in caches of their own, in MiB. Cannot be seen from outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_size_mb: Option<f64>,
    /// The share of swap that may be in use, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap_threshold: Option<f64>,
    /// Items that are worked on at once on the card. Cannot be seen from outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_batch_size: Option<u32>,
    /// The share of the card's memory that may be in use, above 0 and up to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_fraction: Option<f64>,
    /// The most that `vm.swappiness` should be, 0 to 200.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vm_swappiness: Option<u32>,
    /// Whether, or how (0 to 3), to write to `vm.drop_caches`. It is read so that such files are taken, and never done: the
    /// kernel drops caches when it needs the room, and what is dropped before must be read again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop_caches: Option<DropCaches>,
}

/// A value for `vm.drop_caches`, as files have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum DropCaches {
    /// Whether.
    Whether(bool),
    /// How: 1 pages, 2 entries and inodes, 3 both; 0 not at all.
    How(u8),
}

/// One target against what is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The key.
    pub name: String,
    /// What it should be.
    pub target: f64,
    /// What it is; `None` where that cannot be seen.
    pub actual: Option<f64>,
    /// What both are in: `MiB`, `share` or nothing.
    pub unit: String,
    /// Whether what is, is not above what should be; `None` where it cannot be seen.
    pub met: Option<bool>,
}

impl Budget {
    /// From a file such as `omnimind_parameters.json`.
    ///
    /// # Errors
    ///
    /// [`Error::Observed`] if it cannot be read or is longer than 1 MiB; else as [`from_json`](Self::from_json).
    pub fn read(path: &Path) -> Result<Self> {
        let failed = |reason: String| Error::Observed { path: path.to_owned(), reason };
        let length = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
        if length > LONGEST_FILE {
            return Err(failed(format!(
                "{length} bytes are more than a file of parameters has; name another"
            )));
        }
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        Self::from_json(&text)
    }

    /// From JSON: an object with the keys of this type, all optional. Objects within it, whatever they are named, are read as if
    /// their keys stood at the top.
    ///
    /// ```
    /// use systemd_policy::budget::Budget;
    ///
    /// let budget = Budget::from_json(r#"{"target_total_mb": 7500, "gpu": {"vram_max_mb": 4000}}"#)?;
    /// assert_eq!(budget.vram_max_mb, Some(4000.0));
    /// let error = Budget::from_json(r#"{"ram_mx_mb": 1}"#).unwrap_err();
    /// assert_eq!(error.to_string(), "ram_mx_mb: is not known; the nearest key is ram_max_mb");
    /// # Ok::<(), systemd_policy::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with the key if it is not known, stands twice, has a value of another kind or one out of its range.
    pub fn from_json(text: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(text)
            .map_err(|error| invalid("parameters", &format!("are not JSON: {error}")))?;
        let Value::Object(object) = value else {
            return Err(invalid("parameters", "are not an object; {\"ram_max_mb\": 3500} is one"));
        };
        let mut flat = Map::new();
        flatten(object, &mut flat)?;
        serde_json::from_value::<Self>(Value::Object(flat))
            .map_err(|error| invalid("parameters", &error.to_string()))?
            .validated()
    }

    /// Itself, if all values are in their ranges.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with the key.
    pub fn validated(self) -> Result<Self> {
        for (key, value) in [
            ("target_total_mb", self.target_total_mb),
            ("ram_max_mb", self.ram_max_mb),
            ("vram_max_mb", self.vram_max_mb),
            ("cache_size_mb", self.cache_size_mb),
        ] {
            within(key, value, 0.0, MOST_MB)?;
        }
        for (key, value) in [
            ("worker_processes", self.worker_processes),
            ("batch_size", self.batch_size),
            ("gpu_batch_size", self.gpu_batch_size),
        ] {
            within(key, value.map(f64::from), 1.0, f64::from(1 << 20))?;
        }
        within("swap_threshold", self.swap_threshold, 0.0, 1.0)?;
        within("memory_fraction", self.memory_fraction, f64::MIN_POSITIVE, 1.0)?;
        within("vm_swappiness", self.vm_swappiness.map(f64::from), 0.0, 200.0)?;
        if let Some(DropCaches::How(how)) = self.drop_caches {
            within("drop_caches", Some(f64::from(how)), 0.0, 3.0)?;
        }
        Ok(self)
    }

    /// Against what was seen, with the card's memory if it is known. One row for each target that is given, but for `drop_caches`.
    #[must_use]
    pub fn against(&self, seen: &Snapshot, vram: Option<Vram>) -> Vec<Row> {
        let system = &seen.system;
        // With no service there, 0 would say that all is well.
        let ram = (!seen.services.is_empty()).then(|| {
            seen.services.values().map(|service| service.rss_bytes).fold(0, u64::saturating_add) as f64 / MB
        });
        let card = vram.map(|vram| vram.used_bytes as f64 / MB);
        let both = ram.zip(card).map(|(ram, card)| ram + card);
        let swap =
            (system.swap_total_bytes > 0).then(|| share(system.swap_used_bytes(), system.swap_total_bytes));
        let fraction = vram.filter(|vram| vram.total_bytes > 0);
        let fraction = fraction.map(|vram| share(vram.used_bytes, vram.total_bytes));
        let rows = [
            ("target_total_mb", self.target_total_mb, both, "MiB"),
            ("ram_max_mb", self.ram_max_mb, ram, "MiB"),
            ("vram_max_mb", self.vram_max_mb, card, "MiB"),
            ("swap_threshold", self.swap_threshold, swap, "share"),
            ("memory_fraction", self.memory_fraction, fraction, "share"),
            ("vm_swappiness", self.vm_swappiness.map(f64::from), system.swappiness.map(f64::from), ""),
            ("worker_processes", self.worker_processes.map(f64::from), None, ""),
            ("batch_size", self.batch_size.map(f64::from), None, ""),
            ("gpu_batch_size", self.gpu_batch_size.map(f64::from), None, ""),
            ("cache_size_mb", self.cache_size_mb, None, "MiB"),
        ];
        let row = |(name, target, actual, unit): (&str, Option<f64>, Option<f64>, &str)| {
            let target = target?;
            let met = actual.map(|actual| actual <= target);
            Some(Row { name: name.to_owned(), target, actual, unit: unit.to_owned(), met })
        };
        rows.into_iter().filter_map(row).collect()
    }
}

/// The keys of an object and of those in it, each checked alone so that an error can name it.
fn flatten(object: Map<String, Value>, flat: &mut Map<String, Value>) -> Result<()> {
    for (key, value) in object {
        if let Value::Object(inner) = value {
            flatten(inner, flat)?;
            continue;
        }
        if !KEYS.contains(&key.as_str()) {
            let near = KEYS
                .iter()
                .max_by(|a, b| strsim::jaro_winkler(a, &key).total_cmp(&strsim::jaro_winkler(b, &key)));
            let near = near.copied().unwrap_or_default();
            return Err(invalid(&key, &format!("is not known; the nearest key is {near}")));
        }
        let alone = Map::from_iter([(key.clone(), value.clone())]);
        serde_json::from_value::<Budget>(Value::Object(alone))
            .map_err(|error| invalid(&key, &format!("{value} is no value for it: {error}")))?;
        if flat.insert(key.clone(), value).is_some() {
            return Err(invalid(&key, "stands twice; keep one"));
        }
    }
    Ok(())
}

fn within(key: &str, value: Option<f64>, least: f64, most: f64) -> Result<()> {
    match value {
        Some(value) if !(least..=most).contains(&value) => {
            let least = if least < 1.0 { "0" } else { "1" };
            let percent = if most <= 1.0 { "; 0.5 is 50 %" } else { "" };
            Err(invalid(key, &format!("{value} is not within {least} to {most}{percent}")))
        }
        _ => Ok(()),
    }
}

fn invalid(key: &str, reason: &str) -> Error {
    Error::Config { key: key.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::observe::{Service, System};

    fn refusal(text: &str) -> String {
        Budget::from_json(text).unwrap_err().to_string()
    }

    #[test]
    fn all_keys_are_read_wherever_they_stand() {
        let text = r#"{"target_total_mb": 7500, "ram_max_mb": 3500, "vram_max_mb": 4000,
            "workers": {"worker_processes": 2, "batch_size": 16, "deeper": {"cache_size_mb": 256.5}},
            "swap_threshold": 0.5, "gpu_batch_size": 8, "memory_fraction": 0.85, "vm_swappiness": 10, "drop_caches": true}"#;
        let budget = Budget::from_json(text).unwrap();
        assert_eq!(serde_json::to_value(&budget).unwrap().as_object().unwrap().len(), KEYS.len());
        assert_eq!(
            (budget.cache_size_mb, budget.drop_caches),
            (Some(256.5), Some(DropCaches::Whether(true)))
        );
        assert_eq!(Budget::from_json("{}").unwrap(), Budget::default());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_key() {
        assert_eq!(
            refusal(r#"{"a": {"swapiness": 10}}"#),
            "swapiness: is not known; the nearest key is vm_swappiness"
        );
        assert_eq!(
            refusal(r#"{"swap_threshold": 50}"#),
            "swap_threshold: 50 is not within 0 to 1; 0.5 is 50 %"
        );
        assert_eq!(refusal(r#"{"batch_size": 0}"#), "batch_size: 0 is not within 1 to 1048576");
        assert!(refusal(r#"{"batch_size": "8"}"#).starts_with("batch_size: \"8\" is no value for it"));
        assert!(refusal(r#"{"ram_max_mb": -1}"#).starts_with("ram_max_mb: -1 is not"));
        assert!(refusal(r#"{"memory_fraction": 0}"#).starts_with("memory_fraction: 0 is not"));
        assert!(refusal(r#"{"drop_caches": 4}"#).starts_with("drop_caches: 4 is not within 0 to 3"));
        assert_eq!(
            refusal(r#"{"ram_max_mb": 1, "x": {"ram_max_mb": 2}}"#),
            "ram_max_mb: stands twice; keep one"
        );
        assert!(refusal("[]").contains("not an object"));
        assert!(refusal("{").contains("not JSON"));
    }

    #[test]
    fn the_table_says_what_is_met_and_what_cannot_be_seen() {
        let budget = Budget {
            target_total_mb: Some(100.0),
            ram_max_mb: Some(60.0),
            vram_max_mb: Some(40.0),
            batch_size: Some(8),
            vm_swappiness: Some(10),
            swap_threshold: Some(0.5),
            ..Budget::default()
        };
        let service = Service { rss_bytes: 61 << 20, ..Service::default() };
        let mut seen = Snapshot {
            system: System { swappiness: Some(60), ..System::default() },
            services: [("a.service".to_owned(), service)].into(),
            ..Snapshot::default()
        };
        let vram = Some(Vram { used_bytes: 39 << 20, total_bytes: 80 << 20 });
        let met = |seen: &Snapshot, vram| {
            let rows = budget.against(seen, vram);
            rows.iter().map(|row| (row.name.clone(), row.actual, row.met)).collect::<Vec<_>>()
        };
        let row = |name: &str, actual, met| (name.to_owned(), actual, met);
        assert_eq!(
            met(&seen, vram),
            [
                row("target_total_mb", Some(100.0), Some(true)),
                row("ram_max_mb", Some(61.0), Some(false)),
                row("vram_max_mb", Some(39.0), Some(true)),
                row("swap_threshold", None, None),
                row("vm_swappiness", Some(60.0), Some(false)),
                row("batch_size", None, None),
            ]
        );
        seen.services.clear();
        assert!(met(&seen, None).iter().take(3).all(|row| row.1.is_none() && row.2.is_none()));
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused(text in "\\PC*", mutated in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let _ = Budget::from_json(&text);
            let mut valid = br#"{"target_total_mb": 7500, "gpu": {"memory_fraction": 0.85, "drop_caches": 3}}"#.to_vec();
            let at = mutated.index(valid.len());
            valid[at] = byte;
            if let Ok(Ok(budget)) = std::str::from_utf8(&valid).map(Budget::from_json) {
                prop_assert!(budget.validated().is_ok());
            }
        }
    }
}
