//! The forms of the kernel's files, as they are read and written: nothing here knows what the numbers mean.

use std::fs;
use std::path::{Path, PathBuf};

pub(super) const KIB: u64 = 1 << 10;
/// What the kernel counts memory in.
pub(super) const PAGE_BYTES: u64 = 4 << 10;

pub(super) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(super) fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// The bytes of a line such as `VmRSS:  1024 kB`.
pub(super) fn kib_line(path: &Path, key: &str) -> u64 {
    let text = read(path);
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let number = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    number.unwrap_or_else(|| panic!("{} says no {key}", path.display())) * KIB
}

/// Puts another number into such a line; its width and all other lines stay.
pub(super) fn set_kib_line(path: &Path, key: &str, bytes: u64) {
    let text = read(path);
    let lines = text.lines().map(|line| {
        match line.strip_prefix(key).and_then(|rest| rest.strip_prefix(':')?.strip_suffix(" kB")) {
            Some(old) => format!("{key}:{:>width$} kB", bytes / KIB, width = old.len()),
            None => line.to_owned(),
        }
    });
    let text: String = lines.map(|line| line + "\n").collect();
    write(path, &text);
}

/// Moves such a number by so much, which may not become less than nothing.
pub(super) fn move_kib_line(path: &Path, key: &str, by: i64) {
    let moved = kib_line(path, key).checked_add_signed(by);
    set_kib_line(path, key, moved.unwrap_or_else(|| panic!("{}: {key} {by:+}", path.display())));
}

/// A limit, or an amount: a number of bytes, or `max`.
pub(super) fn amount(path: &Path) -> Option<u64> {
    let text = read(path);
    (text.trim() != "max").then(|| text.trim().parse().unwrap())
}

/// In whole pages, as the kernel keeps it.
pub(super) fn set_amount(path: &Path, bytes: Option<u64>) {
    let pages = |bytes: u64| bytes / PAGE_BYTES * PAGE_BYTES;
    write(path, &bytes.map_or("max\n".to_owned(), |bytes| format!("{}\n", pages(bytes))));
}

/// The directories in a directory, in the order of their names.
pub(super) fn directories(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    all.sort();
    all
}

/// All files below a directory, in the order of their paths.
pub(super) fn files(path: &Path, all: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() { files(&path, all) } else { all.push(path) }
    }
}
