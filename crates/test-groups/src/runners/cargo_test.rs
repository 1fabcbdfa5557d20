//! The test binaries that `cargo test --no-run` builds: each lists its tests, and each test runs in a process of its own. Doc
//! tests have no binary, and are not run.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::{Listed, cargo};
use crate::error::Result;
use crate::run::{Context, Halt};

/// The binaries, and which test is in which.
#[derive(Debug)]
pub(crate) struct Suite {
    binaries: Vec<Binary>,
    /// Number of the binary, and name of the test in it.
    tests: Vec<(usize, String)>,
}

#[derive(Debug)]
struct Binary {
    id: String,
    path: PathBuf,
    directory: PathBuf,
    environment: Vec<(String, OsString)>,
}

/// What of cargo's messages is of use.
#[derive(Deserialize)]
struct Message {
    reason: String,
    package_id: Option<String>,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
    /// Of a build script: where the libraries are that it found.
    #[serde(default)]
    linked_paths: Vec<String>,
    #[serde(default)]
    env: Vec<(String, String)>,
    out_dir: Option<String>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    manifest_path: PathBuf,
    #[serde(default)]
    authors: Vec<String>,
    description: Option<String>,
    homepage: Option<String>,
    repository: Option<String>,
    license: Option<String>,
    license_file: Option<String>,
    rust_version: Option<String>,
    readme: Option<String>,
}

pub(super) fn list(context: &Context<'_>) -> Result<(Suite, Vec<Listed>), Halt> {
    let binaries = build(context)?;
    let mut suite = Suite { binaries: Vec::new(), tests: Vec::new() };
    let mut listed = Vec::new();
    for binary in binaries {
        let names = names(context, &binary, false)?;
        let ignored = self::names(context, &binary, true)?;
        let number = suite.binaries.len();
        let wanted = |name: &&String| context.group.filter.as_ref().is_none_or(|part| name.contains(part));
        for name in names.iter().filter(wanted) {
            listed.push(Listed { id: format!("{} {name}", binary.id), skipped: ignored.contains(name) });
            suite.tests.push((number, name.clone()));
        }
        suite.binaries.push(binary);
    }
    Ok((suite, listed))
}

impl Suite {
    pub(super) fn one(&self, context: &Context<'_>, test: usize) -> Command {
        let (binary, name) = &self.tests[test];
        let mut command = self.binaries[*binary].command(context);
        command.args(["--exact", name, "--nocapture"]);
        command
    }
}

impl Binary {
    fn command(&self, context: &Context<'_>) -> Command {
        let mut command = Command::new(&self.path);
        command.current_dir(&self.directory).envs(self.environment.iter().map(|(name, value)| (name, value)));
        context.environment(&mut command);
        command
    }
}

/// Builds, and returns the test binaries in cargo's order.
fn build(context: &Context<'_>) -> Result<Vec<Binary>, Halt> {
    let mut words = cargo::program(context);
    words.extend(["test", "--no-run", "--message-format", "json-render-diagnostics"].map(str::to_owned));
    words.extend(cargo::selection(context.group));
    words.extend(context.group.runner_arguments.iter().cloned());
    let (errand, output) = context.errand_output(&words, |_| {}, cargo::MOST_BYTES)?;
    if !errand.ended.success() {
        return Err(context.failed("cargo test --no-run", &errand).into());
    }
    let packages = packages(context)?;
    let libraries = standard_library(context);
    let messages: Vec<Message> =
        output.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let scripts = messages.iter().filter(|message| message.reason == "build-script-executed");
    let linked: Vec<&str> =
        scripts.clone().flat_map(|script| &script.linked_paths).map(|path| bare(path)).collect();
    let scripts: BTreeMap<&str, &Message> =
        scripts.filter_map(|script| Some((script.package_id.as_deref()?, script))).collect();
    let mut binaries = Vec::new();
    for message in &messages {
        let tests = message.profile.as_ref().is_some_and(|profile| profile.test);
        let (Some(path), Some(target), Some(package)) =
            (&message.executable, &message.target, &message.package_id)
        else {
            continue;
        };
        let Some(package) = packages.get(package).filter(|_| tests && message.reason == "compiler-artifact")
        else {
            continue;
        };
        let kind = target.kind.first().map_or("lib", String::as_str);
        let mut environment = package.environment();
        environment.push(library_path(path, &linked, libraries.as_deref()));
        if let Some(script) = scripts.get(package.id.as_str()) {
            environment.extend(script.env.iter().map(|(name, value)| (name.clone(), value.into())));
            environment.extend(script.out_dir.iter().map(|path| ("OUT_DIR".to_owned(), path.into())));
        }
        binaries.push(Binary {
            id: cargo::binary_id(&package.name, kind, &target.name),
            path: path.clone(),
            directory: package.directory().to_owned(),
            environment,
        });
    }
    Ok(binaries)
}

/// Without `native=` and the like before it.
fn bare(path: &str) -> &str {
    let kinds = ["native", "dependency", "crate", "framework", "all"];
    path.split_once('=').filter(|(kind, _)| kinds.contains(kind)).map_or(path, |(_, path)| path)
}

