use std::fs;
use std::process::Command;

use super::*;
use crate::config::{Priority, ServicePolicy};

fn command() -> Vec<String> {
    ["/bin/true", "memory", "daemon"].map(str::to_owned).into()
}

fn config() -> Config {
    let mut config = Config::default();
    let mut high = ServicePolicy::new(Priority::Low, 0.5);
    high.memory_high_bytes = Some(3 << 30);
    high.memory_max_bytes = Some(4 << 30);
    high.memory_low_bytes = Some(1 << 30);
    config.services.insert("worker@1.service".to_owned(), high.clone());
    config.services.insert("app.slice".to_owned(), high);
    config
}

fn planned(config: &Config, root: &Path) -> Plan {
    plan(config, Scope::System, directory(Scope::System, root).unwrap(), &command()).unwrap()
}

/// Every path below, with its content.
fn tree(directory: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            found.extend(tree(&path));
            found.push((path, String::new()));
        } else {
            found.push((path.clone(), fs::read_to_string(&path).unwrap_or_default()));
        }
    }
    found.sort();
    found
}

#[test]
fn installing_twice_changes_nothing_the_second_time_and_uninstalling_leaves_no_trace() {
    let root = tempfile::tempdir().unwrap();
    let units = directory(Scope::System, root.path()).unwrap();
    fs::create_dir_all(&units).unwrap();
    fs::create_dir(units.join("omnimind.service.d")).unwrap();
    fs::write(units.join("omnimind.service.d/10-mine.conf"), "[Service]\n").unwrap();
    let before = tree(root.path());

    let plan = planned(&config(), root.path());
    assert!(show(&plan).unwrap().iter().all(|changed| changed.change == Change::Created));
    assert_eq!(tree(root.path()), before, "showing writes nothing");
    assert!(install(&plan).unwrap().iter().all(|changed| changed.change == Change::Created));
    let installed = tree(root.path());
    let written = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    let monitor = units.join(MONITOR);
    let first = written(&monitor);
    assert!(install(&plan).unwrap().iter().all(|changed| changed.change == Change::Unchanged));
    assert_eq!((tree(root.path()), written(&monitor)), (installed, first));

    // A service that is not configured any more loses its drop-in.
    let fewer = planned(&Config::default(), root.path());
    let removed =
        install(&fewer).unwrap().into_iter().filter(|changed| changed.change == Change::Removed).count();
    assert_eq!(removed, 2);
    assert!(!units.join("app.slice.d").exists());

    uninstall(&fewer).unwrap();
    assert_eq!(tree(root.path()), before);
    assert!(uninstall(&fewer).unwrap().iter().all(|changed| changed.change == Change::Unchanged));
}

#[test]
fn a_file_of_somebody_else_is_in_the_way_and_stays() {
    let root = tempfile::tempdir().unwrap();
    let plan = planned(&config(), root.path());
    let drop_in = plan.directory.join("omnimind.service.d").join(DROP_IN);
    fs::create_dir_all(drop_in.parent().unwrap()).unwrap();
    fs::write(&drop_in, "[Service]\nMemoryMax=1G\n").unwrap();
    let before = tree(root.path());
    assert!(install(&plan).unwrap_err().to_string().contains("was not installed by this program"));
    assert_eq!(tree(root.path()), before);
    uninstall(&plan).unwrap();
    assert_eq!(tree(root.path()), before);
}

#[test]
fn if_one_file_cannot_be_written_none_is() {
    let root = tempfile::tempdir().unwrap();
    let plan = planned(&config(), root.path());
    fs::create_dir_all(&plan.directory).unwrap();
    // Where a directory is needed there is a file; it comes after other files of the plan.
    fs::write(plan.directory.join("multi-user.target.wants"), "").unwrap();
    let before = tree(root.path());
    let error = install(&plan).unwrap_err().to_string();
    assert!(error.contains("multi-user.target.wants"), "{error}");
    assert_eq!(tree(root.path()), before);
}

