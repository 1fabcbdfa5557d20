//! Where the services are: the cgroup of each unit, its processes, limits and pressure.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::reader::Reader;
use super::{Limits, LowCeiling, Roots, Service, machine, parse, processes};

/// So many directories are looked into at most, for units and for the processes of one.
const MOST_DIRECTORIES: usize = 4096;
/// So deep.
const DEEPEST: usize = 32;
/// The name of version 2's root where version 1 is used too.
const HYBRID: &str = "unified";
/// The name of systemd's own hierarchy of version 1.
const NAMED: &str = "systemd";

/// Where units were in the last look. Cgroups are searched only for those that are not there any more.
#[derive(Debug, Default)]
pub(super) struct Cgroups {
    /// Below which the hierarchy of units is.
    root: PathBuf,
    /// Whether that has limits: version 2 alone.
    has_limits: bool,
    /// The directory of each unit that was found.
    found: BTreeMap<String, PathBuf>,
    pids: Vec<u32>,
}

impl Cgroups {
    /// Finds the units, and says what is lacking.
    pub(super) fn look(&mut self, roots: &Roots, units: &[&str], lacks: &mut Vec<String>) {
        let only_v2 = roots.cgroup.join("cgroup.controllers").exists();
        let named = [HYBRID, NAMED].into_iter().map(|name| roots.cgroup.join(name));
        let old = named.into_iter().find(|root| root.join("cgroup.procs").exists());
        self.has_limits = only_v2;
        self.root = match (only_v2, old) {
            (true, _) => roots.cgroup.clone(),
            (false, Some(root)) => {
                let what =
                    if root.ends_with(HYBRID) { "cgroups of versions 1 and 2 mixed" } else { "cgroup v1" };
                lacks.push(format!(
                    "{what}: services can be seen and asked, but not protected or limited, which takes \
                     systemd.unified_cgroup_hierarchy=1 at boot"
                ));
                root
            }
            (false, None) => {
                lacks.push(format!("no cgroups at {}: services cannot be found", roots.cgroup.display()));
                self.found.clear();
                return;
            }
        };
        self.found.retain(|unit, path| units.contains(&unit.as_str()) && path.join("cgroup.procs").exists());
        let missing: Vec<&str> =
            units.iter().copied().filter(|unit| !self.found.contains_key(*unit)).collect();
        if missing.is_empty() {
            return;
        }
        let mut search = Search { missing, found: &mut self.found, directories: 0, slices: 0 };
        search.descend(&self.root, 0);
        if search.slices == 0 {
            lacks.push("no systemd, or none that can be seen from here: services cannot be found".to_owned());
        }
        if search.directories > MOST_DIRECTORIES {
            lacks
                .push(format!("more than {MOST_DIRECTORIES} slices: services in the others cannot be found"));
        }
    }

    /// What a unit uses; `None` if it is not there.
    pub(super) fn service(
        &mut self,
        reader: &mut Reader,
        roots: &Roots,
        unit: &str,
        lacks: &mut Vec<String>,
    ) -> Option<Service> {
        let directory = self.found.get(unit)?;
        self.pids.clear();
        if let Err(lack) = collect_pids(reader, directory, &mut self.pids) {
            lacks.push(format!("{unit}: {lack}"));
        }
        let mut service = Service { pids: self.pids.clone(), ..Service::default() };
        // What was read back keeps its place in swap, and is charged for, as long as there is room; so only 0 says something.
        let has_swap =
            !self.has_limits || machine::number(reader, &directory.join("memory.swap.current")) != Some(0);
        sum(reader, roots, unit, &mut service, has_swap, lacks);
        if !self.has_limits {
            return Some(service);
        }
        service.cgroup = directory.strip_prefix(&roots.cgroup).ok().map(Path::to_owned);
        let mut limit = |file: &str| machine::number(reader, &directory.join(file));
        service.limits = Limits {
            low_bytes: limit("memory.low"),
            high_bytes: limit("memory.high"),
            max_bytes: limit("memory.max"),
            swap_max_bytes: limit("memory.swap.max"),
        };
        service.low_ceiling = low_ceiling(reader, &roots.cgroup, directory);
        // Without its own PSI (`CONFIG_PSI` off, or `cgroup_disable=pressure`) there is none; the machine's lack says it.
        service.pressure = reader.once(&directory.join("memory.pressure")).ok().and_then(parse::pressure);
        if service.limits.low_bytes.is_none() && !directory.join("memory.low").exists() {
            lacks.push(format!(
                "{unit}: its cgroup has no memory controller, so it can be neither protected nor limited"
            ));
        }
        Some(service)
    }
}

/// The one with the least `memory.low` of those that a cgroup lies in. The root has none, and lets everything through.
fn low_ceiling(reader: &mut Reader, root: &Path, directory: &Path) -> Option<LowCeiling> {
    let outer = directory.ancestors().skip(1).take_while(|path| *path != root).take(DEEPEST);
    let ceilings = outer.filter_map(|path| {
        let slice = path.file_name()?.to_str()?.to_owned();
        Some(LowCeiling { slice, low_bytes: machine::number(reader, &path.join("memory.low"))? })
    });
    ceilings.min_by_key(|ceiling| ceiling.low_bytes)
}

