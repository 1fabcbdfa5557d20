//! Settings as a flat list of dotted keys, onto which layers are laid one after the other. The defaults say which keys
//! there are and of which type; this module knows the meaning of none of them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use omnimind_memory::witness::WITNESS_VARIABLE;
use serde::Serialize;
use toml::{Table, Value};

use super::ConfigError;

/// Variables that name no setting of their own name.
const SPECIAL: [(&str, Option<&str>); 4] = [
    ("OMNIMIND_STORE", Some("store.dir")),
    ("OMNIMIND_CONFIG", None),
    (gpu_probe::SHARED_CARD_VARIABLE, None),
    (WITNESS_VARIABLE, None),
];
/// What tests are told by whoever runs them begins with this, and is no setting.
const OF_TESTS: &str = "OMNIMIND_TEST";
/// Settings that name files; a relative one is meant relative to the file that it is written in.
const PATHS: [&str; 6] = [
    "store.dir",
    "unconscious.keyholder",
    "unconscious.socket",
    "keyholder.identity",
    "keyholder.state",
    "oom_report.patterns",
];
/// Tables whose keys no default names: each is one value, which another takes the place of as a whole.
const WHOLE: [&str; 2] = ["memory.services", "memory.budget"];

/// One setting in effect.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Setting {
    pub(crate) key: String,
    pub(crate) value: Value,
    /// A flag, a variable, a file or `default`.
    pub(crate) origin: String,
}

#[derive(Debug)]
pub(super) struct Layers(BTreeMap<String, (Value, String)>);

impl Layers {
    pub(super) fn of_defaults(defaults: &impl Serialize) -> Result<Self, ConfigError> {
        let defaults = Table::try_from(defaults)
            .map_err(|error| ConfigError::Value { reason: format!("the defaults: {error}") })?;
        let mut flat = BTreeMap::new();
        flatten("", defaults, &mut |key, value| {
            flat.insert(key, (as_written(value), "default".to_owned()));
        });
        Ok(Self(flat))
    }

    pub(super) fn read_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text =
            fs::read_to_string(path).map_err(|source| ConfigError::Io { path: path.to_owned(), source })?;
        let table: Table = text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
            path: path.to_owned(),
            reason: error.to_string().trim().to_owned(),
        })?;
        let origin = path.display().to_string();
        let mut given = Vec::new();
        flatten("", table, &mut |key, value| given.push((key, value)));
        for (key, value) in given {
            self.set(&key, relative_to(path, &key, value), origin.clone())?;
        }
        Ok(())
    }

    pub(super) fn read_environment(
        &mut self,
        environment: &[(OsString, OsString)],
    ) -> Result<(), ConfigError> {
        for (name, text) in environment {
            let Some(name) = name.to_str().filter(|name| name.starts_with("OMNIMIND_")) else { continue };
            if text.is_empty() || name.starts_with(OF_TESTS) {
                continue;
            }
            let key = match SPECIAL.iter().find(|(special, _)| *special == name) {
                Some((_, None)) => continue,
                Some((_, Some(key))) => (*key).to_owned(),
                None => self.key_of(name)?,
            };
            let text = text.to_str().ok_or_else(|| ConfigError::NotUtf8 { what: name.to_owned() })?;
            let value = self.read_text(&key, text, name)?;
            self.set(&key, value, name.to_owned())?;
        }
        Ok(())
    }

    /// Lays one value on top.
    pub(super) fn set(&mut self, key: &str, value: Value, origin: String) -> Result<(), ConfigError> {
        let Some((current, from)) = self.0.get_mut(key) else {
            if self.0.keys().any(|known| is_below(known, key)) {
                if value.is_table() {
                    return Ok(()); // an empty one
                }
                let given = value.to_string();
                return Err(ConfigError::Type { origin, key: key.to_owned(), expected: "a table", given });
            }
            return Err(ConfigError::Unknown { hint: self.hint(key), origin, key: key.to_owned() });
        };
        // TOML tells 1 from 1.0; whoever writes a share as 1 means the same.
        let value = match (&*current, value) {
            (Value::Float(_), Value::Integer(whole)) => Value::Float(whole as f64),
            (_, value) => value,
        };
        if !current.same_type(&value) {
            let expected = type_name(current);
            return Err(ConfigError::Type {
                origin,
                key: key.to_owned(),
                expected,
                given: value.to_string(),
            });
        }
        (*current, *from) = (value, origin);
        Ok(())
    }

    /// The settings as nested tables.
    pub(super) fn table(&self) -> Result<Table, ConfigError> {
        let mut root = Table::new();
        for (key, (value, _)) in &self.0 {
            let (path, name) = key.rsplit_once('.').unwrap_or(("", key));
            let mut table = &mut root;
            for part in path.split('.').filter(|part| !part.is_empty()) {
                table = table
                    .entry(part)
                    .or_insert_with(|| Value::Table(Table::new()))
                    .as_table_mut()
                    .ok_or_else(|| ConfigError::Value {
                        reason: format!("{part:?} is a value and a table"),
                    })?;
            }
            table.insert(name.to_owned(), value.clone());
        }
        Ok(root)
    }

    /// A value, and where it is from.
    #[cfg(target_os = "linux")]
    pub(super) fn get(&self, key: &str) -> Option<(&Value, &str)> {
        self.0.get(key).map(|(value, origin)| (value, origin.as_str()))
    }

    pub(super) fn into_settings(self) -> Vec<Setting> {
        let mut settings = Vec::new();
        for (key, (value, origin)) in self.0 {
            match value {
                Value::Table(table) if !table.is_empty() => {
                    settings.extend(table.into_iter().map(|(name, value)| {
                        let key = format!("{key}.{}", quoted(&name));
                        Setting { key, value, origin: origin.clone() }
                    }));
                }
                value => settings.push(Setting { key, value, origin }),
            }
        }
        settings
    }

    /// The setting that a variable names: `OMNIMIND_GPU_ENTER` is `gpu.enter`.
    fn key_of(&self, name: &str) -> Result<String, ConfigError> {
        if let Some(key) = self.0.keys().find(|key| variable(key) == name) {
            return Ok(key.clone());
        }
        let known =
            self.0.keys().map(|key| variable(key)).chain(SPECIAL.map(|(special, _)| special.to_owned()));
        let hint = match nearest(name, known) {
            Some(near) => format!("did you mean {near:?}?"),
            None => "unset the variable; `omnimind config` shows the settings there are".to_owned(),
        };
        Err(ConfigError::Unknown { origin: "environment".to_owned(), key: name.to_owned(), hint })
    }

    /// A text as a value of the type that the setting has.
    fn read_text(&self, key: &str, text: &str, origin: &str) -> Result<Value, ConfigError> {
        let current = self.0.get(key).map(|(value, _)| value);
        let value = match current {
            Some(Value::Integer(_)) => text.parse().ok().map(Value::Integer),
            Some(Value::Float(_)) => text.parse().ok().map(Value::Float),
            Some(Value::Boolean(_)) => text.parse().ok().map(Value::Boolean),
            Some(Value::Array(_)) => list(text),
            _ => Some(Value::String(text.to_owned())),
        };
        value.ok_or_else(|| ConfigError::Type {
            origin: origin.to_owned(),
            key: key.to_owned(),
            expected: current.map_or("text", type_name),
            given: format!("{text:?}"),
        })
    }

    fn hint(&self, key: &str) -> String {
        let tables = self.0.keys().flat_map(|known| {
            known.char_indices().filter(|&(_, symbol)| symbol == '.').map(|(at, _)| known[..at].to_owned())
        });
        // A misspelt table is meant as that table, a setting without its table as that setting.
        let table_of_key = key.rsplit_once('.').map_or(key, |(table, _)| table);
        let is_table = self.0.keys().any(|known| is_below(known, table_of_key));
        if !is_table && let Some(near) = nearest(table_of_key, tables) {
            return format!("did you mean {near:?}?");
        }
        if let Some(known) = self.0.keys().find(|known| known.rsplit('.').next() == Some(key)) {
            return format!("did you mean {known:?}?");
        }
        if let Some(near) = nearest(key, self.0.keys().cloned()) {
            return format!("did you mean {near:?}?");
        }
        let beside: Vec<_> = self.0.keys().filter(|known| is_below(known, table_of_key)).cloned().collect();
        let all = if beside.is_empty() { self.0.keys().cloned().collect() } else { beside };
        format!("there are {}", all.join(", "))
    }
}

