//! `[memory]`: what memory of services is judged and managed by. Services and budgets are tables of their own: written ones take
//! the place of the default ones as a whole, because a service that is not wanted must be possible to leave out.

use systemd_policy::budget::{Budget, DropCaches};
use systemd_policy::{Config, Priority, ServicePolicy};
use toml::{Table, Value};

use super::ConfigError;
use super::layers::{Layers, nearest, quoted};

/// The defaults as they are laid: what there is none of is empty, so that it has a key.
pub(super) fn defaults() -> Config {
    let mut config = Config::default();
    config.budget.get_or_insert_default();
    config.alerts.webhook.get_or_insert_default();
    config
}

/// The settings as they are used: what is empty is none.
pub(super) fn settled(mut config: Config) -> Result<Config, ConfigError> {
    config.budget = config.budget.filter(|budget| *budget != Budget::default());
    config.alerts.webhook = config.alerts.webhook.filter(|address| !address.is_empty());
    config.validated().map_err(|error| ConfigError::Value { reason: error.to_string() })
}

/// What is in the tables that are laid as a whole: each with its keys, so that an error can name them.
pub(super) fn check(layers: &Layers) -> Result<(), ConfigError> {
    if let Some((Value::Table(services), origin)) = layers.get("memory.services") {
        for (unit, policy) in services {
            let key = format!("memory.services.{}", quoted(unit));
            let Value::Table(policy) = policy else {
                let (origin, given) = (origin.to_owned(), policy.to_string());
                return Err(ConfigError::Type { origin, key, expected: "a table", given });
            };
            check_keys(policy, &key, origin, &keys_of(&whole_policy()))?;
            if !policy.contains_key("priority") {
                let reason = format!("{key} has no priority; give low, medium, high or critical");
                return Err(ConfigError::Value { reason });
            }
            each_alone(policy, &key, |alone| {
                let with_priority = Table::from_iter([("priority".to_owned(), "low".into())]);
                let policy: Table = with_priority.into_iter().chain(alone).collect();
                policy.try_into::<ServicePolicy>().map(drop)
            })?;
        }
    }
    if let Some((Value::Table(budget), origin)) = layers.get("memory.budget") {
        check_keys(budget, "memory.budget", origin, &keys_of(&whole_budget()))?;
        each_alone(budget, "memory.budget", |alone| alone.try_into::<Budget>().map(drop))?;
    }
    Ok(())
}

/// Values of the wrong kind: the reader of tables does not say of which key.
fn each_alone(
    table: &Table,
    key: &str,
    read: impl Fn(Table) -> Result<(), toml::de::Error>,
) -> Result<(), ConfigError> {
    for (name, value) in table {
        read(Table::from_iter([(name.clone(), value.clone())])).map_err(|error| ConfigError::Value {
            reason: format!("{key}.{name}: {}", error.to_string().trim().replace('\n', " ")),
        })?;
    }
    Ok(())
}

fn check_keys(table: &Table, key: &str, origin: &str, known: &[String]) -> Result<(), ConfigError> {
    let Some(unknown) = table.keys().find(|name| !known.contains(name)) else { return Ok(()) };
    let hint = match nearest(unknown, known.iter().cloned()) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("there are {}", known.join(", ")),
    };
    Err(ConfigError::Unknown { origin: origin.to_owned(), key: format!("{key}.{unknown}"), hint })
}

fn keys_of(whole: &impl serde::Serialize) -> Vec<String> {
    Table::try_from(whole).map(|table| table.keys().cloned().collect()).unwrap_or_default()
}

/// Everything that can be said of a service.
fn whole_policy() -> ServicePolicy {
    ServicePolicy {
        priority: Priority::Low,
        critical_share: 0.0,
        release_socket: Some("/".into()),
        memory_low_bytes: Some(0),
        memory_high_bytes: Some(0),
        memory_max_bytes: Some(0),
        memory_swap_max_bytes: Some(0),
    }
}

/// Every target that there is.
fn whole_budget() -> Budget {
    Budget {
        target_total_mb: Some(0.0),
        ram_max_mb: Some(0.0),
        vram_max_mb: Some(0.0),
        worker_processes: Some(0),
        batch_size: Some(0),
        cache_size_mb: Some(0.0),
        swap_threshold: Some(0.0),
        gpu_batch_size: Some(0),
        memory_fraction: Some(0.0),
        vm_swappiness: Some(0),
        drop_caches: Some(DropCaches::How(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Surroundings;
    use super::*;

    fn load(file: &str) -> Result<super::super::Effective, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("omnimind.toml");
        std::fs::write(&path, file).unwrap();
        Surroundings { config_flag: Some(path), ..Surroundings::default() }.load()
    }

    #[test]
    fn services_and_budgets_take_the_place_of_the_default_ones() {
        let usual = load("").unwrap();
        assert_eq!(usual.config.memory, Config::default());
        let key = |name: &str| usual.settings.iter().any(|setting| setting.key == name);
        assert!(key("memory.services.\"omnimind.service\"") && key("memory.ram_high"));

        let file = "[memory]\nram_high = 0.7\n[memory.alerts]\ncommand = [\"logger\"]\nwebhook = \"http://a/b\"\n\
                    [memory.services.\"a.b.service\"]\npriority = \"low\"\ncritical_share = 1\n\
                    [memory.budget]\nram_max_mb = 3500\n";
        let given = load(file).unwrap().config.memory;
        let services: Vec<_> = given.services.keys().collect();
        assert_eq!(services, ["a.b.service"]);
        assert_eq!((given.ram_high, given.services["a.b.service"].critical_share), (0.7, 1.0));
        assert_eq!(given.alerts.webhook.as_deref(), Some("http://a/b"));
        assert_eq!(given.budget.and_then(|budget| budget.ram_max_mb), Some(3500.0));
        assert!(load("[memory.services]").unwrap().config.memory.services.is_empty());
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_key() {
        let service = |line: &str| format!("[memory.services.\"a.service\"]\n{line}");
        for (file, words) in [
            ("[memory]\nram_hihg = 0.7".to_owned(), &["memory.ram_hihg", "\"memory.ram_high\""][..]),
            ("[memory]\nram_high = 0.95".to_owned(), &["memory.ram_high: 0.95", "0.9"]),
            (service("priorty = \"low\""), &["a.service", "priorty", "\"priority\""]),
            (service("xyzzy = 1"), &["xyzzy", "critical_share"]),
            (service("critical_share = 0.5"), &["a.service", "has no priority"]),
            (service("priority = \"lo\""), &["a.service", ".priority", "`lo`"]),
            (service("priority = \"low\"\ncritical_share = \"x\""), &["a.service", ".critical_share"]),
            (service("priority = \"low\"\ncritical_share = 2"), &["a.service", "critical_share: 2"]),
            ("[memory.services]\na = 1".to_owned(), &["memory.services.a", "a table"]),
            ("[memory.services.\"a.socket\"]\npriority = \"low\"".to_owned(), &["a.socket", "unit"]),
            ("[memory.budget]\nram_mx_mb = 1".to_owned(), &["memory.budget.ram_mx_mb", "\"ram_max_mb\""]),
            ("[memory.budget]\nram_max_mb = -1".to_owned(), &["memory.budget.ram_max_mb: -1"]),
            ("[memory.budget]\nbatch_size = \"8\"".to_owned(), &["memory.budget.batch_size"]),
            ("[memory]\nservices = 3".to_owned(), &["memory.services", "a table"]),
        ] {
            let message = load(&file).unwrap_err().to_string().replace('\\', "");
            assert!(words.iter().all(|word| message.contains(word)), "{file}: {message}");
        }
    }
}
