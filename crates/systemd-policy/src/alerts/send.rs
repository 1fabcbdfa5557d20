//! The ways an alert goes: to the log always; to a command, a webhook and the desktop if they are configured.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Alert, AlertConfig};

/// A way that an alert could not go, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// `command`, `webhook` or `desktop`.
    pub way: &'static str,
    /// Why, and what to do.
    pub reason: String,
}

/// Sends an alert all ways that are configured. What fails is returned; the log has it in any case.
///
/// The log is `log`, mostly the standard error, with the priority that the journal reads in front: `<4>` for an alert, `<5>` for a
/// recovery.
pub fn send(alert: &Alert, config: &AlertConfig, log: &mut dyn Write) -> Vec<Failed> {
    let priority = if alert.recovered { 5 } else { 4 };
    // A log that cannot be written to leaves nobody to tell.
    let _ = writeln!(log, "<{priority}>{}", alert.text.replace('\n', " "));
    let patience = Duration::from_secs(config.timeout_s);
    let mut failed = Vec::new();
    let mut note = |way, outcome: Result<(), String>| {
        failed.extend(outcome.err().map(|reason| Failed { way, reason }));
    };
    if !config.command.is_empty() {
        note("command", run(&config.command, alert, patience));
    }
    if let Some(address) = &config.webhook {
        note("webhook", post(address, alert, patience));
    }
    if config.desktop {
        note("desktop", show(alert, patience));
    }
    failed
}

/// Runs a command with the alert on its standard input; one that takes too long is killed.
fn run(command: &[PathBuf], alert: &Alert, patience: Duration) -> Result<(), String> {
    let name = command[0].display();
    let failed = |error: io::Error| format!("{name}: {error}; check memory.alerts.command");
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let line = serde_json::to_vec(alert).map_err(|error| failed(error.into()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // It fits into a pipe, so this does not wait. A command that does not read it is not wrong.
        let _ = stdin.write_all(&line[..line.len().min(4096)]);
    }
    let began = Instant::now();
    loop {
        match child.try_wait().map_err(failed)? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(format!("{name} ended with {status}; run it by hand to see why")),
            None if began.elapsed() >= patience => {
                // It may have ended in this moment.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!(
                    "{name} took longer than {} s and was killed; raise memory.alerts.timeout_s",
                    patience.as_secs()
                ));
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

#[cfg(feature = "webhook")]
fn post(address: &str, alert: &Alert, patience: Duration) -> Result<(), String> {
    let line = serde_json::to_vec(alert).map_err(|error| error.to_string())?;
    let config = ureq::Agent::config_builder().timeout_global(Some(patience)).max_redirects(0).build();
    ureq::Agent::new_with_config(config)
        .post(address)
        .header("content-type", "application/json")
        .send(&line[..])
        .map(drop)
        .map_err(|error| {
            format!("{error}; check memory.alerts.webhook (https goes through memory.alerts.command)")
        })
}

#[cfg(not(feature = "webhook"))]
fn post(_: &str, _: &Alert, _: Duration) -> Result<(), String> {
    Err("this program was built without webhooks; build it with the feature `webhook`, or use memory.alerts.command".to_owned())
}

#[cfg(target_os = "linux")]
fn show(alert: &Alert, patience: Duration) -> Result<(), String> {
    use std::collections::HashMap;

    use zbus::zvariant::Value;

    let call = || -> zbus::Result<()> {
        let bus = zbus::blocking::connection::Builder::session()?.method_timeout(patience).build()?;
        let none: (Vec<&str>, HashMap<&str, Value<'_>>) = Default::default();
        let arguments = ("omnimind-memory", 0u32, "", "Memory", alert.text.as_str(), none.0, none.1, -1i32);
        let name = "org.freedesktop.Notifications";
        bus.call_method(Some(name), "/org/freedesktop/Notifications", Some(name), "Notify", &arguments)
            .map(drop)
    };
    call().map_err(|error| format!("{error}; it needs the session of a user (memory.alerts.desktop)"))
}

#[cfg(not(target_os = "linux"))]
fn show(_: &Alert, _: Duration) -> Result<(), String> {
    Err("there is no such desktop here; use memory.alerts.command".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;

    fn alert() -> Alert {
        Alert { kind: Kind::RamHigh, recovered: false, text: "RAM is\n91 % used".to_owned() }
    }

    fn with(command: &[&str], timeout_s: u64) -> (Vec<Failed>, String) {
        let command = command.iter().map(PathBuf::from).collect();
        let mut log = Vec::new();
        let failed = send(&alert(), &AlertConfig { command, timeout_s, ..AlertConfig::default() }, &mut log);
        (failed, String::from_utf8(log).unwrap())
    }

    #[test]
    fn the_log_has_it_in_one_line_with_its_priority() {
        assert_eq!(with(&[], 10), (Vec::new(), "<4>RAM is 91 % used\n".to_owned()));
    }

    #[test]
    fn a_command_reads_it_as_json() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("alert.json");
        let script = format!("cat > {}", path.display());
        assert_eq!(with(&["/bin/sh", "-c", &script], 60).0, []);
        let read: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(read["kind"], "ram_high");
        assert_eq!(read["text"], "RAM is\n91 % used");
    }

    #[test]
    fn a_command_that_fails_is_not_there_or_does_not_end_is_told() {
        for (command, timeout_s, said) in [
            (&["/bin/false"][..], 60, "ended with"),
            (&["/nowhere/hook"], 60, "check memory.alerts.command"),
            (&["/bin/sleep", "600"], 0, "was killed"),
        ] {
            let (failed, _) = with(command, timeout_s);
            assert!(failed[0].way == "command" && failed[0].reason.contains(said), "{failed:?}");
        }
    }

    #[cfg(feature = "webhook")]
    #[test]
    fn a_webhook_is_posted_to() {
        use std::io::Read;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/hook", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = String::new();
            let mut buffer = [0; 4096];
            while !request.ends_with('}') {
                let read = stream.read(&mut buffer).unwrap();
                request += &String::from_utf8_lossy(&buffer[..read]);
            }
            stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
            request
        });
        let config = AlertConfig { webhook: Some(address), timeout_s: 60, ..AlertConfig::default() };
        assert_eq!(send(&alert(), &config, &mut Vec::new()), []);
        let request = server.join().unwrap();
        assert!(
            request.starts_with("POST /hook HTTP/1.1") && request.contains("\"kind\":\"ram_high\""),
            "{request}"
        );
    }

    #[cfg(not(feature = "webhook"))]
    #[test]
    fn without_the_feature_a_webhook_says_what_to_do() {
        let config =
            AlertConfig { webhook: Some("http://127.0.0.1:1/".to_owned()), ..AlertConfig::default() };
        assert!(send(&alert(), &config, &mut Vec::new())[0].reason.contains("feature `webhook`"));
    }
}
