//! What was done before: the measures that stand, and beside them what was done lately and is not to be done again at once. Both
//! lie where a restart of the machine empties, as it ends all measures.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use systemd_policy::act::{Limit, Measure, Measures};
use systemd_policy::{Action, Config, Recommendation, Standing};

use super::failure;
use crate::args;
use crate::failure::Failure;

/// Where the measures of one user, or of the system, are written down.
pub(super) struct State {
    measures: PathBuf,
}

impl State {
    pub(super) fn of_system() -> Self {
        Self { measures: "/run/omnimind/measures.json".into() }
    }

    pub(super) fn of(args: &args::Whose) -> Result<Self, Failure> {
        if let Some(path) = &args.state {
            return Ok(Self { measures: path.clone() });
        }
        if !args.user {
            return Ok(Self::of_system());
        }
        let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
        let runtime = runtime.ok_or_else(|| {
            Failure::Usage(
                "XDG_RUNTIME_DIR is not set, as it is in a session; name a file with --state".to_owned(),
            )
        })?;
        Ok(Self { measures: runtime.join("omnimind/measures.json") })
    }

    pub(super) fn path(&self) -> &Path {
        &self.measures
    }

    /// Makes the directory, which must be there before anything is written down.
    pub(super) fn make_directory(&self) -> Result<(), Failure> {
        let directory = self.measures.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(directory).map_err(|error| {
            Failure::Refused(format!(
                "{directory:?}: {error}; run it as root, with --user for services of your own, or name a file with --state"
            ))
        })
    }

    /// What stands, only to be looked at.
    pub(super) fn measures(&self) -> Result<Vec<Measure>, Failure> {
        Measures::read(&self.measures).map_err(failure)
    }

    /// What was done before, so that it is not done again at once. `now` is since the system was started.
    pub(super) fn standing(&self, now: Duration) -> Result<Vec<Standing>, Failure> {
        let lately = fs::read(self.lately()).unwrap_or_default();
        // What nobody can read was not done lately.
        let lately: Vec<Standing> = serde_json::from_slice(&lately).unwrap_or_default();
        Ok(merged(lately, &self.measures()?, now, unix_now()))
    }

    /// Writes down what was done lately, for the next call.
    pub(super) fn remember(&self, standing: &[Standing]) -> io::Result<()> {
        let new = self.measures.with_extension("new");
        fs::write(&new, serde_json::to_vec(standing)?)?;
        fs::rename(new, self.lately())
    }

    /// Whether anything was ever written down.
    pub(super) fn is_there(&self) -> bool {
        self.measures.parent().is_some_and(Path::exists)
    }

    /// Removes all that was written down, with locks and what was half written, and the directory unless others keep something
    /// there.
    pub(super) fn remove(&self) -> Result<(), Failure> {
        let (Some(directory), Some(stem)) = (self.measures.parent(), self.measures.file_stem()) else {
            return Ok(());
        };
        let remove = || -> io::Result<()> {
            for entry in fs::read_dir(directory)? {
                let path = entry?.path();
                let begins = path
                    .file_name()
                    .and_then(|name| name.as_encoded_bytes().strip_prefix(stem.as_encoded_bytes()));
                if begins.is_some_and(|rest| rest.starts_with(b".")) {
                    fs::remove_file(path)?;
                }
            }
            match fs::remove_dir(directory) {
                Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => Err(error),
                _ => Ok(()),
            }
        };
        remove().map_err(|error| {
            Failure::Refused(format!("{directory:?}: {error}; run it as root, or remove it by hand"))
        })
    }

    fn lately(&self) -> PathBuf {
        self.measures.with_extension("lately.json")
    }
}

/// What was done lately, with what stands and without what does not.
fn merged(
    mut lately: Vec<Standing>,
    measures: &[Measure],
    now: Duration,
    unix_now: Duration,
) -> Vec<Standing> {
    let stands = |noted: &Standing| {
        let is_it =
            |measure: &Measure| measure.unit == noted.service && lasting(measure.limit) == noted.action;
        measures.iter().any(is_it)
    };
    lately.retain(|noted| noted.since <= now && (!noted.action.lasts() || stands(noted)));
    for measure in measures {
        let action = lasting(measure.limit);
        if !lately.iter().any(|noted| noted.service == measure.unit && noted.action == action) {
            let ago = unix_now.saturating_sub(Duration::from_secs(measure.since_unix_s));
            lately.push(Standing {
                service: measure.unit.clone(),
                action,
                bytes: measure.now.unwrap_or(u64::MAX),
                since: now.saturating_sub(ago),
            });
        }
    }
    lately
}

