//! Files of a unit's cgroup: what is in effect, its processes, reclaiming.

use std::fs;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use super::hands::{InEffect, Limit};
use crate::error::{Error, Result};

/// How much is reclaimed with one write: the kernel does not come back before it is done.
const CHUNK_BYTES: u64 = 64 << 20;

/// How long reclaiming may take in all.
const PATIENCE: Duration = Duration::from_secs(5);

/// A cgroup, with the root that it is below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cgroup {
    root: PathBuf,
    /// Relative to the root.
    path: PathBuf,
}

impl Cgroup {
    /// The cgroup with the path that systemd names (`/system.slice/a.service`).
    pub(super) fn new(root: &Path, control_group: &str) -> Result<Self> {
        let refused =
            |reason: &str, next: &str| Error::refused(format!("the cgroup {control_group}"), reason, next);
        if !root.join("cgroup.controllers").exists() {
            let next =
                "boot with systemd.unified_cgroup_hierarchy=1, or give the container a cgroup v2 of its own";
            return Err(refused("this is not cgroup v2, so what takes effect cannot be seen", next));
        }
        let path = PathBuf::from(control_group.trim_start_matches('/'));
        let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        if !plain || path.as_os_str().is_empty() {
            return Err(refused(
                "this is not the cgroup of a unit",
                "report it: systemd should name one below its root",
            ));
        }
        Ok(Self { root: root.to_owned(), path })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.root.join(&self.path).join(name)
    }

    pub(super) fn exists(&self) -> bool {
        self.root.join(&self.path).is_dir()
    }

    /// What the kernel has. For `memory.low`: what its ancestors leave of it, for a child is protected only as far as they are.
    pub(super) fn in_effect(&self, limit: Limit) -> Result<InEffect> {
        let own = read_limit(&self.file(limit.file()))?;
        if limit != Limit::MemoryLow || own == Some(0) {
            return Ok(InEffect::Now(own));
        }
        let mut ancestor = self.path.as_path();
        while let Some(parent) = ancestor.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            let granted = read_limit(&self.root.join(parent).join(limit.file()))?;
            if let Some(bytes) = granted.filter(|bytes| own.is_none_or(|own| *bytes < own)) {
                return Ok(InEffect::Weakened { ancestor: parent.display().to_string(), bytes });
            }
            ancestor = parent;
        }
        Ok(InEffect::Now(own))
    }

    /// `memory.current`, in bytes.
    pub(super) fn memory_bytes(&self) -> Result<u64> {
        read_limit(&self.file("memory.current")).map(Option::unwrap_or_default)
    }

    /// The processes in it and below it.
    pub(super) fn pids(&self) -> Vec<u32> {
        let mut pids = Vec::new();
        let mut directories = vec![self.root.join(&self.path)];
        while let Some(directory) = directories.pop() {
            // What is gone by now has no processes.
            let procs = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            pids.extend(procs.lines().filter_map(|line| line.parse::<u32>().ok()));
            let below = fs::read_dir(&directory).into_iter().flatten().flatten();
            directories.extend(
                below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path()),
            );
        }
        pids
    }

    /// Reclaims so much, or as much as goes within five seconds. `false` if the kernel (before 5.19) cannot.
    pub(super) fn reclaim(&self, bytes: u64) -> Result<bool> {
        let path = self.file("memory.reclaim");
        let began = Instant::now();
        let mut left = bytes;
        while left > 0 && began.elapsed() < PATIENCE {
            let chunk = left.min(CHUNK_BYTES);
            let written = fs::OpenOptions::new()
                .write(true)
                .open(&path)
                .and_then(|mut file| file.write_all(chunk.to_string().as_bytes()));
            match written {
                Ok(()) => left -= chunk,
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.exists() => return Ok(false),
                // There is no more to reclaim than has been.
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => break,
                Err(error) => {
                    let next = "run as root; in a unit of systemd, with ProtectControlGroups=no";
                    return Err(Error::refused(format!("writing {}", path.display()), error, next));
                }
            }
        }
        Ok(true)
    }
}

/// A number of bytes, or `max`.
fn read_limit(path: &Path) -> Result<Option<u64>> {
    let observed = |reason: String| Error::Observed { path: path.to_owned(), reason };
    let text = fs::read_to_string(path).map_err(|error| observed(error.to_string()))?;
    match text.trim() {
        "max" => Ok(None),
        number => {
            number.parse().map(Some).map_err(|_| observed(format!("{number:?} is neither a number nor max")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    #[test]
    fn a_child_is_protected_only_as_far_as_its_slice_is() {
        let files = [
            ("cgroup.controllers", "memory"),
            ("memory.low", "nothing is read here: the root has no such file"),
            ("system.slice/memory.low", "4096\n"),
            ("system.slice/a.service/memory.low", "8192\n"),
            ("system.slice/b.service/memory.low", "4096\n"),
            ("a.service/memory.low", "max\n"),
        ];
        let root = tree(&files);
        let of = |path| Cgroup::new(root.path(), path).unwrap().in_effect(Limit::MemoryLow).unwrap();
        let weakened = InEffect::Weakened { ancestor: "system.slice".to_owned(), bytes: 4096 };
        assert_eq!(of("/system.slice/a.service"), weakened);
        assert_eq!(of("/system.slice/b.service"), InEffect::Now(Some(4096)));
        assert_eq!(of("/a.service"), InEffect::Now(None));
    }

    #[test]
    fn cgroup_v1_and_what_is_no_unit_are_refused() {
        let v1 = tree(&[("memory/tasks", "")]);
        let error = Cgroup::new(v1.path(), "/a.service").unwrap_err().to_string();
        assert!(error.contains("unified_cgroup_hierarchy"), "{error}");
        let root = tree(&[("cgroup.controllers", "")]);
        for path in ["", "/", "/../etc", "/a/../../b"] {
            assert!(Cgroup::new(root.path(), path).is_err(), "{path}");
        }
    }

    #[test]
    fn processes_are_found_in_all_cgroups_of_a_unit() {
        let files =
            [("cgroup.controllers", ""), ("a/cgroup.procs", "7\n"), ("a/b/c/cgroup.procs", "9\n11\n")];
        let root = tree(&files);
        assert_eq!(Cgroup::new(root.path(), "/a").unwrap().pids(), [7, 9, 11]);
    }

    #[test]
    fn reclaiming_goes_in_chunks_and_says_if_the_kernel_cannot() {
        let root = tree(&[("cgroup.controllers", ""), ("a/memory.reclaim", ""), ("b/memory.current", "3")]);
        let a = Cgroup::new(root.path(), "/a").unwrap();
        assert!(a.reclaim(CHUNK_BYTES + 5).unwrap());
        // The second chunk is written over the first, as to the kernel's file.
        assert!(fs::read_to_string(root.path().join("a/memory.reclaim")).unwrap().starts_with('5'));
        let b = Cgroup::new(root.path(), "/b").unwrap();
        assert!(!b.reclaim(1).unwrap());
        assert_eq!(b.memory_bytes().unwrap(), 3);
    }
}
