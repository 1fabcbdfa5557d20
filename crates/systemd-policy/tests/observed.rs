//! What is observed of recorded machines: see `trees/README.md`.
#![allow(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use systemd_policy::observe::{Limits, Zswap};
use systemd_policy::swap::{Rest, Swap};
use systemd_policy::{Config, Error, Observer, Roots, Snapshot, observe};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

fn tree(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trees").join(name)
}

fn seen(name: &str) -> Snapshot {
    observe(&Roots::below(&tree(name)), &Config::default()).unwrap()
}

/// A copy that a test may change.
fn copied(name: &str) -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy(&entry.path(), &target);
            } else {
                std::fs::copy(entry.path(), target).unwrap();
            }
        }
    }
    let directory = tempfile::tempdir().unwrap();
    copy(&tree(name), directory.path());
    directory
}

#[test]
fn a_machine_with_systemd_is_seen_whole() {
    let seen = seen("machine");
    assert_eq!(seen.at, Duration::from_millis(86_400_250));
    let system = &seen.system;
    assert_eq!((system.ram_total_bytes, system.ram_available_bytes), (16_303_412 * KIB, 4_075_853 * KIB));
    assert_eq!((system.swap_total_bytes, system.swap_free_bytes), (8_388_604 * KIB, 4_194_302 * KIB));
    let pressure = system.pressure.unwrap();
    assert_eq!((pressure.some_avg10, pressure.some_avg60, pressure.full_avg300), (12.5, 1.25, 0.1));
    assert_eq!(system.zswap, Some(Zswap { stored_bytes: 400 * MIB, pool_bytes: 100 * MIB }));
    assert_eq!(system.swappiness, Some(60));

    let names: Vec<&str> = seen.services.keys().map(String::as_str).collect();
    assert_eq!(names, ["omnimind-core.service", "omnimind-frontend.service", "omnimind.service"]);
    let main = &seen.services["omnimind.service"];
    // 702 has ended between the list and the look.
    assert_eq!((main.pid, &main.pids[..]), (Some(700), &[700, 701, 702][..]));
    assert_eq!((main.rss_bytes, main.swap_bytes), (3072 * MIB, 512 * MIB));
    assert_eq!(main.cgroup.as_deref(), Some(Path::new("system.slice/omnimind.service")));
    let limits = Limits { low_bytes: Some(1024 * MIB), swap_max_bytes: Some(0), ..Limits::default() };
    assert_eq!(main.limits, limits);
    assert_eq!(main.pressure.map(|pressure| pressure.some_avg10), Some(3.5));
    assert_eq!(seen.lacks, Vec::<String>::new());
}

#[test]
fn the_slice_that_lets_least_protection_through_is_named() {
    let machine = copied("machine");
    let cgroup = machine.path().join("sys/fs/cgroup");
    let low =
        |slice: &str, bytes: &str| std::fs::write(cgroup.join(slice).join("memory.low"), bytes).unwrap();
    low("system.slice", "0\n");
    low("user.slice", "4096\n");
    low("user.slice/user-1000.slice", "8192\n");
    let seen = observe(&Roots::below(machine.path()), &Config::default()).unwrap();
    let ceiling = |service: &str| {
        let ceiling = seen.services[service].low_ceiling.as_ref().unwrap();
        (ceiling.slice.clone(), ceiling.low_bytes)
    };
    assert_eq!(ceiling("omnimind.service"), ("system.slice".to_owned(), 0));
    assert_eq!(ceiling("omnimind-frontend.service"), ("user.slice".to_owned(), 4096));
}

#[test]
fn processes_in_cgroups_within_a_service_are_its_own() {
    let seen = seen("machine");
    let core = &seen.services["omnimind-core.service"];
    assert_eq!((core.pid, &core.pids[..]), (Some(800), &[800, 801, 802][..]));
    assert_eq!((core.rss_bytes, core.swap_bytes), (350 * MIB, 1024 * MIB));
    assert_eq!(core.limits.high_bytes, Some(2048 * MIB));
}

#[test]
fn of_a_service_that_has_nothing_in_swap_only_what_costs_little_is_read() {
    let machine = copied("machine");
    let path = |path: &str| machine.path().join(path);
    let charged = path("sys/fs/cgroup/system.slice/omnimind.service/memory.swap.current");
    for (pid, pages) in [(700, 10), (701, 30)] {
        std::fs::write(path(&format!("proc/{pid}/statm")), format!("99 {pages} 2 1 0 9 0\n")).unwrap();
    }
    let seen = || observe(&Roots::below(machine.path()), &Config::default()).unwrap();
    let of = |seen: &Snapshot| {
        let main = &seen.services["omnimind.service"];
        (main.pid, main.rss_bytes, main.swap_bytes)
    };
    let usual = of(&seen());
    std::fs::write(&charged, "4096\n").unwrap();
    assert_eq!(of(&seen()), usual, "which of them has it must be read");
    std::fs::write(&charged, "0\n").unwrap();
    let (pid, rss_bytes, swap_bytes) = of(&seen());
    let page_bytes = rss_bytes / 40;
    assert!(page_bytes.is_power_of_two() && page_bytes >= 4096 && rss_bytes % 40 == 0, "{rss_bytes}");
    assert_eq!((pid, swap_bytes), (Some(701), 0));
    // The others have no such file, and are seen as before.
    assert_eq!(seen().services["omnimind-core.service"].swap_bytes, 1024 * MIB);
}

