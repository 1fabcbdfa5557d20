//! What stands: each limit that was set, since when, and what was so before. Kept in a file, so that it can be taken back
//! after the daemon has ended, however it ended.
//!
//! A measure is written down before it is done. If the daemon dies in between, taking it back changes nothing.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::hands::Limit;
use crate::error::{Error, Result};

/// How long to wait for another process that is at work with the same file.
const PATIENCE: Duration = Duration::from_secs(5);

/// One limit that was set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measure {
    /// The unit.
    pub unit: String,
    /// Which limit.
    pub limit: Limit,
    /// What was set before, in bytes.
    pub before: Option<u64>,
    /// What was set, in bytes.
    pub now: Option<u64>,
    /// What it may be instead, in bytes, because taking it back failed half-way. Mostly empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub or: Vec<Option<u64>>,
    /// When it was first set, in seconds since 1970.
    pub since_unix_s: u64,
    /// Why.
    pub reason: String,
}

/// All that stands.
///
/// As long as it is open, no other process opens the same file: open it for a round of work, not for good.
#[derive(Debug)]
pub struct Measures {
    kept: Vec<Measure>,
    file: Option<Kept>,
}

#[derive(Debug)]
struct Kept {
    path: PathBuf,
    /// Its lock is what keeps others out; it goes with the file.
    _lock: File,
}

/// The file's content.
#[derive(Serialize, Deserialize)]
struct Content {
    v: u32,
    measures: Vec<Measure>,
}

/// The version of the file.
const VERSION: u32 = 1;

impl Measures {
    /// Kept nowhere: what stands is forgotten with it.
    #[must_use]
    pub fn in_memory() -> Self {
        Self { kept: Vec::new(), file: None }
    }

    /// Those in this file; none if it is not there. Its directory must be.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if it cannot be read or written, is not such a file, or if another process has had it open for five
    /// seconds.
    pub fn open(path: &Path) -> Result<Self> {
        let what = || format!("the file of measures {}", path.display());
        let next = "check that its directory is there and writable, or name another with --state";
        let lock =
            File::create(beside(path, ".lock")).map_err(|error| Error::refused(what(), error, next))?;
        let mut waited = Duration::ZERO;
        while let Err(error) = lock.try_lock() {
            if waited >= PATIENCE || matches!(error, fs::TryLockError::Error(_)) {
                return Err(Error::refused(
                    what(),
                    error,
                    "another process applies measures: try again when it is done",
                ));
            }
            let pause = Duration::from_millis(20);
            std::thread::sleep(pause);
            waited += pause;
        }
        let kept = Self::read(path)?;
        Ok(Self { kept, file: Some(Kept { path: path.to_owned(), _lock: lock }) })
    }

