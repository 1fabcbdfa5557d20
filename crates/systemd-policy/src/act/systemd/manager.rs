//! systemd over D-Bus: what this crate needs of its manager, by hand, and nothing more.

use std::time::Duration;

use zbus::blocking::Connection;
use zbus::zvariant::{OwnedObjectPath, OwnedValue, Value};

use crate::bus::Bus;
use crate::error::{Error, Result};

/// How long connecting may take, and each call.
const PATIENCE: Duration = Duration::from_secs(10);

/// The manager of all units.
#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1",
    gen_async = false,
    blocking_name = "ManagerProxy"
)]
trait Manager {
    fn load_unit(&self, name: &str) -> zbus::Result<OwnedObjectPath>;
    fn set_unit_properties(
        &self,
        name: &str,
        runtime: bool,
        properties: &[(&str, Value<'_>)],
    ) -> zbus::Result<()>;
    fn reload(&self) -> zbus::Result<()>;
    fn restart_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
}

/// Properties of any object; never kept, because limits change without being told.
#[zbus::proxy(
    interface = "org.freedesktop.DBus.Properties",
    default_service = "org.freedesktop.systemd1",
    gen_async = false,
    blocking_name = "PropertiesProxy"
)]
trait Properties {
    fn get(&self, interface: &str, name: &str) -> zbus::Result<OwnedValue>;
}

/// A connection that is made when it is needed, and again after it has broken.
#[derive(Debug)]
pub(super) struct Systemd {
    bus: Bus,
    connection: Option<Connection>,
}

impl Systemd {
    pub(super) fn new(bus: Bus) -> Self {
        Self { bus, connection: None }
    }

    /// A property of a unit.
    pub(super) fn property<T: TryFrom<OwnedValue>>(
        &mut self,
        unit: &str,
        interface: &str,
        name: &str,
    ) -> Result<T> {
        let value = self.call(unit, &format!("reading {name}"), |connection| {
            let path = ManagerProxy::new(connection)?.load_unit(unit)?;
            PropertiesProxy::builder(connection).path(path)?.build()?.get(interface, name)
        })?;
        value.try_into().map_err(|_| {
            let next = "report it with the version of systemd (`systemctl --version`)";
            Error::refused(format!("{unit}: reading {name}"), "it is of another type than it should be", next)
        })
    }

    /// Sets a number until the next boot.
    pub(super) fn set(&mut self, unit: &str, name: &str, value: u64) -> Result<()> {
        self.call(unit, &format!("setting {name}={value}"), |connection| {
            ManagerProxy::new(connection)?.set_unit_properties(unit, true, &[(name, Value::U64(value))])
        })
    }

    pub(super) fn reload(&mut self) -> Result<()> {
        self.call("systemd", "reloading units", |connection| ManagerProxy::new(connection)?.reload())
    }

    pub(super) fn restart(&mut self, unit: &str) -> Result<()> {
        self.call(unit, "starting it", |connection| {
            ManagerProxy::new(connection)?.restart_unit(unit, "replace").map(drop)
        })
    }

    pub(super) fn stop(&mut self, unit: &str) -> Result<()> {
        self.call(unit, "stopping it", |connection| {
            ManagerProxy::new(connection)?.stop_unit(unit, "replace").map(drop)
        })
    }

    fn call<T>(
        &mut self,
        unit: &str,
        what: &str,
        work: impl FnOnce(&Connection) -> zbus::Result<T>,
    ) -> Result<T> {
        let answer = match self.connection.take() {
            Some(connection) => Ok(connection),
            None => self.bus.connect(PATIENCE),
        }
        .and_then(|connection| {
            let answer = work(&connection)?;
            self.connection = Some(connection);
            Ok(answer)
        });
        // After an error that a connection survives there is merely a new one.
        answer.map_err(|error| said(unit, what, &error))
    }
}

/// An error of D-Bus, with what to do.
fn said(unit: &str, what: &str, error: &zbus::Error) -> Error {
    let what = format!("{unit}: {what}");
    let zbus::Error::MethodError(name, message, _) = error else {
        let next = "check that systemd runs and D-Bus answers (`busctl status org.freedesktop.systemd1`)";
        return Error::refused(what, format!("systemd cannot be reached: {error}"), next);
    };
    let reason = message.clone().unwrap_or_else(|| name.to_string());
    match name.rsplit('.').next().unwrap_or_default() {
        "NoSuchUnit" => Error::Gone { unit: unit.to_owned() },
        "AccessDenied" | "InteractiveAuthorizationRequired" => {
            Error::refused(what, reason, "run it as root, or with --user for services of your own")
        }
        "ServiceUnknown" | "NameHasNoOwner" => Error::refused(
            what,
            "there is no systemd on this bus",
            "nothing can be set here: this system is run by another init",
        ),
        _ => Error::refused(what, reason, format!("see `systemctl status {unit}` and the journal")),
    }
}
