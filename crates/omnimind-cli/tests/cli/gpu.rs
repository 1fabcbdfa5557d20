//! `gpu` and `place` as they are met: once, as lines, watched, and asked for what they cannot do.

use std::io::{BufRead, BufReader};
#[cfg(unix)]
use std::io::{Read, Write};
use std::process::Stdio;

use serde_json::Value;

use crate::sandbox::{Sandbox, assert_seen};

#[test]
fn two_cards_are_told_with_all_they_report_and_who_holds_them() {
    // R28, R31
    let sandbox = Sandbox::new();
    assert_seen!(
        "two_simulated_cards",
        sandbox,
        sandbox.see_all(&["gpu --simulated", "gpu --simulated --json"])
    );
}

#[test]
fn watched_cards_are_a_line_of_json_per_look_with_a_forecast_once_there_is_one() {
    // R28
    let sandbox = Sandbox::new();
    let output = sandbox.run("gpu --watch --json --simulated --interval 0.15 --count 7");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 7);
    let seconds: Vec<f64> = lines.iter().map(|line| line["seconds"].as_f64().unwrap()).collect();
    assert!(seconds.is_sorted(), "{seconds:?}");
    assert_eq!(lines[0]["devices"].as_array().unwrap().len(), 2);
    assert_eq!(lines[0]["devices"][0]["forecast"], Value::Null);
    let expected = &lines[6]["devices"][1]["forecast"]["expected_fraction"];
    let [low, middle, high] = ["low", "middle", "high"].map(|end| expected[end].as_f64().unwrap());
    assert!(0.0 <= low && low <= middle && middle <= high && high <= 1.0, "{expected}");
}

#[test]
fn lines_end_when_nobody_reads_them_any_more() {
    let sandbox = Sandbox::new();
    let mut watching = sandbox
        .command()
        .args(["gpu", "--watch", "--json", "--simulated", "--interval", "0.01"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    let mut lines = BufReader::new(watching.stdout.take().unwrap());
    lines.read_line(&mut first).unwrap();
    drop(lines);
    assert!(first.starts_with("{\"time\":") && watching.wait().unwrap().success());
}

#[test]
fn what_cannot_be_watched_or_placed_is_refused_with_the_next_step() {
    let sandbox = Sandbox::new();
    for (line, words) in [
        ("gpu --watch --simulated", "add --json"),
        ("gpu --watch --count 3", "--json"),
        ("gpu --interval 1", "--watch"),
        ("gpu --watch --interval 0.001", "0.01 to 3600"),
        ("gpu --watch --interval -1", "0.01 to 3600"),
        ("gpu --watch --interval NaN", "0.01 to 3600"),
        ("gpu --watch --json --count 0", "--count"),
        ("place --task mat --size-mb 1", "is \"math\" meant?"),
        ("place --task math --size-mb NaN", "megabytes"),
        ("place --task math --size-mb -1", "megabytes"),
        ("place --task math --size-mb 1 --vram-percent -1", "0 to 100"),
        ("place --task math --size-mb 1 --vram-percent nan", "0 to 100"),
        ("place --task math --size-mb 1 --watch-seconds 0.5", "1 to 600"),
        ("place --task math --size-mb 1 --watch-seconds 2 --vram-percent 5", "--vram-percent"),
    ] {
        let (code, said) = sandbox.fail(line);
        assert!(code == 2 && said.contains(words), "{line}: {said}");
    }
}

#[test]
fn work_is_placed_on_the_emptier_of_two_cards_and_watching_them_makes_a_forecast() {
    // R29
    let sandbox = Sandbox::new();
    assert_seen!(
        "work_is_placed",
        sandbox,
        sandbox.see_all(&[
            "place --task Math --size-mb 300 --simulated",
            "place --task math --size-mb 300 --vram-percent 72",
            "place --task io --size-mb 1 --vram-percent 5%",
        ])
    );
    let at_once = sandbox.json("place --task tensor --size-mb 30 --simulated");
    assert_eq!(at_once["inputs"]["cards"][0]["forecast_fraction"], Value::Null);
    let watched = sandbox.json("place --task tensor --size-mb 30 --simulated --watch-seconds 1.2");
    let card = &watched["inputs"]["cards"][0];
    assert!(
        card["forecast_fraction"].as_f64().unwrap() > card["used_fraction"].as_f64().unwrap(),
        "{watched}"
    );
    assert_eq!((&card["growth"]["pid"], &watched["inputs"]["watched_seconds"]), (&4242.into(), &1.2.into()));
}

/// A terminal of 80 by 24 with the live view on it.
#[cfg(unix)]
struct Watched {
    screen: std::fs::File,
    view: std::process::Child,
}

#[cfg(unix)]
impl Watched {
    fn new(sandbox: &Sandbox) -> Self {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&screen).unwrap();
        unlockpt(&screen).unwrap();
        let name = ptsname(&screen, Vec::new()).unwrap().into_string().unwrap();
        let terminal = std::fs::OpenOptions::new().read(true).write(true).open(name).unwrap();
        let size = rustix::termios::Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&terminal, size).unwrap();
        let same = || Stdio::from(terminal.try_clone().unwrap());
        let mut command = sandbox.command();
        command.args(["gpu", "--watch", "--simulated"]).stdin(same()).stdout(same()).stderr(same());
        Self { view: command.spawn().unwrap(), screen: screen.into() }
    }

    /// Reads on until this appears.
    fn until(&mut self, words: &str) -> String {
        let (mut seen, mut more) = (Vec::new(), [0; 4096]);
        loop {
            let count = self.screen.read(&mut more).unwrap();
            seen.extend_from_slice(&more[..count]);
            let text = String::from_utf8_lossy(&seen);
            assert!(seen.len() < 1 << 16, "{words} does not come: {text}");
            if text.contains(words) {
                return text.into_owned();
            }
        }
    }
}

/// What gives a terminal back its old contents.
#[cfg(unix)]
const LEAVES: &str = "\x1b[?1049l";

#[test]
#[cfg(unix)]
fn the_live_view_is_drawn_and_gives_the_terminal_back_when_it_is_ended() {
    let sandbox = Sandbox::new();
    let mut watched = Watched::new(&sandbox);
    watched.until("q quit");
    watched.screen.write_all(b"\x1b[C").unwrap();
    // Only what changes is drawn again: a word that has no letter in its old place.
    watched.until("jupyter-lab");
    watched.screen.write_all(b"q").unwrap();
    watched.until(LEAVES);
    assert!(watched.view.wait().unwrap().success());
}

#[test]
#[cfg(unix)]
fn a_signal_ends_the_live_view_and_still_gives_the_terminal_back() {
    use std::os::unix::process::ExitStatusExt;
    let sandbox = Sandbox::new();
    let mut watched = Watched::new(&sandbox);
    watched.until("q quit");
    let pid = rustix::process::Pid::from_child(&watched.view);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    watched.until(LEAVES);
    assert_eq!(watched.view.wait().unwrap().signal(), Some(15));
}

#[test]
#[cfg(unix)]
fn a_live_view_whose_terminal_is_gone_ends_by_the_signal_that_says_so() {
    use std::os::unix::process::ExitStatusExt;
    let sandbox = Sandbox::new();
    let mut watched = Watched::new(&sandbox);
    watched.until("q quit");
    let pid = rustix::process::Pid::from_child(&watched.view);
    drop(watched.screen);
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    assert_eq!(watched.view.wait().unwrap().signal(), Some(1));
}
