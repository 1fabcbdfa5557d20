//! Rust tests of a small project without dependencies: `cargo-test`, and `nextest` behind the gate where it is installed.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod common;

use std::path::PathBuf;
use std::process::Command;
use std::sync::Once;

use common::{MIB, Project, lives, outcomes, pids, test};
use test_groups::GroupReport;
use test_groups::report::Outcome;

const LIBRARY: &str = r#"
//! A library.
#[cfg(test)]
mod tests {
    use std::io::Write;
    #[test] fn good() { println!("fine"); }
    #[test] #[ignore] fn lazy() {}
    #[test] fn bad() { println!("printed before"); panic!("said at last"); }
    #[test] fn runs_out() {
        if std::env::var("CUDA_VISIBLE_DEVICES").as_deref() != Ok("") { panic!("CUDA out of memory"); }
    }
    #[test] fn environment() {
        let directory = std::env::var("CARGO_MANIFEST_DIR").unwrap();
        assert_eq!(std::env::current_dir().unwrap().canonicalize().unwrap(), std::path::Path::new(&directory).canonicalize().unwrap());
        assert_eq!(std::env::var("CARGO_PKG_VERSION_MINOR").as_deref(), Ok("2"));
        assert!(std::env::var("OMNIMIND_TEST").unwrap().starts_with("r/"));
    }
    #[test] fn holds() {
        let mut card = std::fs::File::options().append(true).create(true).open(std::env::var("CARD").unwrap()).unwrap();
        writeln!(card, "{} {}", std::process::id(), 70u64 << 20).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(150));
    }
}
"#;

const INTEGRATION: &str = r#"
#[test] fn again() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tries");
    let tries = std::fs::read_to_string(path).unwrap_or_default();
    std::fs::write(path, format!("{tries}x")).unwrap();
    assert_eq!(tries.len(), 1);
}
#[test] fn passes_with_a_name_that_another_begins_with() {}
#[test] fn passes_with_a_name_that_another_begins_with_and_more() {}
"#;

/// A workspace with one package, which a library and a binary of the same name are in.
fn project() -> Project {
    let project = Project::new();
    project
        .write("project/Cargo.toml", "[workspace]\nmembers = [\"small\"]\nresolver = \"2\"\n")
        .write(
            "project/small/Cargo.toml",
            "[package]\nname = \"small\"\nversion = \"0.2.1\"\nedition = \"2021\"\n",
        )
        .write("project/small/src/lib.rs", LIBRARY)
        .write("project/small/src/main.rs", "fn main() {}\n#[cfg(test)] mod tests { #[test] fn good() {} }\n")
        .write("project/small/tests/whole.rs", INTEGRATION);
    project
}

fn group(runner: &str, settings: &str) -> String {
    // The tests' own environment may say where to build, and with which runner.
    format!(
        "[[group]]\nname = \"r\"\nquestion = \"?\"\nrunner = {runner:?}\ndirectory = \"project\"\n\
         environment = {{ CARGO_TARGET_DIR = \"target\", RUST_BACKTRACE = \"0\" }}\n{settings}\n"
    )
}

fn all_is_as_it_should(report: &GroupReport) {
    assert_eq!(report.stopped, None);
    let outcome = |id| test(report, id).outcome;
    assert_eq!(outcome("small tests::good"), Outcome::Passed);
    assert_eq!(outcome("small::bin/small tests::good"), Outcome::Passed);
    assert_eq!(outcome("small tests::lazy"), Outcome::Skipped);
    assert_eq!(outcome("small tests::bad"), Outcome::Failed);
    assert_eq!(outcome("small tests::runs_out"), Outcome::PassedOnCpu);
    assert_eq!(outcome("small tests::environment"), Outcome::Passed);
    assert_eq!(outcome("small::whole again"), Outcome::Passed);
    assert_eq!(test(report, "small::whole again").attempts, 2);
    assert_eq!(outcome("small::whole passes_with_a_name_that_another_begins_with"), Outcome::Passed);
    assert_eq!(report.tests.len(), 10);
    let message = test(report, "small tests::bad").message.as_ref().unwrap();
    assert!(message.contains("said at last"), "{message}");
    assert_eq!(test(report, "small tests::holds").vram.unwrap().peak_bytes, 70 * MIB);
    assert_eq!(report.ooms, 1);
}

const SETTINGS: &str = "on_out_of_memory = \"retry_on_cpu\"\nretries = 1\n";

#[test]
fn cargo_test_runs_each_test_in_a_process_as_cargo_would() {
    let project = project();
    all_is_as_it_should(
        &project.run(&group("cargo-test", &format!("{SETTINGS}concurrency = {{ parallel = 2 }}"))),
    );
}

#[test]
fn packages_binaries_and_filters_choose() {
    let project = project();
    let settings =
        "packages = [\"small\"]\nbinaries = [\"whole\"]\nfilter = \"begins\"\nconcurrency = \"isolated\"";
    let report = project.run(&group("cargo-test", settings));
    assert_eq!(outcomes(&report).into_values().collect::<Vec<_>>(), [Outcome::Passed; 2]);
}

#[test]
fn a_build_that_fails_stops_its_group_and_no_other() {
    let project = project();
    project.write("project/small/src/lib.rs", "this does not compile");
    let other = common::scripts("", &[("a", "true")]);
    let report = project.try_run(&format!("{}{other}", group("cargo-test", ""))).unwrap();
    assert!(report.groups[0].stopped.as_ref().unwrap().contains("error"), "{:?}", report.groups[0].stopped);
    assert_eq!((report.groups[0].tests.len(), report.groups[1].passed), (0, 1));
    let error = project.try_run(&group("cargo-test", "")).unwrap_err().to_string();
    assert!(error.contains("failed before any test ran"), "{error}");
}