/// A list as somebody writes it into a variable: `1, 2` or `[1, 2]`.
fn list(text: &str) -> Option<Value> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let table: Table = format!("list = [{bare}]").parse().ok()?;
    table.get("list").cloned()
}

/// A default that its crate keeps as f32 in the digits that somebody would write: 0.99, not 0.9900000095367432.
fn as_written(value: Value) -> Value {
    match value {
        Value::Float(wide) if f64::from(wide as f32).to_bits() == wide.to_bits() => {
            Value::Float((wide as f32).to_string().parse().unwrap_or(wide))
        }
        value => value,
    }
}

fn is_below(key: &str, table: &str) -> bool {
    key.strip_prefix(table).is_some_and(|rest| rest.starts_with('.'))
}

fn variable(key: &str) -> String {
    format!("OMNIMIND_{}", key.replace('.', "_").to_uppercase())
}

/// A key as it is written: in quotes if it has dots in it.
pub(super) fn quoted(key: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !key.is_empty() && key.bytes().all(is_bare) { key.to_owned() } else { format!("{key:?}") }
}

pub(super) fn nearest(word: &str, known: impl Iterator<Item = String>) -> Option<String> {
    // A third of the letters may be wrong: `entr` is meant as `enter`, `xyzzy` as nothing.
    let tail = |text: &str| text.rsplit('.').next().unwrap_or(text).to_owned();
    let limit = |candidate: &str| tail(candidate).len().max(tail(word).len()).div_ceil(3);
    known
        .map(|candidate| (strsim::damerau_levenshtein(word, &candidate), candidate))
        .filter(|(distance, candidate)| *distance <= limit(candidate))
        .min()
        .map(|(_, candidate)| candidate)
}

fn flatten(prefix: &str, table: Table, found: &mut impl FnMut(String, Value)) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(inner) if !inner.is_empty() && !WHOLE.contains(&key.as_str()) => {
                flatten(&key, inner, found);
            }
            value => found(key, value),
        }
    }
}

fn relative_to(file: &Path, key: &str, value: Value) -> Value {
    match value {
        // No path is none.
        Value::String(text) if PATHS.contains(&key) && !text.is_empty() && !text.starts_with("age1") => {
            let directory = file.parent().unwrap_or(Path::new(""));
            Value::String(directory.join(&text).to_str().map_or(text, str::to_owned))
        }
        value => value,
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "text in quotes",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}
