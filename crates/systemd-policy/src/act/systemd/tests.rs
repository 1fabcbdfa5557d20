//! Against a bus of our own with something on it that answers as systemd does, and writes to a tree as the kernel would have it.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex};

use zbus::zvariant::{OwnedObjectPath, OwnedValue, Value};

use super::*;
use crate::act::{Measures, apply, lift_all};
use crate::bus::private::PrivateBus;
use crate::config::{Config, Priority, ServicePolicy};
use crate::decide::{Action, Recommendation};

const UNIT: &str = "/org/freedesktop/systemd1/unit/a";
const MISSING: &str = "/org/freedesktop/systemd1/unit/missing";

type Set = Arc<Mutex<BTreeMap<String, u64>>>;

struct Manager {
    set: Set,
    root: std::path::PathBuf,
}

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    #[expect(clippy::unused_self, reason = "the macro wants it")]
    fn load_unit(&self, name: &str) -> OwnedObjectPath {
        let path = if name == "a.service" { UNIT } else { MISSING };
        OwnedObjectPath::try_from(path).unwrap()
    }

    #[expect(clippy::needless_pass_by_value, reason = "the macro wants it")]
    fn set_unit_properties(
        &self,
        name: &str,
        runtime: bool,
        properties: Vec<(String, OwnedValue)>,
    ) -> zbus::fdo::Result<()> {
        if name == "forbidden.service" {
            return Err(zbus::fdo::Error::AccessDenied("Access denied".to_owned()));
        }
        assert!(runtime);
        for (property, value) in &properties {
            let Value::U64(value) = **value else { panic!("{value:?}") };
            self.set.lock().unwrap().insert(property.clone(), value);
            let limits = [Limit::MemoryLow, Limit::MemoryHigh, Limit::MemorySwapMax];
            let file = limits.iter().find(|limit| limit.property() == property).unwrap().file();
            let (path, text) =
                (self.root.join(file), if value == INFINITY { "max".to_owned() } else { value.to_string() });
            // As systemd, it answers before it writes.
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(30));
                fs::write(path, text).unwrap();
            });
        }
        Ok(())
    }
}

struct Unit(&'static str);

#[zbus::interface(name = "org.freedesktop.systemd1.Unit")]
impl Unit {
    #[zbus(property)]
    fn load_state(&self) -> &str {
        self.0
    }
}

struct Service(Set);

impl Service {
    fn get(&self, name: &str, usual: u64) -> u64 {
        self.0.lock().unwrap().get(name).copied().unwrap_or(usual)
    }
}

#[zbus::interface(name = "org.freedesktop.systemd1.Service")]
impl Service {
    #[zbus(property)]
    fn memory_low(&self) -> u64 {
        self.get("MemoryLow", 0)
    }

    #[zbus(property)]
    fn memory_high(&self) -> u64 {
        self.get("MemoryHigh", INFINITY)
    }

    #[zbus(property)]
    fn memory_swap_max(&self) -> u64 {
        self.get("MemorySwapMax", INFINITY)
    }

    #[zbus(property)]
    #[expect(clippy::unused_self, reason = "the macro wants it")]
    fn control_group(&self) -> &'static str {
        "/system.slice/a.service"
    }
}

/// A bus with a systemd on it.
struct World {
    bus: PrivateBus,
    systemd: Option<zbus::blocking::Connection>,
    root: tempfile::TempDir,
    set: Set,
}

impl World {
    /// `None` where there is no `dbus-daemon`.
    fn new() -> Option<Self> {
        let bus = PrivateBus::start()?;
        let root = tempfile::tempdir().unwrap();
        let slice = root.path().join("system.slice");
        let unit = slice.join("a.service");
        fs::create_dir_all(&unit).unwrap();
        fs::write(root.path().join("cgroup.controllers"), "memory").unwrap();
        for directory in [&slice, &unit] {
            fs::write(directory.join("memory.low"), "0").unwrap();
            fs::write(directory.join("memory.high"), "max").unwrap();
            fs::write(directory.join("memory.swap.max"), "max").unwrap();
            fs::write(directory.join("memory.current"), "1048576").unwrap();
            fs::write(directory.join("cgroup.procs"), "").unwrap();
        }
        let set = Set::default();
        let mut world = Self { bus, systemd: None, root, set };
        world.start_systemd();
        Some(world)
    }

    fn start_systemd(&mut self) {
        let manager =
            Manager { set: Arc::clone(&self.set), root: self.root.path().join("system.slice/a.service") };
        let builder = zbus::blocking::connection::Builder::address(self.bus.address.as_str()).unwrap();
        let connection = builder
            .serve_at("/org/freedesktop/systemd1", manager)
            .and_then(|builder| builder.serve_at(UNIT, Unit("loaded")))
            .and_then(|builder| builder.serve_at(UNIT, Service(Arc::clone(&self.set))))
            .and_then(|builder| builder.serve_at(MISSING, Unit("not-found")))
            .and_then(|builder| builder.name("org.freedesktop.systemd1"))
            .and_then(|builder| builder.method_timeout(Duration::from_secs(20)).build());
        self.systemd = Some(connection.unwrap());
    }

