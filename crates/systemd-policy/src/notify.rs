//! What the daemon tells systemd: ready, alive, what it does, stopping (`sd_notify`). Tells nobody where nobody listens.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// Where systemd listens, if this process was started as a unit with `Type=notify`.
#[derive(Debug)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// From `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    #[must_use]
    pub fn from_environment() -> Self {
        let variable = |name| std::env::var(name).ok();
        let for_us = variable("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let watchdog = variable("WATCHDOG_USEC").filter(|_| for_us);
        Self::new(variable("NOTIFY_SOCKET").as_deref(), watchdog.as_deref())
    }

    /// Tells nobody.
    #[must_use]
    pub fn nobody() -> Self {
        Self { socket: None, watchdog: None }
    }

    fn new(address: Option<&str>, watchdog_us: Option<&str>) -> Self {
        let watchdog =
            watchdog_us.and_then(|us| us.parse().ok()).filter(|us| *us > 0).map(Duration::from_micros);
        Self { socket: address.and_then(connected), watchdog }
    }

    /// How often at least [`alive`](Self::alive) must be said; `None` if nobody waits for it.
    #[must_use]
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// It works now.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// It still works.
    pub fn alive(&self) {
        if self.watchdog.is_some() {
            self.tell("WATCHDOG=1");
        }
    }

    /// What `systemctl status` shows.
    pub fn status(&self, line: &str) {
        self.tell(&format!("STATUS={}", line.replace('\n', " ")));
    }

    /// It is about to end.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    fn tell(&self, line: &str) {
        if let Some(socket) = &self.socket {
            // Whoever started us may be gone; that is no reason to end.
            let _ = socket.send(line.as_bytes());
        }
    }
}

/// A path, or with `@` at its start a name in the abstract namespace. Never waits: a full queue loses a message instead.
fn connected(address: &str) -> Option<UnixDatagram> {
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    if address.starts_with('/') {
        socket.connect(address).ok()?;
        return Some(socket);
    }
    #[cfg(target_os = "linux")]
    {
        use std::os::linux::net::SocketAddrExt;
        let name = std::os::unix::net::SocketAddr::from_abstract_name(address.strip_prefix('@')?).ok()?;
        socket.connect_addr(&name).ok()?;
        Some(socket)
    }
    #[cfg(not(target_os = "linux"))]
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut line = [0; 200];
        let length = socket.recv(&mut line).unwrap();
        String::from_utf8_lossy(&line[..length]).into_owned()
    }

    #[test]
    fn what_is_told_arrives_at_a_path() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let systemd = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::new(path.to_str(), Some("2000000"));
        assert_eq!(notifier.watchdog(), Some(Duration::from_secs(2)));
        notifier.ready();
        notifier.status("two\nlines");
        notifier.alive();
        notifier.stopping();
        let lines: Vec<_> = (0..4).map(|_| received(&systemd)).collect();
        assert_eq!(lines, ["READY=1", "STATUS=two lines", "WATCHDOG=1", "STOPPING=1"]);
        drop(systemd);
        notifier.ready();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_abstract_name_is_an_address_too() {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("omnimind-test-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let systemd = UnixDatagram::bind_addr(&address).unwrap();
        let notifier = Notifier::new(Some(&format!("@{name}")), None);
        notifier.alive();
        notifier.ready();
        assert_eq!(received(&systemd), "READY=1", "without a watchdog nobody waits to hear that it is alive");
    }

    #[test]
    fn where_nobody_listens_nothing_is_told() {
        for address in [None, Some(""), Some("/nowhere/notify"), Some("relative"), Some("@")] {
            let notifier = Notifier::new(address, Some("nonsense"));
            notifier.ready();
            assert_eq!(notifier.watchdog(), None);
        }
    }
}
