//! Connecting to a D-Bus in a limited time: zbus limits how long a call takes, and not how long a bus may be silent while it is
//! greeted.

#[cfg(test)]
pub(crate) mod private;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use zbus::blocking::Connection;
use zbus::connection::Builder;

/// Which bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Bus {
    /// That of the system.
    System,
    /// That of the session of the user who calls.
    User,
    /// The one at this D-Bus address.
    Address(String),
}

impl Bus {
    /// A connection that was made within `patience`, and whose calls may take as long each.
    pub(crate) fn connect(&self, patience: Duration) -> zbus::Result<Connection> {
        let builder = match self {
            Self::System => Builder::system()?,
            Self::User => Builder::session()?,
            Self::Address(address) => Builder::address(address.as_str())?,
        };
        let connected = builder.method_timeout(patience).build();
        let late = async {
            async_io::Timer::after(patience).await;
            let text = format!("the bus did not answer in {} s", patience.as_secs_f64());
            Err(zbus::Error::InputOutput(Arc::new(io::Error::new(io::ErrorKind::TimedOut, text))))
        };
        async_io::block_on(futures_lite::future::or(connected, late)).map(Connection::from)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_bus_that_says_nothing_is_not_waited_for_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bus");
        let _silent = UnixListener::bind(&path).unwrap();
        let bus = Bus::Address(format!("unix:path={}", path.display()));
        let error = bus.connect(Duration::from_millis(100)).unwrap_err().to_string();
        assert!(error.contains("did not answer in 0.1 s"), "{error}");
    }
}