/// What is to be taken back because its unit is not configured any more.
pub(super) fn leftovers(measures: &[Measure], config: &Config) -> Vec<Recommendation> {
    let mut left: Vec<Recommendation> = Vec::new();
    for measure in measures.iter().filter(|measure| !config.services.contains_key(&measure.unit)) {
        if left.iter().all(|other| other.service != measure.unit) {
            left.push(Recommendation {
                service: measure.unit.clone(),
                action: Action::Lift,
                bytes: 0,
                reason: "it is not configured any more".to_owned(),
            });
        }
    }
    left
}

fn lasting(limit: Limit) -> Action {
    match limit {
        Limit::MemoryLow => Action::Protect,
        Limit::MemorySwapMax => Action::KeepOutOfSwap,
        Limit::MemoryHigh | Limit::MemoryMax => Action::Limit,
    }
}

fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(service: &str, action: Action, since_s: u64) -> Standing {
        Standing { service: service.to_owned(), action, bytes: 1, since: Duration::from_secs(since_s) }
    }

    fn measure(unit: &str, limit: Limit, since_unix_s: u64) -> Measure {
        let (unit, reason) = (unit.to_owned(), String::new());
        Measure { unit, limit, before: None, now: Some(7), or: Vec::new(), since_unix_s, reason }
    }

    #[test]
    fn only_what_still_stands_counts_as_standing() {
        let lately = vec![
            noted("a.service", Action::Limit, 10),
            noted("a.service", Action::Reclaim, 20),
            noted("b.service", Action::Limit, 30),
            noted("later.service", Action::Reclaim, 101),
        ];
        let measures =
            [measure("b.service", Limit::MemoryHigh, 900), measure("c.service", Limit::MemorySwapMax, 960)];
        let seconds = Duration::from_secs;
        let merged = merged(lately, &measures, seconds(100), seconds(1000));
        let mut taken_over = noted("c.service", Action::KeepOutOfSwap, 60);
        taken_over.bytes = 7;
        let expected =
            [noted("a.service", Action::Reclaim, 20), noted("b.service", Action::Limit, 30), taken_over];
        assert_eq!(merged, expected);
    }

    #[test]
    fn what_is_not_configured_any_more_is_taken_back_once() {
        let measures = [
            measure("omnimind.service", Limit::MemoryLow, 0),
            measure("gone.service", Limit::MemoryLow, 0),
            measure("gone.service", Limit::MemoryHigh, 0),
        ];
        let left = leftovers(&measures, &Config::default());
        assert_eq!(left.len(), 1);
        assert_eq!((left[0].service.as_str(), left[0].action), ("gone.service", Action::Lift));
    }

    #[test]
    fn what_was_done_is_remembered_until_the_next_call() {
        let dir = tempfile::tempdir().unwrap();
        let state = State { measures: dir.path().join("deep/measures.json") };
        assert!(state.standing(Duration::ZERO).unwrap().is_empty());
        state.make_directory().unwrap();
        let done = [noted("a.service", Action::Reclaim, 5)];
        state.remember(&done).unwrap();
        assert_eq!(state.standing(Duration::from_secs(9)).unwrap(), done);
        fs::write(state.lately(), "{").unwrap();
        assert!(state.standing(Duration::from_secs(9)).unwrap().is_empty());
    }

    #[test]
    fn what_is_removed_leaves_no_trace_but_what_others_keep_there() {
        let dir = tempfile::tempdir().unwrap();
        let state = State { measures: dir.path().join("deep/measures.json") };
        assert!(!state.is_there());
        for others in [None, Some("release")] {
            state.make_directory().unwrap();
            drop(Measures::open(state.path()).unwrap());
            fs::write(state.path(), "").unwrap();
            state.remember(&[noted("a.service", Action::Reclaim, 5)]).unwrap();
            let deep = dir.path().join("deep");
            if let Some(name) = others {
                fs::write(deep.join(name), "").unwrap();
            }
            state.remove().unwrap();
            let left = fs::read_dir(deep).map_or(0, Iterator::count);
            assert_eq!((state.is_there(), left), (others.is_some(), usize::from(others.is_some())));
        }
    }
}
