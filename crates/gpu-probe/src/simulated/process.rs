//! Whether a process is the one that was meant: a number is used again, a number with the time at which the process began is not.

use std::fs;
use std::path::Path;

/// When a process began, in clock ticks since the machine did (field 22 of `proc_root/PID/stat`). `None` for one that ended,
/// also if nobody has waited for it yet: it holds nothing any more.
pub(super) fn started(proc_root: &Path, pid: u32) -> Option<u64> {
    let stat = fs::read(proc_root.join(pid.to_string()).join("stat")).ok()?;
    // The name comes second, in brackets, and may hold anything, also brackets and spaces.
    let after_name = stat.iter().rposition(|&byte| byte == b')')? + 1;
    let mut fields = str::from_utf8(&stat[after_name..]).ok()?.split_ascii_whitespace();
    let state = fields.next()?;
    let has_ended = matches!(state, "Z" | "X" | "x");
    // The state is field 3, and 18 more lie between the two.
    if has_ended { None } else { fields.nth(18)?.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(test: &str, stat: &[u8]) -> Option<u64> {
        let root = std::env::temp_dir().join(format!("gpu-probe-{}-{test}", std::process::id()));
        fs::create_dir_all(root.join("42")).unwrap();
        fs::write(root.join("42/stat"), stat).unwrap();
        let found = started(&root, 42);
        fs::remove_dir_all(root).unwrap();
        found
    }

    #[test]
    fn the_time_is_found_whatever_the_name_is() {
        let stat = b"42 (a) b (Z \xff) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 987654 20 21";
        assert_eq!(recorded("name", stat), Some(987_654));
    }

    #[test]
    fn one_that_ended_and_one_that_is_not_there_have_none() {
        let stat = b"42 (a) Z 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 987654 20 21";
        assert_eq!(recorded("zombie", stat), None);
        assert_eq!(recorded("short", b"42 (a) S 1 2"), None);
        assert_eq!(recorded("garbage", b"\xff\xff"), None);
        assert_eq!(started(Path::new("/nowhere"), 42), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_very_process_has_begun() {
        assert!(started(Path::new("/proc"), std::process::id()).is_some());
    }
}
