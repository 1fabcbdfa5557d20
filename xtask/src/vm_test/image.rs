//! The machine's disk: a small Debian with real systemd and its kernel, made from the host's own mirror and cached under a hash
//! of its recipe. No run writes to it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use super::machine::tail;
use super::mirror;

const RELEASE: &str = "bookworm";
/// What the scenarios use, and what a systemd machine needs to come up; the kernel is fetched by the setup.
const PACKAGES: &str = "ca-certificates,dbus,jq,kmod,procps,systemd,systemd-sysv,udev";
/// Runs inside the new root.
const SETUP: &str = include_str!("guest/setup.sh");
/// A sparse file; the root takes a quarter of it.
const SIZE: &str = "2G";

/// The program that must be there, and the Debian package that has it.
const PROGRAMS: [(&str, &str); 5] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("debootstrap", "debootstrap"),
    ("mke2fs", "e2fsprogs"),
    ("mkswap", "util-linux"),
    ("setpriv", "util-linux"),
];

/// A machine that can be booted.
#[derive(Debug)]
pub(super) struct Image {
    /// The root file system.
    pub(super) root: PathBuf,
    pub(super) kernel: PathBuf,
}

/// The image from the cache; made first, which needs root and the network, if it is not there.
pub(super) fn cached_or_made() -> Result<Image> {
    install(&missing(|program| find(program).is_some()))?;
    let cache = cache()?;
    let folder = cache.join(key());
    let image = Image { root: folder.join("root.img"), kernel: folder.join("vmlinuz") };
    if image.root.exists() && image.kernel.exists() {
        return Ok(image);
    }
    let mirror = mirror::of_release(RELEASE)?;
    ensure!(is_root(), "making the machine's image needs root, for debootstrap; run this once as root");
    eprintln!("making the machine's image in {} (500 MB, some minutes)", cache.display());
    let began = Instant::now();
    let work = tempfile::Builder::new().prefix("making-").tempdir_in(&cache)?;
    make(work.path(), &mirror)?;
    for entry in fs::read_dir(&cache)?.flatten() {
        // Other recipes' images; what another run is making right now is left alone.
        if !entry.file_name().to_string_lossy().starts_with("making-") {
            fs::remove_dir_all(entry.path())
                .with_context(|| format!("removing {}", entry.path().display()))?;
        }
    }
    fs::create_dir(&folder)?;
    fs::rename(work.path().join("vmlinuz"), &image.kernel)?;
    fs::rename(work.path().join("root.img"), &image.root)?;
    eprintln!("made in {} s", began.elapsed().as_secs());
    Ok(image)
}

fn make(work: &Path, mirror: &str) -> Result<()> {
    let (root, log) = (work.join("root"), work.join("log"));
    let mut bootstrap = Command::new(find("debootstrap").context("debootstrap is not there")?);
    bootstrap.args(["--variant=minbase", &format!("--include={PACKAGES}"), RELEASE]).arg(&root).arg(mirror);
    logged(&mut bootstrap, &log)?;
    fs::write(root.join("setup.sh"), SETUP)?;
    logged(Command::new("chroot").arg(&root).args(["sh", "/setup.sh"]), &log)?;
    fs::remove_file(root.join("setup.sh"))?;
    fs::rename(root.join("boot/vmlinuz"), work.join("vmlinuz"))
        .context("the kernel's package has no kernel")?;
    let mut format = Command::new(find("mke2fs").context("mke2fs is not there")?);
    format.args(["-q", "-t", "ext4", "-L", "root", "-d"]).arg(&root).arg(work.join("root.img")).arg(SIZE);
    logged(&mut format, &log)
}

/// Runs a command that makes the image; what it says is shown only if it fails.
fn logged(command: &mut Command, log: &Path) -> Result<()> {
    let what = format!("{command:?}");
    let file = fs::File::create(log)?;
    command.env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive");
    // Where some people's paths have no such folders, the new root's programs are not found.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"));
    let status = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).status();
    let status = status.with_context(|| format!("starting {what}"))?;
    if !status.success() {
        bail!(
            "{what} failed ({status}); the end of what it said:\n{}",
            tail(&fs::read(log).unwrap_or_default())
        );
    }
    Ok(())
}

/// Everything that goes into an image, but for the packages' versions.
fn key() -> String {
    let recipe = [RELEASE, PACKAGES, SIZE, SETUP].join("\n");
    blake3::hash(recipe.as_bytes()).to_hex()[..16].to_owned()
}

/// `$XDG_CACHE_HOME/omnimind-vm`.
fn cache() -> Result<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = base.or_else(home).context("neither XDG_CACHE_HOME nor HOME is set")?.join("omnimind-vm");
    fs::create_dir_all(&cache).with_context(|| format!("creating {}", cache.display()))?;
    Ok(cache)
}

/// Where a program is; those of administrators are found by everybody.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// The packages of the programs that are not there, each once.
fn missing(is_there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let mut packages: Vec<_> =
        PROGRAMS.iter().filter(|(program, _)| !is_there(program)).map(|(_, package)| *package).collect();
    packages.dedup();
    packages
}

fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let by_hand = format!("install by hand: apt-get install --no-install-recommends {}", packages.join(" "));
    ensure!(is_root(), "missing, and only root could install them: {}; {by_hand}", packages.join(", "));
    eprintln!("installing {}", packages.join(" "));
    let log = tempfile::NamedTempFile::new()?;
    logged(Command::new("apt-get").args(["update", "--quiet"]), log.path())
        .with_context(|| by_hand.clone())?;
    let arguments = ["install", "--yes", "--quiet", "--no-install-recommends"];
    logged(Command::new("apt-get").args(arguments).args(packages), log.path()).context(by_hand)
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_by_its_package_once() {
        assert!(missing(|_| true).is_empty());
        assert_eq!(missing(|program| program != "mke2fs"), ["e2fsprogs"]);
        assert_eq!(missing(|_| false), ["qemu-system-x86", "debootstrap", "e2fsprogs", "util-linux"]);
    }

    #[test]
    fn the_key_is_the_name_of_a_folder() {
        assert_eq!(key().len(), 16);
        assert!(key().bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