    fn hands(&self) -> SystemdHands {
        let roots = Roots { cgroup: self.root.path().to_owned(), ..Roots::default() };
        SystemdHands::at(&self.bus.address, roots)
    }

    fn config() -> Config {
        let mut config = Config::default();
        for unit in ["a.service", "missing.service"] {
            config.services.insert(unit.to_owned(), ServicePolicy::new(Priority::Critical, 1.0));
        }
        config
    }
}

fn recommend(service: &str, action: Action, bytes: u64) -> Recommendation {
    Recommendation { service: service.to_owned(), action, bytes, reason: "why".to_owned() }
}

#[test]
fn limits_are_set_over_the_bus_seen_in_the_cgroup_and_taken_back() {
    let Some(world) = World::new() else { return };
    let (mut hands, mut measures) = (world.hands(), Measures::in_memory());
    let wanted = [
        recommend("a.service", Action::KeepOutOfSwap, 0),
        recommend("a.service", Action::Limit, (1 << 20) + 5),
    ];
    let applied = apply(&wanted, &mut hands, &World::config(), &mut measures);
    assert!(applied.is_complete(), "{applied:?}");
    assert!(applied.done.iter().all(|done| done.took_effect && done.before.is_none()));
    let read =
        |file| fs::read_to_string(world.root.path().join("system.slice/a.service").join(file)).unwrap();
    assert_eq!((read("memory.swap.max"), read("memory.high")), ("0".to_owned(), "1048581".to_owned()));
    assert!(lift_all(&mut hands, &mut measures).is_complete());
    assert_eq!((read("memory.swap.max"), read("memory.high")), ("max".to_owned(), "max".to_owned()));
}

#[test]
fn protection_that_the_slice_does_not_grant_is_said() {
    let Some(world) = World::new() else { return };
    let wanted = [recommend("a.service", Action::Protect, 8192)];
    let applied = apply(&wanted, &mut world.hands(), &World::config(), &mut Measures::in_memory());
    assert!(applied.is_complete(), "{applied:?}");
    assert!(!applied.done[0].took_effect);
    assert!(applied.done[0].note.starts_with("system.slice grants only 0 bytes"), "{applied:?}");
}

#[test]
fn a_unit_that_is_not_there_fails_and_what_was_done_before_it_is_undone() {
    let Some(world) = World::new() else { return };
    let mut measures = Measures::in_memory();
    let wanted = [
        recommend("a.service", Action::KeepOutOfSwap, 0),
        recommend("missing.service", Action::KeepOutOfSwap, 0),
    ];
    let applied = apply(&wanted, &mut world.hands(), &World::config(), &mut measures);
    assert!(applied.could_not[0].reason.contains("no such unit"), "{applied:?}");
    assert_eq!(applied.undone.len(), 1);
    assert_eq!(world.set.lock().unwrap()["MemorySwapMax"], INFINITY);
    assert!(measures.standing().is_empty());
}

#[test]
fn after_systemd_or_the_bus_was_away_it_connects_again() {
    let Some(mut world) = World::new() else { return };
    let mut hands = world.hands();
    assert_eq!(hands.limit("a.service", Limit::MemoryHigh).unwrap(), None);
    world.systemd.take().unwrap().close().unwrap();
    let error = hands.limit("a.service", Limit::MemoryHigh).unwrap_err().to_string();
    assert!(error.contains("no systemd on this bus"), "{error}");
    world.start_systemd();
    assert_eq!(hands.limit("a.service", Limit::MemoryHigh).unwrap(), None);
    world.bus.end();
    let error = hands.limit("a.service", Limit::MemoryHigh).unwrap_err().to_string();
    assert!(error.contains("cannot be reached"), "{error}");
}

#[test]
fn what_is_refused_says_what_to_do() {
    let Some(world) = World::new() else { return };
    let error = world.hands().systemd.set("forbidden.service", "MemoryHigh", 1).unwrap_err().to_string();
    assert!(error.contains("run it as root"), "{error}");
    let error = world.hands().limit("a.socket", Limit::MemoryHigh).unwrap_err().to_string();
    assert!(error.contains("services, slices and scopes"), "{error}");
    let nowhere = SystemdHands::at("unix:path=/nowhere", Roots::default()).reload().unwrap_err().to_string();
    assert!(nowhere.contains("cannot be reached"), "{nowhere}");
}