static BUILT: Once = Once::new();

/// The example `gate`, built beside these tests; `None` if `nextest` is not there.
fn nextest() -> Option<PathBuf> {
    if !Command::new("cargo").args(["nextest", "--version"]).output().is_ok_and(|ran| ran.status.success()) {
        println!("cargo-nextest is not there: skipped");
        return None;
    }
    // `TARGET/debug/deps/rust_runners-…`, and the gate is `TARGET/debug/examples/gate`.
    let own = std::env::current_exe().unwrap();
    let profile = own.ancestors().nth(2).unwrap();
    let gate = profile.join("examples/gate");
    BUILT.call_once(|| {
        // A run of all tests has built it; one of these alone has not.
        let age = |path: &PathBuf| std::fs::metadata(path).and_then(|file| file.modified()).ok();
        if age(&gate) < age(&own) {
            let mut build = Command::new("cargo");
            build.args(["build", "--quiet", "--package", "test-groups", "--example", "gate", "--target-dir"]);
            build.arg(profile.parent().unwrap()).current_dir(env!("CARGO_MANIFEST_DIR"));
            build.args(profile.ends_with("release").then_some("--release"));
            assert!(build.status().unwrap().success());
        }
    });
    Some(gate)
}

fn run_nextest(project: &mut Project, settings: &str) -> Option<GroupReport> {
    project.options.gate = Some(nextest()?);
    Some(project.run(&group("nextest", settings)))
}

#[test]
fn nextest_runs_tests_that_come_through_the_gate() {
    for concurrency in ["\"sequential\"", "{ parallel = 3 }"] {
        let mut project = project();
        let Some(report) = run_nextest(&mut project, &format!("{SETTINGS}concurrency = {concurrency}"))
        else {
            return;
        };
        all_is_as_it_should(&report);
    }
}

#[test]
fn nextest_stops_at_the_first_failure_and_takes_a_filter() {
    let mut project = project();
    let settings = "filter = \"test(bad) | test(holds) | test(runs_out)\"\nfail_fast = true\nconcurrency = \"sequential\"";
    let Some(report) = run_nextest(&mut project, settings) else { return };
    assert_eq!(
        outcomes(&report).into_values().collect::<Vec<_>>(),
        [Outcome::Failed, Outcome::NotRun, Outcome::NotRun]
    );
    assert!(report.stopped.as_ref().unwrap().contains("tests::bad"));
}

const NEEDY: &str = r#"
use std::io::Write;
fn hold(bytes: u64) {
    let mut card = std::fs::File::options().append(true).create(true).open(std::env::var("CARD").unwrap()).unwrap();
    writeln!(card, "{} {bytes}", std::process::id()).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(250));
}
#[test] fn a() { hold(380 << 20) }
#[test] fn b() { hold(380 << 20) }
#[test] fn c() { hold(380 << 20) }
#[test] fn d() { hold(380 << 20) }
#[test] fn e() { hold(380 << 20) }
"#;

#[test]
fn nextest_tests_wait_at_the_gate_for_room_on_the_card() {
    let mut project = project();
    project.write("project/small/tests/whole.rs", NEEDY);
    let settings = "binaries = [\"whole\"]\nconcurrency = \"adaptive\"";
    let Some(first) = run_nextest(&mut project, settings) else { return };
    assert_eq!(first.passed, 5);
    let second = run_nextest(&mut project, settings).unwrap();
    assert_eq!((second.passed, second.peak_gpu_processes), (5, 2));
    assert!(second.samples.iter().all(|sample| sample.used_bytes <= 1000 * MIB));
    assert!(second.tests.iter().any(|test| test.waited_ms > 0));
}

const SLOW: &str = r#"
#[test] fn slow() {
    let child = std::process::Command::new("setsid").args(["sleep", "600"]).spawn().unwrap();
    std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/pids"), format!("{}\n", child.id())).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(600));
}
#[test] fn leaves() {
    std::process::Command::new("setsid").args(["sleep", "601"]).stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null()).spawn().unwrap();
}
#[test] fn crashes() { std::process::abort() }
"#;

#[test]
fn slow_tests_of_nextest_are_ended_with_their_children_and_daemons_are_counted() {
    let mut project = project();
    project.write("project/small/tests/whole.rs", SLOW);
    let settings = "binaries = [\"whole\"]\ntimeout = \"1s\"\nconcurrency = { parallel = 3 }";
    let Some(report) = run_nextest(&mut project, settings) else { return };
    let of = |name: &str| test(&report, &format!("small::whole {name}"));
    assert_eq!(
        (of("slow").outcome, of("leaves").outcome, of("crashes").outcome),
        (Outcome::TimedOut, Outcome::Passed, Outcome::Failed)
    );
    assert_eq!(of("leaves").left_processes, 1);
    assert!(pids(&project.path("project/small/pids")).iter().all(|pid| !lives(*pid)));
}

#[test]
fn a_runner_that_the_project_has_runs_behind_the_gate() {
    let mut project = project();
    let triple = Command::new("rustc").args(["--print", "host-tuple"]).output().unwrap();
    let triple = String::from_utf8(triple.stdout).unwrap().trim().to_owned();
    let wrapper = project.path("wrapper.sh");
    project
        .write("wrapper.sh", &format!("echo \"$@\" >> {}\nexec \"$@\"\n", project.path("wrapped").display()))
        .write("project/.cargo/config.toml", &format!("[target.{triple}]\nrunner = [\"sh\", {wrapper:?}]\n"));
    let Some(report) = run_nextest(&mut project, "filter = \"test(environment)\"") else { return };
    assert_eq!(test(&report, "small tests::environment").outcome, Outcome::Passed);
    assert!(project.read("wrapped").contains("--exact tests::environment"), "{}", project.read("wrapped"));
}
