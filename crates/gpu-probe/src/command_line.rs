//! How a process was started: its command line as the system keeps it, made fit to be shown. Only where it is surely that of
//! the process meant: inside a container a driver may count processes as the host does, and the same number is then somebody
//! else here.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// Most bytes of a command line that are read.
const READ_BYTES: u64 = 4096;
/// Most characters of it that are kept.
const KEPT_CHARS: usize = 256;
/// The system keeps so many bytes of a name.
const SHORT_NAME_BYTES: usize = 15;

/// The command line of a process under `proc_root` (`/proc`), its arguments joined by spaces: at most 256 characters, then
/// `…`; what is no UTF-8 is replaced, and characters that would move a terminal's cursor or turn its text around are escaped.
///
/// `name` is what the driver calls the process, a path or a name. `None` unless that fits what runs under this number here,
/// and where the system does not let it be read.
#[must_use]
pub fn command_line(proc_root: &Path, pid: u32, name: &str) -> Option<String> {
    let folder = proc_root.join(pid.to_string());
    let mut bytes = Vec::new();
    File::open(folder.join("cmdline")).ok()?.take(READ_BYTES).read_to_end(&mut bytes).ok()?;
    let arguments: Vec<_> =
        bytes.split(|&byte| byte == 0).map(String::from_utf8_lossy).filter(|text| !text.is_empty()).collect();
    let here = fs::read_to_string(folder.join("comm")).unwrap_or_default();
    let program = fs::read_link(folder.join("exe")).unwrap_or_default();
    let meant = file_name(name);
    let fits = !meant.is_empty()
        && (arguments.first().is_some_and(|first| file_name(first) == meant)
            || here.trim_end_matches('\n') == cut(meant, SHORT_NAME_BYTES)
            || program.file_name().is_some_and(|file| file == meant));
    // A process of the kernel, and one that is about to end, have none.
    (fits && !arguments.is_empty()).then(|| presentable(&arguments.join(" ")))
}

/// A text that others chose, made fit to be shown: at most 256 characters, nothing that a terminal would obey.
pub(crate) fn presentable(text: &str) -> String {
    let mut shown = String::new();
    let mut characters = text.trim().chars();
    for character in characters.by_ref().take(KEPT_CHARS) {
        if is_harmful(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    if characters.next().is_some() {
        shown.push('…');
    }
    shown
}

/// Control characters, and those that turn the direction of the text around them.
fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What follows the last folder. A name in which the driver wrote arguments too ends before them.
fn file_name(path: &str) -> &str {
    let path = path.split(" -").next().unwrap_or(path).trim();
    path.rsplit('/').next().unwrap_or(path)
}

/// The beginning of a text, without cutting a character.
fn cut(text: &str, most_bytes: usize) -> &str {
    let end = (0..=most_bytes.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A recorded `/proc` with one process, removed when dropped.
    struct Recorded(std::path::PathBuf);

    impl Recorded {
        fn new(test: &str, cmdline: &[u8], comm: &str) -> Self {
            let root = std::env::temp_dir().join(format!("gpu-probe-{}-{test}", std::process::id()));
            fs::create_dir_all(root.join("42")).unwrap();
            fs::write(root.join("42/cmdline"), cmdline).unwrap();
            fs::write(root.join("42/comm"), format!("{comm}\n")).unwrap();
            Self(root)
        }
    }

    impl Drop for Recorded {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    #[test]
    fn a_process_that_fits_its_name_says_how_it_was_started() {
        // R31
        let proc = Recorded::new("fits", b"/usr/bin/python3\0train.py\0--rate\x000.1\0", "python3");
        for name in ["/usr/bin/python3", "python3", "/usr/bin/python3 --rate 0.1"] {
            let line = command_line(&proc.0, 42, name);
            assert_eq!(line.as_deref(), Some("/usr/bin/python3 train.py --rate 0.1"), "{name}");
        }
    }

    #[test]
    fn a_number_that_is_somebody_else_here_says_nothing() {
        let proc = Recorded::new("other", b"/usr/sbin/sshd\0-D\0", "sshd");
        assert_eq!(command_line(&proc.0, 42, "/usr/bin/python3"), None);
        assert_eq!(command_line(&proc.0, 42, ""), None);
        assert_eq!(command_line(&proc.0, 43, "sshd"), None);
    }

    #[test]
    fn a_process_that_renamed_itself_is_known_by_the_name_that_the_system_keeps() {
        let proc = Recorded::new("renamed", b"ray::train_step()\0", "a-rather-long-n");
        let line = command_line(&proc.0, 42, "/opt/a-rather-long-name");
        assert_eq!(line.as_deref(), Some("ray::train_step()"));
    }

    #[test]
    fn a_hostile_command_line_is_cut_and_obeyed_by_no_terminal() {
        let mut hostile = b"evil\0\x1b[2J\xff\xfe\0a\nb\0".to_vec();
        hostile.extend("\u{202e}".as_bytes());
        hostile.extend(vec![b'x'; 1 << 20]);
        let proc = Recorded::new("hostile", &hostile, "evil");
        let line = command_line(&proc.0, 42, "evil").unwrap();
        assert!(line.starts_with("evil \\u{1b}[2J\u{fffd}\u{fffd} a\\nb \\u{202e}xxx"), "{line}");
        assert!(line.ends_with("x…") && line.chars().count() < 300, "{line}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_very_process_is_known_to_the_system() {
        let own = std::env::current_exe().unwrap();
        let line = command_line(Path::new("/proc"), std::process::id(), &own.to_string_lossy()).unwrap();
        assert!(!line.is_empty());
    }

    proptest! {
        #[test]
        fn whatever_is_shown_is_short_and_obeyed_by_no_terminal(text in ".{0,400}") {
            let shown = presentable(&text);
            prop_assert!(!shown.chars().any(is_harmful));
            prop_assert!(shown.chars().count() <= 10 * KEPT_CHARS + 1);
            prop_assert_eq!(file_name(&text).contains('/'), false);
        }
    }
}