fn packages(context: &Context<'_>) -> Result<BTreeMap<String, Package>, Halt> {
    let mut words = cargo::program(context);
    words.extend(["metadata", "--format-version", "1", "--no-deps"].map(str::to_owned));
    let manifest =
        context.group.runner_arguments.iter().skip_while(|word| *word != "--manifest-path").take(2);
    words.extend(manifest.cloned());
    let (errand, output) = context.errand_output(&words, |_| {}, cargo::MOST_BYTES)?;
    if !errand.ended.success() {
        return Err(context.failed("cargo metadata", &errand).into());
    }
    let metadata: Metadata = serde_json::from_slice(&output).map_err(|error| {
        context.broken("cargo metadata", format!("its output is not as expected: {error}"))
    })?;
    Ok(metadata.packages.into_iter().map(|package| (package.id.clone(), package)).collect())
}

impl Package {
    fn directory(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(Path::new("/"))
    }

    /// What cargo sets for the tests of a package.
    fn environment(&self) -> Vec<(String, OsString)> {
        let (release, pre) = self.version.split_once('-').unwrap_or((&self.version, ""));
        let pre = pre.split('+').next().unwrap_or("");
        let mut numbers = release.split('+').next().unwrap_or("").split('.');
        let mut number = || numbers.next().unwrap_or("").to_owned();
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let mut variables: Vec<(String, OsString)> = [
            ("NAME", self.name.clone()),
            ("VERSION", self.version.clone()),
            ("VERSION_MAJOR", number()),
            ("VERSION_MINOR", number()),
            ("VERSION_PATCH", number()),
            ("VERSION_PRE", pre.to_owned()),
            ("AUTHORS", self.authors.join(":")),
            ("DESCRIPTION", text(&self.description)),
            ("HOMEPAGE", text(&self.homepage)),
            ("REPOSITORY", text(&self.repository)),
            ("LICENSE", text(&self.license)),
            ("LICENSE_FILE", text(&self.license_file)),
            ("RUST_VERSION", text(&self.rust_version)),
            ("README", text(&self.readme)),
        ]
        .into_iter()
        .map(|(name, value)| (format!("CARGO_PKG_{name}"), value.into()))
        .collect();
        variables.push(("CARGO_MANIFEST_DIR".to_owned(), self.directory().into()));
        variables.push(("CARGO_MANIFEST_PATH".to_owned(), self.manifest_path.clone().into()));
        variables
    }
}

/// Where the dynamic standard library is, which tests of procedural macros need.
fn standard_library(context: &Context<'_>) -> Option<PathBuf> {
    let words = ["rustc", "--print", "target-libdir"].map(str::to_owned);
    let (errand, output) = context.errand_output(&words, |_| {}, 1 << 16).ok()?;
    let path = String::from_utf8(output).ok()?;
    errand.ended.success().then(|| PathBuf::from(path.trim()))
}

fn library_path(binary: &Path, linked: &[&str], standard: Option<&Path>) -> (String, OsString) {
    let deps = binary.parent().unwrap_or(Path::new("/"));
    let mut paths: Vec<PathBuf> = linked.iter().map(PathBuf::from).collect();
    paths.push(deps.to_owned());
    paths.extend(deps.parent().map(Path::to_owned));
    paths.extend(standard.map(Path::to_owned));
    if let Some(inherited) = std::env::var_os("LD_LIBRARY_PATH") {
        paths.extend(std::env::split_paths(&inherited));
    }
    // A directory with a `:` in its name cannot be said; the loader then looks where it always does.
    ("LD_LIBRARY_PATH".to_owned(), std::env::join_paths(paths).unwrap_or_default())
}

/// The tests of a binary: `NAME: test` lines, which is what `--list --format terse` promises.
fn names(context: &Context<'_>, binary: &Binary, ignored: bool) -> Result<Vec<String>, Halt> {
    let mut words = vec![binary.path.to_string_lossy().into_owned(), "--list".to_owned()];
    words.extend(ignored.then(|| "--ignored".to_owned()));
    words.extend(["--format", "terse"].map(str::to_owned));
    let from = |command: &mut Command| {
        command.current_dir(&binary.directory);
        command.envs(binary.environment.iter().map(|(name, value)| (name, value)));
        context.environment(command);
    };
    let (errand, output) = context.errand_output(&words, from, cargo::MOST_BYTES)?;
    if !errand.ended.success() {
        return Err(context.failed(&format!("listing the tests of {}", binary.id), &errand).into());
    }
    let lines = output.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    Ok(lines.filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_taken_apart_as_cargo_does() {
        let json = r#"{"id":"i","name":"n","version":"1.2.3-rc.1+build","manifest_path":"/a/Cargo.toml"}"#;
        let package: Package = serde_json::from_str(json).unwrap();
        let environment: BTreeMap<String, OsString> = package.environment().into_iter().collect();
        let of = |name: &str| environment[name].to_str().unwrap().to_owned();
        assert_eq!(of("CARGO_PKG_VERSION_PATCH"), "3");
        assert_eq!(of("CARGO_PKG_VERSION_PRE"), "rc.1");
        assert_eq!(of("CARGO_MANIFEST_DIR"), "/a");
    }

    #[test]
    fn kinds_of_linked_paths_are_no_part_of_them() {
        assert_eq!(bare("native=/a=b"), "/a=b");
        assert_eq!(bare("/a=b"), "/a=b");
    }
}
