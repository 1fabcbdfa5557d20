//! The ways an alert goes: to the log always; to a command, a webhook and the desktop if they are configured.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Alert, AlertConfig};

/// A way that an alert could not go, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failed {
    /// `command`, `webhook` or `desktop`.
    pub way: &'static str,
    /// Why, and what to do.
    pub reason: String,
}

/// Sends alerts all ways that are configured. What fails is returned; the log has them in any case. A way that failed for one
/// alert is not tried for those after it, so that one that does not answer takes its time once.
///
/// The log is `log`, mostly the standard error, with the priority that the journal reads in front: `<4>` for an alert, `<5>` for a
/// recovery.
pub fn send(alerts: &[Alert], config: &AlertConfig, log: &mut dyn Write) -> Vec<Failed> {
    for alert in alerts {
        let priority = if alert.recovered { 5 } else { 4 };
        // A log that cannot be written to leaves nobody to tell.
        let _ = writeln!(log, "<{priority}>{}", alert.text.replace('\n', " "));
    }
    let patience = Duration::from_secs(config.timeout_s);
    let all = |way, send: &dyn Fn(&Alert) -> Result<(), String>| {
        let failed = alerts.iter().find_map(|alert| send(alert).err());
        failed.map(|reason| Failed { way, reason })
    };
    let command =
        (!config.command.is_empty()).then(|| all("command", &|alert| run(&config.command, alert, patience)));
    let webhook =
        config.webhook.as_ref().map(|address| all("webhook", &|alert| post(address, alert, patience)));
    let desktop = config.desktop.then(|| all("desktop", &|alert| show(alert, patience)));
    [command, webhook, desktop].into_iter().flatten().flatten().collect()
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
    use std::sync::Arc;

    use ureq::tls::{Certificate, RootCerts, TlsConfig};

    let line = serde_json::to_vec(alert).map_err(|error| error.to_string())?;
    let mut tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()));
    if address.starts_with("https:") {
        // A system without any trusts nobody, which the handshake says.
        let trusted = rustls_native_certs::load_native_certs().certs;
        let trusted = trusted.iter().map(|authority| Certificate::from_der(authority).to_owned());
        tls = tls.root_certs(RootCerts::Specific(Arc::new(trusted.collect())));
    }
    let tls = tls.build();
    let config =
        ureq::Agent::config_builder().timeout_global(Some(patience)).max_redirects(0).tls_config(tls).build();
    ureq::Agent::new_with_config(config)
        .post(address)
        .header("content-type", "application/json")
        .send(&line[..])
        .map(drop)
        // Not the address: it may have a secret in it, and the log is read by others.
        .map_err(|error| format!("{error}; check memory.alerts.webhook"))
}

#[cfg(not(feature = "webhook"))]
fn post(_: &str, _: &Alert, _: Duration) -> Result<(), String> {
    Err("this program was built without webhooks; build it with the feature `webhook`, or use memory.alerts.command".to_owned())
}

#[cfg(all(target_os = "linux", feature = "dbus"))]
fn show(alert: &Alert, patience: Duration) -> Result<(), String> {
    notify(&crate::bus::Bus::User, alert, patience)
        .map_err(|error| format!("{error}; it needs the session of a user (memory.alerts.desktop)"))
}

/// As the Desktop Notifications Specification 1.2 has it.
#[cfg(all(target_os = "linux", feature = "dbus"))]
fn notify(bus: &crate::bus::Bus, alert: &Alert, patience: Duration) -> zbus::Result<()> {
    use std::collections::HashMap;

    use zbus::zvariant::Value;

    /// Of three levels: low, normal, critical.
    const CRITICAL: u8 = 2;
    let hints =
        if alert.recovered { HashMap::new() } else { HashMap::from([("urgency", Value::U8(CRITICAL))]) };
    let no_actions: Vec<&str> = Vec::new();
    // It replaces no other, has no icon, and stays as long as the desktop likes.
    let arguments = ("omnimind-memory", 0u32, "", "Memory", alert.text.as_str(), no_actions, hints, -1i32);
    let name = "org.freedesktop.Notifications";
    bus.connect(patience)?
        .call_method(Some(name), "/org/freedesktop/Notifications", Some(name), "Notify", &arguments)
        .map(drop)
}

#[cfg(not(all(target_os = "linux", feature = "dbus")))]
fn show(_: &Alert, _: Duration) -> Result<(), String> {
    Err("this program was built without D-Bus; build it with the feature `dbus`, or use memory.alerts.command".to_owned())
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
        let failed =
            send(&[alert()], &AlertConfig { command, timeout_s, ..AlertConfig::default() }, &mut log);
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

    /// The desktop's end, as far as it is used.
    #[cfg(all(target_os = "linux", feature = "dbus"))]
    struct Desktop(std::sync::mpsc::Sender<(String, u8)>);

    #[cfg(all(target_os = "linux", feature = "dbus"))]
    #[zbus::interface(name = "org.freedesktop.Notifications")]
    impl Desktop {
        #[expect(clippy::too_many_arguments, clippy::needless_pass_by_value, reason = "as specified")]
        fn notify(
            &self,
            app_name: &str,
            replaces_id: u32,
            app_icon: &str,
            summary: &str,
            body: &str,
            actions: Vec<String>,
            hints: std::collections::HashMap<String, zbus::zvariant::OwnedValue>,
            expire_timeout: i32,
        ) -> u32 {
            let _ = (app_name, replaces_id, app_icon, summary, actions, expire_timeout);
            let urgency = hints.get("urgency").and_then(|value| u8::try_from(value).ok());
            self.0.send((body.to_owned(), urgency.unwrap_or(1))).unwrap();
            1
        }
    }

    #[cfg(all(target_os = "linux", feature = "dbus"))]
    #[test]
    fn a_desktop_shows_it_an_alert_more_urgently_than_a_recovery() {
        let Some(private) = crate::bus::private::PrivateBus::start() else { return };
        let bus = crate::bus::Bus::Address(private.address.clone());
        let patience = Duration::from_secs(20);
        let nobody = notify(&bus, &alert(), patience).unwrap_err().to_string();
        assert!(nobody.contains("ServiceUnknown"), "{nobody}");

        let (sender, shown) = std::sync::mpsc::channel();
        let desktop = bus.connect(patience).unwrap();
        desktop.object_server().at("/org/freedesktop/Notifications", Desktop(sender)).unwrap();
        desktop.request_name("org.freedesktop.Notifications").unwrap();
        notify(&bus, &alert(), patience).unwrap();
        notify(&bus, &Alert { recovered: true, ..alert() }, patience).unwrap();
        let both: Vec<_> = shown.try_iter().collect();
        assert_eq!(both, [("RAM is\n91 % used".to_owned(), 2), ("RAM is\n91 % used".to_owned(), 1)]);
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
        assert_eq!(send(&[alert()], &config, &mut Vec::new()), []);
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
        assert!(send(&[alert()], &config, &mut Vec::new())[0].reason.contains("feature `webhook`"));
    }
}
