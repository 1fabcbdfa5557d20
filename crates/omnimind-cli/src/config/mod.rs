//! The settings in effect: flag before environment before file before default. Each crate owns its table; this module
//! puts the tables together, and knows where every value came from.

mod error;
mod layers;
#[cfg(target_os = "linux")]
mod memory;
mod oom_report;

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

#[cfg(feature = "homomorphic")]
use encrypted_unconscious::keyholder::CustodyConfig;
use gpu_probe::{DEFAULT_CAPACITY_BYTES, WatermarkConfig};
use omnimind_memory::{ClassifierConfig, IndexConfig, PlacementConfig, Policy};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

pub(crate) use error::ConfigError;
use layers::Layers;
pub(crate) use layers::Setting;
pub(crate) use oom_report::OomReportTable;

/// Everything that can be set, by table.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) store: StoreTable,
    pub(crate) compression: CompressionTable,
    pub(crate) classifier: ClassifierConfig,
    pub(crate) index: IndexTable,
    pub(crate) gpu: GpuTable,
    pub(crate) placement: PlacementConfig,
    pub(crate) unconscious: UnconsciousTable,
    pub(crate) keyholder: KeyholderTable,
    pub(crate) oom_report: OomReportTable,
    #[cfg(target_os = "linux")]
    pub(crate) memory: systemd_policy::Config,
}

/// `[store]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoreTable {
    /// Where memories are kept.
    pub(crate) dir: PathBuf,
}

/// `[compression]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CompressionTable {
    /// The error bound where none is asked for.
    #[serde(with = "bound")]
    pub(crate) bound: Policy,
}

/// `[index]`. Unknown keys are refused where layers are laid on top of each other.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct IndexTable {
    #[serde(flatten)]
    pub(crate) index: IndexConfig,
    /// Whether `deja-vu` compacts the index when it is due.
    pub(crate) auto_compact: bool,
}

/// `[gpu]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GpuTable {
    /// Which device, counted from 0.
    pub(crate) device: u32,
    /// The real GPU where there is one, or the simulated one always.
    pub(crate) source: GpuSource,
    /// Memory of the simulated GPU.
    pub(crate) simulated_bytes: u64,
    /// The share of used memory above which to begin consolidating.
    pub(crate) enter: f64,
    /// The share below which to stop.
    pub(crate) leave: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum GpuSource {
    Auto,
    Simulated,
}

/// `[unconscious]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UnconsciousTable {
    /// The public key to seal for (`age1…`), or the file that it is in.
    pub(crate) keyholder: String,
    /// Where the keyholder is asked for scores.
    pub(crate) socket: PathBuf,
}

/// `[keyholder]`: for the process that holds the key. Unknown keys are refused where layers are laid on top of each other.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct KeyholderTable {
    /// The secret.
    pub(crate) identity: PathBuf,
    /// Where budgets and the audit log are kept.
    pub(crate) state: PathBuf,
    /// Who else may ask, by uid.
    pub(crate) allow: Vec<u32>,
    /// How much is answered, and how coarsely.
    #[cfg(feature = "homomorphic")]
    #[serde(flatten)]
    pub(crate) custody: CustodyConfig,
}

/// Where the defaults lie and what the process was started with.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    pub(crate) store_flag: Option<PathBuf>,
    pub(crate) config_flag: Option<PathBuf>,
    pub(crate) environment: Vec<(OsString, OsString)>,
}

/// The settings in effect and their origins.
#[derive(Debug)]
pub(crate) struct Effective {
    pub(crate) config: Config,
    pub(crate) settings: Vec<Setting>,
    /// The file that was read, if there is one.
    pub(crate) file: Option<PathBuf>,
    /// Where the configuration, and with it the keyholder's files, belong.
    pub(crate) directory: PathBuf,
}

impl Surroundings {
    pub(crate) fn of_process(store_flag: Option<PathBuf>, config_flag: Option<PathBuf>) -> Self {
        Self { store_flag, config_flag, environment: env::vars_os().collect() }
    }

