//! A bus of a test's own, on which it puts what answers.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A bus that starts nothing by itself.
const CONFIG: &str = r#"<busconfig>
  <type>session</type><listen>unix:dir=DIRECTORY</listen><auth>EXTERNAL</auth>
  <policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>"#;

/// It ends when this is dropped.
pub(crate) struct PrivateBus {
    daemon: Child,
    pub(crate) address: String,
    _directory: tempfile::TempDir,
}

impl PrivateBus {
    /// `None`, which is said, where there is no `dbus-daemon`.
    pub(crate) fn start() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("bus.conf");
        fs::write(&config, CONFIG.replace("DIRECTORY", &directory.path().display().to_string())).unwrap();
        let started = Command::new("dbus-daemon")
            .args(["--nofork", "--nopidfile", "--print-address=1", "--config-file"])
            .arg(config)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut daemon) = started else {
            eprintln!("no dbus-daemon: skipped");
            return None;
        };
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Some(Self { daemon, address: address.trim().to_owned(), _directory: directory })
    }

    pub(crate) fn end(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

impl Drop for PrivateBus {
    fn drop(&mut self) {
        self.end();
    }
}