    /// Those in this file, only to be looked at: waits for nobody, needs no right to write.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if it cannot be read or is not such a file.
    pub fn read(path: &Path) -> Result<Vec<Measure>> {
        let what = || format!("the file of measures {}", path.display());
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::refused(what(), error, "check who may read it")),
        };
        let next = "it was written by something else: look at it, take back what it names with `systemctl revert`, and remove it";
        let content: Content =
            serde_json::from_slice(&bytes).map_err(|error| Error::refused(what(), error, next))?;
        if content.v != VERSION {
            return Err(Error::refused(what(), format!("its version {} is not {VERSION}", content.v), next));
        }
        Ok(content.measures)
    }

    /// What stands, the oldest first.
    #[must_use]
    pub fn standing(&self) -> &[Measure] {
        &self.kept
    }

    /// That of this unit and limit.
    #[must_use]
    pub fn find(&self, unit: &str, limit: Limit) -> Option<&Measure> {
        self.kept.iter().find(|measure| measure.unit == unit && measure.limit == limit)
    }

    /// Notes that a limit is about to be set. What was so before the first time is kept.
    pub(super) fn note(
        &mut self,
        unit: &str,
        limit: Limit,
        (before, now): (Option<u64>, Option<u64>),
        reason: &str,
    ) -> Result<()> {
        let found = self.kept.iter_mut().find(|measure| measure.unit == unit && measure.limit == limit);
        if let Some(measure) = found {
            measure.now = now;
            reason.clone_into(&mut measure.reason);
        } else {
            let since_unix_s =
                SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            let (unit, reason) = (unit.to_owned(), reason.to_owned());
            self.kept.push(Measure { unit, limit, before, now, or: Vec::new(), since_unix_s, reason });
        }
        self.save()
    }

    /// Taking it back to this failed half-way: it may be that now, or not.
    pub(super) fn doubt(&mut self, unit: &str, limit: Limit, bytes: Option<u64>) -> Result<()> {
        let found = self.kept.iter_mut().find(|measure| measure.unit == unit && measure.limit == limit);
        match found {
            Some(measure) if measure.or.contains(&bytes) => return Ok(()),
            Some(measure) => measure.or.push(bytes),
            None => return Ok(()),
        }
        self.save()
    }

    /// It does not stand any more.
    pub(super) fn forget(&mut self, unit: &str, limit: Limit) -> Result<()> {
        self.kept.retain(|measure| measure.unit != unit || measure.limit != limit);
        self.save()
    }

    /// Puts this unit's limit to what was noted of it earlier.
    pub(super) fn restore(&mut self, unit: &str, limit: Limit, earlier: Option<Measure>) -> Result<()> {
        let place = self.kept.iter().position(|measure| measure.unit == unit && measure.limit == limit);
        match (place, earlier) {
            (Some(place), Some(earlier)) => self.kept[place] = earlier,
            (Some(place), None) => drop(self.kept.remove(place)),
            (None, Some(earlier)) => self.kept.push(earlier),
            (None, None) => return Ok(()),
        }
        self.save()
    }

    fn save(&self) -> Result<()> {
        let Some(Kept { path, .. }) = &self.file else { return Ok(()) };
        let content = Content { v: VERSION, measures: self.kept.clone() };
        let write = || -> std::io::Result<()> {
            let temporary = beside(path, ".new");
            let mut file = File::create(&temporary)?;
            serde_json::to_writer_pretty(&mut file, &content)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&temporary, path)
        };
        write().map_err(|error| {
            let next = "free space or name another file with --state; nothing is set that cannot be noted";
            Error::refused(format!("the file of measures {}", path.display()), error, next)
        })
    }
}

/// The path with this at its end.
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_is_there_after_a_restart_with_what_was_so_before_the_first_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("measures.json");
        {
            let mut measures = Measures::open(&path).unwrap();
            assert!(measures.standing().is_empty());
            measures.note("a.service", Limit::MemoryHigh, (None, Some(100)), "first").unwrap();
            measures.note("a.service", Limit::MemoryHigh, (Some(100), Some(50)), "second").unwrap();
            measures.note("b.service", Limit::MemoryLow, (Some(0), Some(7)), "").unwrap();
            measures.forget("b.service", Limit::MemoryLow).unwrap();
        }
        let measures = Measures::open(&path).unwrap();
        let [measure] = measures.standing() else { panic!("{measures:?}") };
        assert_eq!((measure.before, measure.now), (None, Some(50)));
        assert_eq!(measure.reason, "second");
    }

    #[test]
    fn something_else_in_its_place_is_refused_and_left_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("measures.json");
        for content in ["not json", "{\"v\":9,\"measures\":[]}", "[]", ""] {
            fs::write(&path, content).unwrap();
            assert!(Measures::open(&path).unwrap_err().to_string().contains("systemctl revert"));
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
    }

    #[test]
    fn a_directory_that_is_not_there_is_said_with_what_to_do() {
        let error = Measures::open(Path::new("/nowhere/measures.json")).unwrap_err().to_string();
        assert!(error.contains("--state"), "{error}");
    }
}