    fn variable(&self, name: &str) -> Option<&OsString> {
        let found = self.environment.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value).filter(|value| !value.is_empty())
    }

    /// `$name/omnimind`, or the same below the home directory.
    fn directory(&self, name: &str, below_home: &str) -> PathBuf {
        let base = self.variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home =
            || Path::new(self.variable("HOME").map_or("".as_ref(), OsString::as_os_str)).join(below_home);
        base.unwrap_or_else(home).join("omnimind")
    }

    /// In the directory of what runs for this user, where there is one.
    fn socket(&self, directory: &Path) -> PathBuf {
        let runtime = self.variable("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
        runtime.map_or_else(|| directory.to_owned(), |path| path.join("omnimind")).join("keyholder.sock")
    }

    fn defaults(&self, directory: &Path) -> Config {
        Config {
            store: StoreTable { dir: self.directory("XDG_DATA_HOME", ".local/share") },
            compression: CompressionTable { bound: Policy::Default },
            classifier: ClassifierConfig::default(),
            index: IndexTable { index: IndexConfig::default(), auto_compact: true },
            gpu: GpuTable {
                device: 0,
                source: GpuSource::Auto,
                simulated_bytes: DEFAULT_CAPACITY_BYTES,
                enter: WatermarkConfig::default().enter(),
                leave: WatermarkConfig::default().leave(),
            },
            placement: PlacementConfig::default(),
            unconscious: UnconsciousTable {
                keyholder: directory.join("keyholder.key.pub").to_string_lossy().into_owned(),
                socket: self.socket(directory),
            },
            keyholder: KeyholderTable {
                identity: directory.join("keyholder.key"),
                state: directory.join("keyholder.state"),
                allow: Vec::new(),
                #[cfg(feature = "homomorphic")]
                custody: CustodyConfig::default(),
            },
            oom_report: OomReportTable::default(),
            #[cfg(target_os = "linux")]
            memory: memory::defaults(),
        }
    }

    /// Puts the layers on top of each other.
    pub(crate) fn load(&self) -> Result<Effective, ConfigError> {
        let directory = self.directory("XDG_CONFIG_HOME", ".config");
        let mut layers = Layers::of_defaults(&self.defaults(&directory))?;
        let file = self.file(&directory);
        if let Some(path) = &file {
            layers.read_file(path)?;
        }
        layers.read_environment(&self.environment)?;
        if let Some(dir) = &self.store_flag {
            let dir =
                dir.to_str().ok_or_else(|| ConfigError::NotUtf8 { what: format!("--store {dir:?}") })?;
            layers.set("store.dir", Value::String(dir.to_owned()), "--store".to_owned())?;
        }
        #[cfg(target_os = "linux")]
        memory::check(&layers)?;
        let config = typed(layers.table()?)?;
        #[cfg(target_os = "linux")]
        let config = Config { memory: memory::settled(config.memory)?, ..config };
        check(&config)?;
        Ok(Effective { config, settings: layers.into_settings(), file, directory })
    }

    /// The file asked for, which must exist, or the one in the usual place, which need not.
    fn file(&self, directory: &Path) -> Option<PathBuf> {
        let asked = self.config_flag.clone().or_else(|| self.variable("OMNIMIND_CONFIG").map(PathBuf::from));
        asked.or_else(|| Some(directory.join("omnimind.toml")).filter(|usual| usual.exists()))
    }
}

fn typed(table: Table) -> Result<Config, ConfigError> {
    Value::Table(table).try_into().map_err(|error: toml::de::Error| ConfigError::Value {
        reason: error.to_string().trim().replace('\n', " "),
    })
}

/// What single values cannot tell.
fn check(config: &Config) -> Result<(), ConfigError> {
    let refuse = |reason: String| Err(ConfigError::Value { reason });
    if let Err(error) = config.classifier.validate() {
        return refuse(error.to_string());
    }
    if let Err(error) = config.index.index.validate() {
        return refuse(format!("[index]: {error}"));
    }
    #[cfg(feature = "homomorphic")]
    if let Err(error) = config.keyholder.custody.validate() {
        return refuse(format!("[keyholder]: {error}"));
    }
    if let Err(error) = config.placement.validate() {
        return refuse(format!("[placement]: {error}"));
    }
    if let Err(error) = WatermarkConfig::new(config.gpu.enter, config.gpu.leave) {
        return refuse(format!("[gpu]: {error}"));
    }
    if let Err(error) = config.oom_report.validate() {
        return refuse(format!("[oom_report]: {error}"));
    }
    Ok(())
}

mod bound {
    //! A bound is written as on the command line.