/// Adds up what the processes use; `has_swap` says whether any of it may be swapped.
fn sum(
    reader: &mut Reader,
    roots: &Roots,
    unit: &str,
    service: &mut Service,
    has_swap: bool,
    lacks: &mut Vec<String>,
) {
    let (mut seen, mut refused, mut largest) = (0, 0, None);
    for pid in &service.pids {
        let used = if has_swap {
            let process = processes::read(reader, &roots.proc, *pid);
            process.map(|process| process.map(|process| (process.rss_bytes, process.swap_bytes)))
        } else {
            processes::read_rss(reader, &roots.proc, *pid).map(|rss| rss.map(|rss| (rss, 0)))
        };
        match used {
            Ok(Some((rss_bytes, swap_bytes))) => {
                seen += 1;
                service.rss_bytes = service.rss_bytes.saturating_add(rss_bytes);
                service.swap_bytes = service.swap_bytes.saturating_add(swap_bytes);
                let size = rss_bytes.saturating_add(swap_bytes);
                if largest.is_none_or(|(most, _)| size > most) {
                    largest = Some((size, *pid));
                }
            }
            Ok(None) => {}
            Err(_) => refused += 1,
        }
    }
    service.pid = largest.map(|(_, pid)| pid);
    let all = service.pids.len();
    if refused > 0 {
        lacks.push(format!("{unit}: {refused} of its {all} processes may not be looked at; root may"));
    } else if seen == 0 && all > 0 {
        lacks.push(format!(
            "{unit}: none of its {all} processes can be seen; /proc may hide those of others (hidepid), root sees them"
        ));
    }
}

/// The processes of a cgroup and of those in it, each once, in order.
fn collect_pids(reader: &mut Reader, directory: &Path, pids: &mut Vec<u32>) -> Result<(), String> {
    let mut directories = vec![(directory.to_owned(), 0)];
    let (mut looked, mut foreign) = (0, false);
    let mut lack = Ok(());
    while let Some((directory, depth)) = directories.pop() {
        looked += 1;
        match reader.all(&directory.join("cgroup.procs")) {
            Ok(bytes) => {
                for pid in
                    parse::lines(bytes).filter_map(parse::number).filter_map(|pid| u32::try_from(pid).ok())
                {
                    // So are those of other PID namespaces shown.
                    foreign |= pid == 0;
                    pids.extend(Some(pid).filter(|pid| *pid > 0));
                }
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                lack = Err(format!("{} may not be read; root may", directory.display()));
            }
            // Gone meanwhile; or threaded, with its processes listed further up.
            Err(_) => {}
        }
        if depth < DEEPEST && looked < MOST_DIRECTORIES && !is_leaf(&directory) {
            directories.extend(subdirectories(&directory).into_iter().map(|(_, path)| (path, depth + 1)));
        }
    }
    pids.sort_unstable();
    pids.dedup();
    if foreign {
        lack = Err("some of its processes are outside of this container and cannot be seen".to_owned());
    }
    lack
}

/// Whether no cgroup is in it, as its number of links tells: much cheaper than to list it.
fn is_leaf(directory: &Path) -> bool {
    #[cfg(unix)]
    return std::os::unix::fs::MetadataExt::nlink(&match fs::metadata(directory) {
        Ok(metadata) => metadata,
        Err(_) => return true,
    }) == 2;
    #[cfg(not(unix))]
    return !directory.exists();
}

/// By name, so that the order is the same in each look.
fn subdirectories(directory: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    // Not through links, which cgroups have none of: a recorded tree might lead out of itself.
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let named = directories.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())));
    let mut all: Vec<_> = named.collect();
    all.sort_unstable();
    all
}

/// Looks for units in slices, and in the managers of users, which have slices of their own. The system's are found first:
/// `system.slice` is before `user.slice`.
struct Search<'a> {
    missing: Vec<&'a str>,
    found: &'a mut BTreeMap<String, PathBuf>,
    directories: usize,
    slices: usize,
}

impl Search<'_> {
    fn descend(&mut self, directory: &Path, depth: usize) {
        self.directories += 1;
        if depth > DEEPEST || self.directories > MOST_DIRECTORIES || self.missing.is_empty() {
            return;
        }
        for (name, path) in subdirectories(directory) {
            let extension = Path::new(&name).extension().and_then(|extension| extension.to_str());
            if let Some(at) = self.missing.iter().position(|unit| *unit == name) {
                self.missing.swap_remove(at);
                self.found.insert(name.clone(), path.clone());
            }
            let holds_units = match extension {
                Some("slice") => true,
                Some("service") => name.starts_with("user@"),
                Some("scope") => {
                    self.slices += usize::from(name == "init.scope");
                    false
                }
                _ => false,
            };
            if holds_units {
                self.slices += 1;
                self.descend(&path, depth + 1);
            }
        }
    }
}
