//! Runs the machine and ends it: when it powers off, when it says nothing for too long, when it never comes to its end, and when
//! this program dies.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::accelerator::Accelerator;
use super::image::Image;
use super::payload::Disks;

/// The file of a run's folder with what the machine says on its console.
pub(super) const CONSOLE: &str = "console.log";
/// That with what the scenarios say.
pub(super) const RESULTS: &str = "results.jsonl";
/// That with what qemu says.
const QEMU: &str = "qemu.log";

const RAM: &str = "768M";
/// Beyond this many scenarios' limits, a machine that still talks is ended as well.
const LIMIT_IN_SCENARIOS: u32 = 4;
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How a machine ended.
#[derive(Debug)]
pub(super) enum End {
    /// By itself: powered off, panicked, or qemu failed.
    ByItself { status: ExitStatus, qemu: String },
    /// Ended because it said nothing for so long.
    Silent(Duration),
    /// Ended because it took so long.
    TooLong(Duration),
}

impl End {
    /// What happened, for a run that did not come to its end.
    pub(super) fn in_words(&self, console: &[u8]) -> String {
        let console = String::from_utf8_lossy(console);
        let panic = console.lines().find_map(|line| Some(&line[line.find("Kernel panic")?..]));
        match (panic, self) {
            (Some(panic), _) => format!("the machine's kernel panicked ({})", panic.trim()),
            (None, Self::ByItself { status, .. }) if status.success() => {
                "the machine ended before it had said that all is done".to_owned()
            }
            (None, Self::ByItself { status, qemu }) => format!("qemu failed ({status}): {}", qemu.trim()),
            (None, Self::Silent(time)) if console.trim().is_empty() => {
                format!("the machine said nothing at all for {} s; try --accelerator tcg", time.as_secs())
            }
            (None, Self::Silent(time)) => {
                format!("the machine hangs: it said nothing for {} s", time.as_secs())
            }
            (None, Self::TooLong(time)) => format!("the machine was not done after {} s", time.as_secs()),
        }
    }
}

/// Boots an image with a run's disks; console and results come to files in the run's folder.
pub(super) fn run(image: &Image, disks: &Disks, accelerator: Accelerator, folder: &Path) -> Result<End> {
    let command = &mut command(image, disks, accelerator, folder);
    let qemu = fs::File::create(folder.join(QEMU))?;
    let child = command.stdin(Stdio::null()).stdout(qemu.try_clone()?).stderr(qemu).spawn();
    let mut machine = Machine(child.with_context(|| format!("starting {command:?}"))?);
    let limit = accelerator.scenario_limit() * LIMIT_IN_SCENARIOS;
    let said = || -> u64 {
        let length = |name| fs::metadata(folder.join(name)).map_or(0, |metadata| metadata.len());
        length(CONSOLE) + length(RESULTS)
    };
    let began = Instant::now();
    let (mut heard, mut last) = (said(), began);
    loop {
        if let Some(status) = machine.0.try_wait()? {
            let qemu = fs::read(folder.join(QEMU)).unwrap_or_default();
            return Ok(End::ByItself { status, qemu: tail(&qemu) });
        }
        if said() != heard {
            (heard, last) = (said(), Instant::now());
        }
        if last.elapsed() > accelerator.silence_limit() {
            return Ok(End::Silent(last.elapsed()));
        }
        if began.elapsed() > limit {
            return Ok(End::TooLong(began.elapsed()));
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// A running qemu, which does not outlive this.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        // It fails only if it has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(image: &Image, disks: &Disks, accelerator: Accelerator, folder: &Path) -> Command {
    // So that it dies with this program however that ends, Ctrl-C included.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64"]);
    command.args(["-no-user-config", "-nodefaults", "-no-reboot", "-display", "none", "-nic", "none"]);
    command.args(["-M", "q35", "-m", RAM, "-smp", "2"]).args(accelerator.arguments());
    command.arg("-kernel").arg(&image.kernel).args(["-append", COMMAND_LINE]);
    for file in [CONSOLE, RESULTS] {
        command.arg("-serial").arg(format!("file:{}", folder.join(file).display()));
    }
    // One controller with three namespaces, because those keep their order and three controllers would not.
    command.args(["-device", "nvme,id=nvme,serial=vm-test"]);
    let drives =
        [(&image.root, "snapshot=on"), (&disks.swap, "cache=unsafe"), (&disks.payload, "snapshot=on")];
    for (number, (file, how)) in (1..).zip(drives) {
        // A comma in a path is doubled, for qemu.
        let file = file.display().to_string().replace(',', ",,");
        command.arg("-drive").arg(format!("id=disk{number},if=none,format=raw,{how},file={file}"));
        command.arg("-device").arg(format!("nvme-ns,bus=nvme,drive=disk{number},nsid={number}"));
    }
    command
}

/// KVM's own modules would load, and take seconds to find out that they have nothing to do. Nobody is to be kept from reading
/// this machine's memory by timing, and keeping them from it takes time.
const COMMAND_LINE: &str = "console=ttyS0 root=/dev/nvme0n1 rw panic=-1 psi=1 zswap.enabled=0 mitigations=off audit=0 \
    module_blacklist=kvm,kvm_amd,kvm_intel systemd.unit=multi-user.target systemd.wants=vm-test.service \
    systemd.show_status=yes";

/// The last lines of what a terminal was sent, without what moves cursors and colours text.
pub(super) fn tail(console: &[u8]) -> String {
    const LINES: usize = 30;
    let start = console.len().saturating_sub(16 << 10);
    let text = String::from_utf8_lossy(&console[start..]);
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => {
                // `ESC [ parameters letter`; of others, the one character that follows.
                if characters.next() == Some('[') {
                    characters.by_ref().find(|character| ('@'..='~').contains(character));
                }
            }
            '\n' => plain.push('\n'),
            '\t' => plain.push(' '),
            character if character.is_control() => {}
            character => plain.push(character),
        }
    }
    let lines: Vec<&str> = plain.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_end_of_a_console_is_plain_text() {
        assert_eq!(tail(b"one\r\n[\x1b[0;32m  OK  \x1b[0m] two\x1b"), "one\n[  OK  ] two");
        let long: Vec<String> = (0..99).map(|number| number.to_string()).collect();
        assert!(tail(long.join("\n").as_bytes()).starts_with("69\n70\n"));
    }

    #[test]
    fn a_panic_is_told_from_a_hang_and_from_a_qemu_that_fails() {
        let ended =
            |code| End::ByItself { status: ExitStatus::from_raw(code << 8), qemu: "no disk".to_owned() };
        let panic = b"[ 1.0] Kernel panic - not syncing: no init\r\n";
        assert!(ended(0).in_words(panic).contains("panicked (Kernel panic - not syncing: no init)"));
        assert!(ended(0).in_words(b"x").contains("before it had said"));
        assert!(ended(1).in_words(b"").contains("no disk"));
        let silent = End::Silent(Duration::from_secs(9));
        assert!(silent.in_words(b"x").contains("hangs: it said nothing for 9 s"));
        assert!(silent.in_words(b" ").contains("nothing at all"));
    }

    proptest! {
        #[test]
        fn any_console_has_an_end_without_control_characters(console: Vec<u8>) {
            let end = tail(&console);
            prop_assert!(end.chars().all(|character| character == '\n' || !character.is_control()));
            prop_assert!(end.lines().count() <= 30);
        }
    }
}