    use omnimind_memory::Policy;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(policy: &Policy, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(policy)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Policy, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Place {
        dir: tempfile::TempDir,
        surroundings: Surroundings,
    }

    impl Place {
        fn new(file: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("omnimind.toml");
            fs::write(&path, file).unwrap();
            let environment = vec![("HOME".into(), "/home/someone".into())];
            Self {
                dir,
                surroundings: Surroundings { store_flag: None, config_flag: Some(path), environment },
            }
        }

        fn with(mut self, name: &str, value: &str) -> Self {
            self.surroundings.environment.push((name.into(), value.into()));
            self
        }

        fn origin(&self, key: &str) -> String {
            let settings = self.surroundings.load().unwrap().settings;
            settings.into_iter().find(|setting| setting.key == key).unwrap().origin
        }

        fn refusal(&self) -> String {
            self.surroundings.load().unwrap_err().to_string()
        }
    }

    #[test]
    fn flag_goes_before_environment_before_file_before_default() {
        let mut place = Place::new("[store]\ndir = \"from-file\"\n[gpu]\nenter = 0.9\n");
        let loaded = place.surroundings.load().unwrap();
        assert_eq!(loaded.config.store.dir, place.dir.path().join("from-file"));
        assert_eq!((loaded.config.gpu.enter, loaded.config.gpu.leave), (0.9, 0.75));
        assert!(place.origin("store.dir").contains("omnimind.toml"));
        assert_eq!(place.origin("gpu.leave"), "default");

        place = place.with("OMNIMIND_STORE", "from-env").with("OMNIMIND_GPU_ENTER", "0.95");
        let loaded = place.surroundings.load().unwrap();
        assert_eq!((loaded.config.store.dir, loaded.config.gpu.enter), ("from-env".into(), 0.95));
        assert_eq!(place.origin("gpu.enter"), "OMNIMIND_GPU_ENTER");

        place.surroundings.store_flag = Some("from-flag".into());
        assert_eq!(place.surroundings.load().unwrap().config.store.dir, PathBuf::from("from-flag"));
        assert_eq!(place.origin("store.dir"), "--store");
    }

    #[test]
    fn without_a_file_the_usual_places_are_used() {
        let mut place = Place::new("");
        place.surroundings.config_flag = None;
        let loaded = place.surroundings.load().unwrap();
        assert_eq!(loaded.config.store.dir, PathBuf::from("/home/someone/.local/share/omnimind"));
        assert_eq!(loaded.file, None);
        let place = place.with("XDG_DATA_HOME", "/data").with("XDG_CONFIG_HOME", "/etc/xdg");
        let loaded = place.surroundings.load().unwrap();
        assert_eq!(loaded.config.store.dir, PathBuf::from("/data/omnimind"));
        assert_eq!(loaded.directory, PathBuf::from("/etc/xdg/omnimind"));
    }

    #[test]
    fn an_unknown_key_is_answered_with_the_nearest_known_one() {
        for (file, unknown, nearest) in [
            ("[gpu]\nentr = 0.9", "gpu.entr", "gpu.enter"),
            ("[classifer]\nthreshold = 0.9", "classifer", "classifier"),
            ("[classifier.weights]\ncrsh = 0.1", "classifier.weights.crsh", "classifier.weights.crash"),
            ("dir = \"x\"", "dir", "store.dir"),
            (
                "[oom_report.targets]\nooms_belo = 3",
                "oom_report.targets.ooms_belo",
                "oom_report.targets.ooms_below",
            ),
        ] {
            let message = Place::new(file).refusal();
            assert!(
                message.contains(&format!("\"{unknown}")) && message.contains(&format!("{nearest:?}")),
                "{message}"
            );
        }
        assert!(Place::new("[gpu]\nxyzzy = 1").refusal().contains("gpu.enter"));
        let variable = Place::new("").with("OMNIMIND_GPU_ENTR", "1").refusal();
        assert!(
            variable.contains("OMNIMIND_GPU_ENTR") && variable.contains("OMNIMIND_GPU_ENTER"),
            "{variable}"
        );
    }

    #[test]
    fn what_tests_are_told_is_no_setting() {
        let mut place = Place::new("");
        for name in ["OMNIMIND_SIMULATED_CARD", "OMNIMIND_WITNESS", "OMNIMIND_TEST", "OMNIMIND_TEST_RUN"] {
            place = place.with(name, "x");
        }
        assert!(place.surroundings.load().is_ok());
    }

    #[test]
    fn a_value_that_makes_no_sense_is_refused_with_its_key_and_origin() {
        for (file, word) in [
            ("[gpu]\nenter = \"high\"", "gpu.enter"),
            ("gpu = 3", "gpu"),
            ("[gpu]\nenter = 0.5", "leave"),
            ("[gpu]\ndevice = -1", "device"),
            ("[classifier]\nthreshold = 2", "threshold"),
            ("[compression]\nbound = \"rel=9\"", "rel=9"),
            ("[oom_report.targets]\nsuccess_above = 98", "success_above"),
            ("[oom_report.thresholds]\nlarge_share = 0", "large_share"),
            ("[gpu\n", "omnimind.toml"),
        ] {
            let message = Place::new(file).refusal();
            assert!(message.contains(word), "{file}: {message}");
        }
        let message = Place::new("").with("OMNIMIND_GPU_ENTER", "high").refusal();
        assert!(message.contains("OMNIMIND_GPU_ENTER"), "{message}");
        let mut place = Place::new("");
        place.surroundings.config_flag = Some("/nowhere/omnimind.toml".into());
        assert!(place.refusal().contains("/nowhere/omnimind.toml"));
    }
}