#[test]
fn services_of_a_user_are_found_in_the_slices_of_their_manager() {
    let seen = seen("machine");
    let frontend = &seen.services["omnimind-frontend.service"];
    let expected = "user.slice/user-1000.slice/user@1000.service/app.slice/omnimind-frontend.service";
    assert_eq!(frontend.cgroup.as_deref(), Some(Path::new(expected)));
    assert_eq!(frontend.pid, Some(1000));
}

#[test]
fn a_service_that_ends_moves_or_comes_is_followed_from_look_to_look() {
    let machine = copied("machine");
    let slice = machine.path().join("sys/fs/cgroup/system.slice");
    let mut observer = Observer::new(Roots::below(machine.path()));
    let mut names = || {
        let seen = observer.observe(&Config::default()).unwrap();
        seen.services.into_iter().map(|(name, service)| (name, service.pids.len())).collect::<Vec<_>>()
    };
    assert_eq!(names().len(), 3);
    std::fs::create_dir(slice.join("deeper.slice")).unwrap();
    std::fs::rename(slice.join("omnimind-core.service"), slice.join("deeper.slice/omnimind-core.service"))
        .unwrap();
    assert_eq!(names()[0], ("omnimind-core.service".to_owned(), 3));
    std::fs::rename(slice.join("deeper.slice/omnimind-core.service"), slice.join("omnimind-daemon.service"))
        .unwrap();
    assert_eq!(names()[0], ("omnimind-daemon.service".to_owned(), 3));
}

#[test]
fn the_limits_of_a_container_are_its_ram() {
    let seen = seen("container");
    // 1 GiB, of which 800 MiB less 100 MiB of unused caches are used.
    assert_eq!((seen.system.ram_total_bytes, seen.system.ram_available_bytes), (1024 * MIB, 324 * MIB));
    assert_eq!((seen.system.swap_total_bytes, seen.system.swap_free_bytes), (0, 0));
    assert_eq!(seen.system.pressure.map(|pressure| pressure.some_avg10), Some(1.0));
    assert_eq!(seen.system.zswap, None);
    let lacks = seen.lacks.join("\n");
    for expected in ["in a container", "no swap", "no systemd"] {
        assert!(lacks.contains(expected), "{expected} in {lacks}");
    }
}

#[test]
fn a_container_without_a_namespace_of_cgroups_is_told_by_process_1() {
    let machine = copied("machine");
    let path = |path: &str| machine.path().join(path);
    let own = path("sys/fs/cgroup/docker/0123");
    std::fs::create_dir_all(&own).unwrap();
    std::fs::write(path("proc/1/cgroup"), "0::/docker/0123/init.scope\n").unwrap();
    std::fs::write(own.join("memory.max"), "2147483648\n").unwrap();
    std::fs::write(own.join("memory.current"), "1073741824\n").unwrap();
    let seen = observe(&Roots::below(machine.path()), &Config::default()).unwrap();
    assert_eq!((seen.system.ram_total_bytes, seen.system.ram_available_bytes), (2048 * MIB, 1024 * MIB));
    // One that would lead out of the tree is not followed.
    std::fs::write(path("proc/1/cgroup"), "0::/../../proc\n").unwrap();
    let seen = observe(&Roots::below(machine.path()), &Config::default()).unwrap();
    assert_eq!(seen.system.ram_total_bytes, 16_303_412 * KIB);
}

#[test]
fn cgroups_of_both_versions_are_named_as_such() {
    let seen = seen("hybrid");
    assert!(
        seen.lacks.iter().any(|lack| lack.contains("cgroups of versions 1 and 2 mixed")),
        "{:?}",
        seen.lacks
    );
    assert!(!seen.lacks.iter().any(|lack| lack.contains("container")), "{:?}", seen.lacks);
    assert!(seen.services.is_empty());
}