#[test]
fn names_and_commands_that_could_leave_their_place_are_refused() {
    let of = |unit: &str| {
        let mut config = Config::default();
        config.services.insert(unit.to_owned(), ServicePolicy::new(Priority::Low, 0.0));
        plan(&config, Scope::System, "/nowhere".into(), &command())
    };
    for unit in ["../ssh.service", "a/b.service", "a.socket", "a b.service", MONITOR] {
        assert!(of(unit).is_err(), "{unit}");
    }
    let with =
        |program: &str| plan(&Config::default(), Scope::System, "/nowhere".into(), &[program.to_owned()]);
    assert!(with("omnimind").is_err());
    assert!(with("/bin/a\nExecStartPre=/bin/b").is_err());
    let text = with("/opt/100% \"x\"/$bin").unwrap().files.pop().unwrap().text;
    assert!(text.contains(r#"ExecStart="/opt/100%% \"x\"/$$bin""#), "{text}");
}

#[test]
fn only_what_systemd_knows_is_written() {
    let root = tempfile::tempdir().unwrap();
    for file in planned(&config(), root.path()).files {
        assert!(file.text.starts_with(HEADER));
        for wrong in ["MemoryLimit=", "MemoryLock="] {
            assert!(!file.text.contains(wrong), "{}", file.text);
        }
        let slice = file.path.starts_with("app.slice.d");
        assert_eq!(slice, file.text.contains("[Slice]"));
        assert!(!slice || !file.text.contains("OOMScoreAdjust"));
    }
}

#[test]
fn the_watchdog_has_patience_with_all_that_a_round_may_wait_for() {
    let mut config = Config::default();
    let watchdog = |config: &Config| {
        let text = planned(config, Path::new("/")).files.pop().unwrap().text;
        let line = text.lines().find_map(|line| line.strip_prefix("WatchdogSec=")).unwrap();
        line.parse::<u64>().unwrap()
    };
    let usual = watchdog(&config);
    assert!(usual > 2 * config.interval_s);
    // One service that may take 20 s to release memory, and two ways of a minute each.
    config.services.get_mut("omnimind.service").unwrap().release_socket =
        Some("/run/omnimind/release".into());
    (config.alerts.desktop, config.alerts.command, config.alerts.timeout_s) =
        (true, vec!["/bin/true".into()], 60);
    assert_eq!(watchdog(&config), usual + 20 + 2 * 60);
}

/// What `systemd-analyze` says; `None` where there is none.
fn analyze(arguments: &[&str]) -> Option<(bool, String)> {
    let Ok(output) = Command::new("systemd-analyze").args(arguments).env("XDG_RUNTIME_DIR", "/tmp").output()
    else {
        eprintln!("no systemd-analyze: skipped");
        return None;
    };
    let text = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

#[test]
fn systemd_verifies_every_unit_without_a_word() {
    let mut webhook = config();
    webhook.alerts.webhook = Some("http://127.0.0.1:1/".to_owned());
    for (scope, config) in [(Scope::System, config()), (Scope::System, webhook), (Scope::User, config())] {
        let root = tempfile::tempdir().unwrap();
        let units = root.path().join("units");
        install(&plan(&config, scope, units.clone(), &command()).unwrap()).unwrap();
        let mut paths = vec![units.join(MONITOR)];
        for unit in config.services.keys() {
            let text = if unit.contains(".slice") { "[Slice]\n" } else { "[Service]\nExecStart=/bin/true\n" };
            fs::write(units.join(unit), text).unwrap();
            paths.push(units.join(unit));
        }
        let mut arguments = vec!["verify", "--man=no"];
        if scope == Scope::User {
            arguments.push("--user");
        }
        arguments.extend(paths.iter().map(|path| path.to_str().unwrap()));
        let Some((good, said)) = analyze(&arguments) else { return };
        assert!(good && said.is_empty(), "{scope:?}: {said}");
        // What cannot fail proves nothing: a line that systemd does not know is told.
        let drop_in = units.join("omnimind.service.d").join(DROP_IN);
        fs::write(&drop_in, fs::read_to_string(&drop_in).unwrap() + "MemoryLock=yes\n").unwrap();
        assert!(analyze(&arguments).unwrap().1.contains("MemoryLock"));
    }
}

#[test]
fn systemd_finds_the_monitor_little_exposed() {
    let mut webhook = config();
    webhook.alerts.webhook = Some("http://127.0.0.1:1/".to_owned());
    for config in [config(), webhook] {
        let root = tempfile::tempdir().unwrap();
        let plan = planned(&config, root.path());
        install(&plan).unwrap();
        let path = plan.directory.join(MONITOR);
        let arguments = ["security", "--offline=yes", "--threshold=30", "--no-pager", path.to_str().unwrap()];
        let Some((good, said)) = analyze(&arguments) else { return };
        assert!(good, "{said}");
        eprintln!("{}", said.lines().last().unwrap_or_default());
    }
}
