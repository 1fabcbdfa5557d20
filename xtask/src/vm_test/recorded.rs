//! What a scenario recorded of the machine: files by their paths, as `omnimind` would have read them. They come over a wire, so
//! no name leads out of the directory into which they are written, and nothing is replaced but an older tree.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path};

use anyhow::{Context, Result, ensure};

/// A tree has some 70 files with five services; the line that it comes in limits their size.
const MOST_FILES: usize = 256;
const LONGEST_NAME: usize = 64;
const LONGEST_PATH: usize = 255;
/// Every tree has it, so a directory that has not is something else.
const MARK: &str = "proc/uptime";

/// The machine at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tree {
    pub(super) name: String,
    /// By path, relative to the root of the machine: below `proc` and `sys`.
    files: BTreeMap<String, String>,
}

impl Tree {
    /// One whose names may be trusted; or what is wrong with it, as the end of a sentence.
    pub(super) fn checked(name: String, files: BTreeMap<String, String>) -> Result<Self, String> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(plain) || name.starts_with('-') {
            return Err(format!("names a tree {name:?}, and names are of a-z, 0-9 and hyphens"));
        }
        if files.len() > MOST_FILES {
            return Err(format!("has {} files, and trees have at most {MOST_FILES}", files.len()));
        }
        if let Some(path) = files.keys().find(|path| !is_of_the_kernel(path)) {
            return Err(format!("has a file {path:?}, and those of trees are below proc and sys"));
        }
        if !files.contains_key(MARK) {
            return Err(format!("has no {MARK}, and every tree has"));
        }
        Ok(Self { name, files })
    }

    /// Writes it into a directory of its name; an older tree there is replaced.
    pub(super) fn write(&self, into: &Path) -> Result<()> {
        let root = into.join(&self.name);
        if root.exists() {
            let what = root.display();
            ensure!(root.join(MARK).exists(), "{what} is there and is no recorded machine; remove it first");
            fs::remove_dir_all(&root).with_context(|| format!("replacing {what}"))?;
        }
        for (path, text) in &self.files {
            let path = root.join(path);
            let directory = path.parent().unwrap_or(&root);
            fs::create_dir_all(directory).with_context(|| format!("creating {}", directory.display()))?;
            fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    }
}

fn is_of_the_kernel(path: &str) -> bool {
    let mut parts = Path::new(path).components();
    let first = parts.next();
    let known = ["proc", "sys"].iter().any(|root| first == Some(Component::Normal(root.as_ref())));
    let (mut deeper, mut plain) = (false, true);
    for part in parts {
        deeper = true;
        plain &= matches!(part, Component::Normal(_));
    }
    known && deeper && plain && path.len() <= LONGEST_PATH && !path.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn files(paths: &[&str]) -> BTreeMap<String, String> {
        paths.iter().chain(&[MARK]).map(|path| ((*path).to_owned(), format!("{path}\n"))).collect()
    }

    #[test]
    fn a_tree_is_written_as_it_came_and_replaces_an_older_one() {
        let directory = tempfile::tempdir().unwrap();
        let tree = |paths| Tree::checked("vm-1".to_owned(), files(paths)).unwrap();
        tree(&["proc/1/stat", "sys/old"]).write(directory.path()).unwrap();
        tree(&["sys/fs/cgroup/system.slice/a.service/memory.low"]).write(directory.path()).unwrap();
        let root = directory.path().join("vm-1");
        let low = root.join("sys/fs/cgroup/system.slice/a.service/memory.low");
        assert!(fs::read_to_string(low).unwrap().ends_with("memory.low\n"));
        assert!(!root.join("sys/old").exists() && !root.join("proc/1").exists());
    }

    #[test]
    fn what_is_no_tree_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("vm-1")).unwrap();
        let error = Tree::checked("vm-1".to_owned(), files(&[])).unwrap().write(directory.path());
        assert!(error.unwrap_err().to_string().contains("no recorded machine"));
        assert!(directory.path().join("vm-1").exists());
    }

    #[test]
    fn what_leads_out_of_the_tree_or_is_too_much_is_refused() {
        for name in ["", "..", ".", "a/b", "A", "-a", &"a".repeat(65)] {
            assert!(
                Tree::checked(name.to_owned(), files(&[])).unwrap_err().contains("names a tree"),
                "{name}"
            );
        }
        let long = format!("proc/{}", "a".repeat(LONGEST_PATH));
        for path in ["", "/proc/1/stat", "proc", "etc/passwd", "proc/../etc/passwd", "proc/a\nb", &*long] {
            let refused = Tree::checked("a".to_owned(), files(&[path])).unwrap_err();
            assert!(refused.contains("below proc and sys"), "{path}: {refused}");
        }
        let many: Vec<String> = (0..MOST_FILES).map(|number| format!("proc/{number}/stat")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(Tree::checked("a".to_owned(), files(&many)).unwrap_err().contains("at most 256"));
        assert!(Tree::checked("a".to_owned(), BTreeMap::new()).unwrap_err().contains("proc/uptime"));
    }

    proptest! {
        #[test]
        fn no_path_that_is_taken_leads_out(path in "(proc|sys|etc)?[a./]{0,12}") {
            if is_of_the_kernel(&path) {
                let joined = Path::new("/tree").join(&path);
                prop_assert!(joined.components().all(|part| part != Component::ParentDir));
                prop_assert!(joined.starts_with("/tree/proc") || joined.starts_with("/tree/sys"));
            }
        }
    }
}