#[test]
fn limits_of_version_1_count_too_and_its_services_have_processes_but_no_limits() {
    let hybrid = copied("hybrid");
    let cgroup = hybrid.path().join("sys/fs/cgroup");
    std::fs::remove_dir_all(cgroup.join("unified")).unwrap();
    std::fs::write(cgroup.join("memory/memory.limit_in_bytes"), "1073741824\n").unwrap();
    std::fs::write(cgroup.join("memory/memory.usage_in_bytes"), "268435456\n").unwrap();
    std::fs::create_dir_all(cgroup.join("systemd/system.slice/omnimind.service")).unwrap();
    std::fs::write(cgroup.join("systemd/cgroup.procs"), "1\n").unwrap();
    std::fs::write(cgroup.join("systemd/system.slice/omnimind.service/cgroup.procs"), "42\n").unwrap();
    std::fs::create_dir_all(hybrid.path().join("proc/42")).unwrap();
    std::fs::write(hybrid.path().join("proc/42/status"), "Name:\tx\nVmRSS:\t 1024 kB\nVmSwap:\t 0 kB\n")
        .unwrap();
    let seen = observe(&Roots::below(hybrid.path()), &Config::default()).unwrap();
    assert_eq!((seen.system.ram_total_bytes, seen.system.ram_available_bytes), (1024 * MIB, 768 * MIB));
    let service = &seen.services["omnimind.service"];
    assert_eq!((service.pid, service.rss_bytes, &service.cgroup), (Some(42), MIB, &None));
    assert_eq!(service.limits, Limits::default());
    assert!(seen.lacks.iter().any(|lack| lack.starts_with("cgroup v1:")), "{:?}", seen.lacks);
}

#[test]
fn what_is_missing_is_a_lack_and_only_meminfo_and_uptime_are_needed() {
    let machine = copied("machine");
    let path = |path: &str| machine.path().join(path);
    std::fs::remove_file(path("proc/pressure/memory")).unwrap();
    std::fs::remove_dir_all(path("proc/700")).unwrap();
    std::fs::remove_dir_all(path("proc/701")).unwrap();
    std::fs::remove_dir_all(path("sys/fs/cgroup/system.slice/omnimind-core.service")).unwrap();
    let roots = Roots::below(machine.path());
    let seen = observe(&roots, &Config::default()).unwrap();
    assert_eq!((seen.system.pressure, seen.services["omnimind.service"].pid), (None, None));
    let lacks = seen.lacks.join("\n");
    assert!(lacks.contains("no PSI") && lacks.contains("none of its 3 processes can be seen"), "{lacks}");
    std::fs::remove_dir_all(path("sys")).unwrap();
    let seen = observe(&roots, &Config::default()).unwrap();
    assert!(seen.services.is_empty() && seen.lacks.join("\n").contains("no cgroups at"), "{:?}", seen.lacks);
    std::fs::write(path("proc/meminfo"), "MemFree: 1 kB\n").unwrap();
    let error = observe(&roots, &Config::default()).unwrap_err();
    assert!(
        matches!(error, Error::Observed { .. }) && error.to_string().ends_with("does not say MemTotal"),
        "{error}"
    );
    std::fs::remove_file(path("proc/uptime")).unwrap();
    assert!(observe(&roots, &Config::default()).unwrap_err().to_string().contains("uptime"));
}

#[test]
fn a_name_that_is_no_unit_is_never_looked_for() {
    let mut config = Config::default();
    let policy = config.services["omnimind.service"].clone();
    config.services = [("../../../proc/700".to_owned(), policy)].into();
    assert!(observe(&Roots::below(&tree("machine")), &config).unwrap().services.is_empty());
}

#[test]
fn who_holds_swap_is_said_with_share_unit_and_start() {
    let swap = Swap::observe(&Roots::below(&tree("machine"))).unwrap();
    let used = 4_194_302 * KIB;
    assert_eq!((swap.total_bytes, swap.used_bytes, swap.zswapped_bytes), (8_388_604 * KIB, used, 400 * MIB));
    let holders: Vec<_> = swap
        .holders
        .iter()
        .map(|holder| (holder.pid, &*holder.name, holder.swap_bytes >> 20, holder.unit.as_deref()))
        .collect();
    let expected = [
        (800, "core", 1024, Some("omnimind-core.service")),
        (701, "model (a) b", 512, Some("omnimind.service")),
        (1000, "frontend", 400, Some("omnimind-frontend.service")),
        (900, "agetty", 1, Some("getty@tty1.service")),
    ];
    assert_eq!(holders, expected);
    assert!((swap.holders[0].share - 0.25).abs() < 1e-6);
    // Clock ticks are hundredths of a second.
    let started: Vec<_> =
        swap.holders.iter().map(|holder| holder.started_unix_s.unwrap() - 1_700_000_000).collect();
    assert_eq!(started, [90, 86_400, 7000, 50]);
    let bytes = used - 1937 * MIB;
    assert_eq!(swap.rest, Rest { bytes, cached_bytes: 64 * MIB, shared_or_unseen_bytes: bytes - 64 * MIB });
    assert!(Swap::observe(&Roots::below(&tree("container"))).unwrap().holders.is_empty());
}
