//! A machine that is a copy of a recorded tree and reacts as a kernel and systemd would: what is done to it is done to its
//! files, and what is seen of it is read from them. So the loop of looking, deciding and doing closes without a kernel.
//!
//! - [`files`]: the forms of the kernel's files.
//! - [`kernel`]: who is swapped when memory is short, and what time does to pressure.
//! - [`hands`]: what systemd and the kernel do when they are told, and how they fail.
//!
//! Nothing but systemd's own properties and the faults to come is kept beside the files.

pub(super) mod files;
mod hands;
mod kernel;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use systemd_policy::act::Limit;
use systemd_policy::{Observer, Roots};

pub(super) const MIB: u64 = 1 << 20;

const LIMITS: [Limit; 4] = [Limit::MemoryLow, Limit::MemoryHigh, Limit::MemoryMax, Limit::MemorySwapMax];

/// The machine. A clone is the same one.
#[derive(Clone)]
pub(super) struct Machine(Rc<State>);

struct State {
    directory: tempfile::TempDir,
    /// What systemd has been told, which is not rounded to pages as the files are.
    set: RefCell<BTreeMap<(String, Limit), Option<u64>>>,
    /// Whether systemd cannot be asked.
    is_bus_away: Cell<bool>,
    /// The unit that dies, and how many calls it lives to see.
    dies: RefCell<Option<(String, u32)>>,
    /// How long tasks have waited for memory since time last passed.
    stalled: Cell<Duration>,
    /// What is pushed in, by somebody who uses it all the time and is the first to be killed.
    pushed_bytes: Cell<u64>,
    oom_kills: Cell<u32>,
}

/// The tree of this name.
pub(crate) fn tree(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trees").join(name)
}

impl Machine {
    /// A copy of a recorded tree.
    pub(crate) fn of(name: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (original, mut all) = (tree(name), Vec::new());
        files::files(&original, &mut all);
        for path in all {
            let copy = directory.path().join(path.strip_prefix(&original).unwrap());
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(path, copy).unwrap();
        }
        Self(Rc::new(State {
            directory,
            set: RefCell::default(),
            is_bus_away: Cell::new(false),
            dies: RefCell::default(),
            stalled: Cell::default(),
            pushed_bytes: Cell::default(),
            oom_kills: Cell::default(),
        }))
    }

    pub(crate) fn observer(&self) -> Observer {
        Observer::new(self.roots())
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots::below(self.0.directory.path())
    }

    /// From now on systemd cannot be asked, or can again.
    pub(crate) fn set_bus_away(&self, is_away: bool) {
        self.0.is_bus_away.set(is_away);
    }

    /// The unit dies when it is next touched after so many calls: between a look and a deed.
    pub(crate) fn dies_after(&self, unit: &str, calls: u32) {
        *self.0.dies.borrow_mut() = Some((unit.to_owned(), calls));
    }

    /// Whether a death that was to come has not come yet.
    pub(crate) fn awaits_a_death(&self) -> bool {
        self.0.dies.borrow().is_some()
    }

    /// The unit's processes end, and systemd removes its cgroup.
    pub(crate) fn end(&self, unit: &str) {
        let Some(group) = self.group(unit) else { return };
        for pid in self.pids(unit) {
            let status = self.status(pid);
            self.move_available(files::kib_line(&status, "RssAnon").cast_signed());
            self.move_swap_free(files::kib_line(&status, "VmSwap").cast_signed());
            fs::remove_dir_all(status.parent().unwrap()).unwrap();
        }
        fs::remove_dir_all(group).unwrap();
        self.0.set.borrow_mut().retain(|(other, _), _| other != unit);
    }

    /// How often somebody was killed for want of memory.
    pub(crate) fn oom_kills(&self) -> u32 {
        self.0.oom_kills.get()
    }

    /// Resident memory of a unit's processes, in bytes.
    pub(crate) fn rss(&self, unit: &str) -> u64 {
        self.sum(unit, "VmRSS")
    }

    /// Swapped memory of a unit's processes, in bytes.
    pub(crate) fn swapped(&self, unit: &str) -> u64 {
        self.sum(unit, "VmSwap")
    }

    /// The limits that the kernel has for a unit, byte for byte; `None` if it is gone.
    pub(crate) fn limits(&self, unit: &str) -> Option<Vec<(&'static str, String)>> {
        let group = self.group(unit)?;
        Some(LIMITS.map(Limit::file).map(|file| (file, files::read(&group.join(file)))).into())
    }

    /// Gives a slice protection to pass on, as an operator may.
    pub(crate) fn protect_slice(&self, slice: &str, bytes: u64) {
        files::set_amount(&self.roots().cgroup.join(slice).join("memory.low"), Some(bytes));
    }

    /// All processes.
    pub(crate) fn processes(&self) -> BTreeSet<u32> {
        let directories = files::directories(&self.roots().proc);
        directories.iter().filter_map(|path| path.file_name()?.to_str()?.parse().ok()).collect()
    }

    /// All files with what they say.
    pub(crate) fn content(&self) -> BTreeMap<PathBuf, String> {
        let mut all = Vec::new();
        files::files(self.0.directory.path(), &mut all);
        all.into_iter().map(|path| (path.clone(), files::read(&path))).collect()
    }

    /// The units of the tree.
    fn units(&self) -> Vec<String> {
        let groups = files::directories(&self.slice());
        groups.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
    }

    fn slice(&self) -> PathBuf {
        self.roots().cgroup.join("system.slice")
    }

    /// The unit's cgroup; `None` if it is gone.
    fn group(&self, unit: &str) -> Option<PathBuf> {
        Some(self.slice().join(unit)).filter(|path| path.is_dir())
    }

    fn pids(&self, unit: &str) -> Vec<u32> {
        let Some(group) = self.group(unit) else { return Vec::new() };
        files::read(&group.join("cgroup.procs")).lines().map(|line| line.parse().unwrap()).collect()
    }

    fn status(&self, pid: u32) -> PathBuf {
        self.roots().proc.join(pid.to_string()).join("status")
    }

    fn sum(&self, unit: &str, key: &str) -> u64 {
        self.pids(unit).into_iter().map(|pid| files::kib_line(&self.status(pid), key)).sum()
    }
}
