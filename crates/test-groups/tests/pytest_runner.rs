//! Tests of pytest: in order in one process, one process each, several workers. With `OMNIMIND_TEST_PYTHON`, a Python that has
//! pytest (and perhaps pytest-xdist), else `python3` if that has it; else these say "pytest is not there: skipped".

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod common;

use std::process::Command;

use common::{MIB, Project, lives, outcomes, pids, test};
use test_groups::report::{Outcome, VramOf};

fn python() -> Option<String> {
    let python = std::env::var("OMNIMIND_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let there =
        Command::new(&python).args(["-c", "import pytest"]).output().is_ok_and(|ran| ran.status.success());
    if !there {
        println!("pytest is not there: skipped");
    }
    there.then_some(python)
}

fn group(python: &str, settings: &str) -> String {
    format!(
        "[[group]]\nname = \"p\"\nquestion = \"?\"\nrunner = \"pytest\"\nprogram = [{python:?}]\ndirectory = \"project\"\n{settings}\n"
    )
}

/// What every project here has: a card on which a test writes what its process holds.
const CARD: &str = "\
import os, time

def hold(mib):
    with open(os.environ['CARD'], 'a') as card:
        card.write('%d %d\\n' % (os.getpid(), mib << 20))
    time.sleep(0.05)
";

const MIXED: &str = "\
import os, sys, pytest
from card import hold

@pytest.fixture(scope='module')
def model():
    with open('fixtures', 'a') as file: file.write('up\\n')
    yield 7
    with open('fixtures', 'a') as file: file.write('down\\n')

def test_good(model): assert model == 7
def test_bad(model):
    print('printed before')
    assert model == 8
@pytest.mark.skip(reason='not today')
def test_skipped(): pass
@pytest.mark.xfail
def test_expected(): assert False
@pytest.mark.parametrize('text', ['a::b', 'x y[1]/z', 'é'])
def test_names(model, text): pass
class TestClass:
    def test_method(self): pass
@pytest.fixture
def broken():
    yield
    raise RuntimeError('teardown broke')
def test_teardown(broken): pass
def test_runs_out():
    if os.environ.get('CUDA_VISIBLE_DEVICES') != '':
        raise MemoryError('CUDA out of memory. Tried to allocate 2 GiB')
def test_prints_and_passes():
    sys.stderr.write('CUDA out of memory\\n')
";

fn mixed() -> Project {
    let project = Project::new();
    project
        .write("project/card.py", CARD)
        .write("project/conftest.py", "")
        .write("project/test_mixed.py", MIXED);
    project
}

fn all_is_as_it_should(project: &Project, report: &test_groups::GroupReport) {
    assert_eq!(report.stopped, None);
    let id = |name: &str| format!("test_mixed.py::{name}");
    let outcome = |name| test(report, &id(name)).outcome;
    assert_eq!(outcome("test_good"), Outcome::Passed);
    assert_eq!(outcome("test_bad"), Outcome::Failed);
    assert_eq!(outcome("test_skipped"), Outcome::Skipped);
    assert_eq!(outcome("test_expected"), Outcome::Skipped);
    assert_eq!(outcome("test_names[a::b]"), Outcome::Passed);
    assert_eq!(outcome("test_names[x y[1]/z]"), Outcome::Passed);
    assert_eq!(outcome("TestClass::test_method"), Outcome::Passed);
    assert_eq!(outcome("test_teardown"), Outcome::Failed);
    assert_eq!(outcome("test_runs_out"), Outcome::PassedOnCpu);
    assert_eq!(outcome("test_prints_and_passes"), Outcome::Passed);
    assert_eq!(report.tests.len(), 11);
    assert!(test(report, &id("test_prints_and_passes")).out_of_memory.is_some());
    assert!(test(report, &id("test_bad")).message.as_ref().unwrap().contains("assert 7 == 8"));
    assert!(test(report, &id("test_skipped")).message.as_ref().unwrap().contains("not today"));
    assert_eq!(report.ooms, 2);
    let fixtures = project.read("project/fixtures");
    assert_eq!(fixtures.matches("up").count(), fixtures.matches("down").count());
}

const RETRIES: &str = "on_out_of_memory = \"retry_on_cpu\"";

#[test]
fn in_order_in_one_process_fixtures_of_a_module_are_made_once() {
    let Some(python) = python() else { return };
    let project = mixed();
    let report = project.run(&group(&python, &format!("{RETRIES}\nconcurrency = \"sequential\"")));
    all_is_as_it_should(&project, &report);
    // `model` is up from its first test to its last, and `test_runs_out`, which runs again, has no part in it.
    assert_eq!(project.read("project/fixtures"), "up\ndown\n");
}

#[test]
fn isolated_each_test_has_a_process_and_is_called_the_same() {
    let Some(python) = python() else { return };
    let project = mixed();
    let report = project.run(&group(&python, &format!("{RETRIES}\nconcurrency = \"isolated\"")));
    all_is_as_it_should(&project, &report);
    assert_eq!(project.read("project/fixtures").matches("up").count(), 5);
}

#[test]
fn several_workers_share_the_tests() {
    let Some(python) = python() else { return };
    let project = mixed();
    let report = project.run(&group(&python, &format!("{RETRIES}\nconcurrency = {{ parallel = 3 }}")));
    all_is_as_it_should(&project, &report);
}

#[test]
fn what_tests_leave_in_their_process_is_seen_test_by_test() {
    let Some(python) = python() else { return };
    let project = Project::new();
    let tests = "import pytest\nfrom card import hold\n@pytest.mark.parametrize('n', range(8))\ndef test_leak(n): hold(20 * (n + 1))\n";
    project
        .write("project/card.py", CARD)
        .write("project/conftest.py", "")
        .write("project/test_leak.py", tests);
    let report = project.run(&group(&python, "concurrency = \"sequential\""));
    let third = test(&report, "test_leak.py::test_leak[2]").vram.unwrap();
    assert_eq!((third.before_bytes, third.peak_bytes, third.after_bytes), (40 * MIB, 60 * MIB, 60 * MIB));
    assert_eq!(third.of, VramOf::Processes);
    let accumulation = report.accumulation.unwrap();
    assert!(
        accumulation.grows && (accumulation.bytes_per_test - 20.0 * MIB as f64).abs() < 1.0,
        "{accumulation:?}"
    );
}

#[test]
fn a_worker_that_crashes_fails_its_test_and_another_goes_on() {
    let Some(python) = python() else { return };
    let project = Project::new();
    let tests = "import os, signal\ndef test_a(): pass\ndef test_crash():\n    os.write(2, b'last words')\n    os.kill(os.getpid(), signal.SIGSEGV)\ndef test_b(): pass\ndef test_exit(): os._exit(3)\ndef test_c(): pass\n";
    project.write("project/test_crash.py", tests);
    for concurrency in ["\"sequential\"", "\"isolated\"", "{ parallel = 2 }"] {
        let report = project
            .run(&group(&python, &format!("concurrency = {concurrency}\nrunner_arguments = [\"-s\"]")));
        let outcomes: Vec<Outcome> = ["a", "crash", "b", "exit", "c"]
            .iter()
            .map(|name| test(&report, &format!("test_crash.py::test_{name}")).outcome)
            .collect();
        let (passed, failed) = (Outcome::Passed, Outcome::Failed);
        assert_eq!(outcomes, [passed, failed, passed, failed, passed], "{concurrency}");
        let message = test(&report, "test_crash.py::test_crash").message.as_ref().unwrap();
        assert!(message.contains("signal 11"), "{message}");
        assert_eq!(report.stopped, None);
        assert!(std::fs::read_to_string(report.log.unwrap()).unwrap().contains("last words"));
    }
}

#[test]
fn a_test_that_takes_too_long_is_ended_with_its_worker_and_the_rest_goes_on() {
    let Some(python) = python() else { return };
    let project = Project::new();
    let tests = "import subprocess, time\ndef test_slow():\n    child = subprocess.Popen(['setsid', 'sleep', '600'])\n    open('pids', 'w').write('%d\\n' % child.pid)\n    time.sleep(600)\ndef test_next(): pass\n";
    project.write("project/test_slow.py", tests);
    let report = project.run(&group(&python, "timeout = \"2s\""));
    assert_eq!(outcomes(&report).into_values().collect::<Vec<_>>(), [Outcome::Passed, Outcome::TimedOut]);
    assert!(pids(&project.path("project/pids")).iter().all(|pid| !lives(*pid)));
}

#[test]
fn a_daemon_of_a_test_is_ended_with_its_group_and_counted_to_that_test() {
    let Some(python) = python() else { return };
    let project = Project::new();
    let tests = "import subprocess\ndef test_a(): pass\ndef test_leaves(): subprocess.run('setsid sleep 600 > /dev/null 2>&1 & echo $! > pids', shell=True)\ndef test_b(): pass\n";
    project.write("project/test_daemon.py", tests);
    let report = project.run(&group(&python, "concurrency = \"sequential\""));
    assert_eq!(report.passed, 3);
    assert_eq!(test(&report, "test_daemon.py::test_leaves").left_processes, 1);
    assert!(pids(&project.path("project/pids")).iter().all(|pid| !lives(*pid)));
}

#[test]
fn failures_are_tried_again_in_a_process_of_their_own() {
    let Some(python) = python() else { return };
    let project = Project::new();
    let tests = "import os\ndef test_second_time():\n    open('tries', 'a').write('%d\\n' % os.getpid())\n    assert len(open('tries').readlines()) == 2\ndef test_after(): pass\n";
    project.write("project/test_again.py", tests);
    let report = project.run(&group(&python, "retries = 1\nfail_fast = true\nconcurrency = \"sequential\""));
    assert_eq!((report.passed, report.failed), (2, 0));
    assert_eq!(test(&report, "test_again.py::test_second_time").attempts, 2);
    let tries = pids(&project.path("project/tries"));
    assert_ne!(tries[0], tries[1]);
}

#[test]
fn the_first_failure_ends_a_group_in_order() {
    let Some(python) = python() else { return };
    let project = Project::new();
    project.write(
        "project/test_first.py",
        "def test_a(): pass\ndef test_b(): assert False\ndef test_c(): open('reached', 'w')\n",
    );
    let report = project.run(&group(&python, "fail_fast = true\nconcurrency = \"sequential\""));
    assert_eq!(
        outcomes(&report).into_values().collect::<Vec<_>>(),
        [Outcome::Passed, Outcome::Failed, Outcome::NotRun]
    );
    assert_eq!(report.first_failure.as_deref(), Some("test_first.py::test_b"));
    assert!(!project.path("project/reached").exists());
}

#[test]
fn adaptive_workers_run_at_once_what_fits() {
    let Some(python) = python() else { return };
    let project = Project::new();
    let tests = "import pytest, time\nfrom card import hold\n@pytest.mark.parametrize('n', range(6))\ndef test_needs(n):\n    hold(380)\n    time.sleep(0.2)\n    hold(0)\n";
    project
        .write("project/card.py", CARD)
        .write("project/conftest.py", "")
        .write("project/test_needs.py", tests);
    let group = group(&python, "concurrency = \"adaptive\"");
    assert_eq!(project.run(&group).passed, 6);
    let second = project.run(&group);
    assert_eq!((second.passed, second.peak_gpu_processes), (6, 2));
    assert!(second.samples.iter().all(|sample| sample.used_bytes <= 1000 * MIB));
}

#[test]
fn files_that_cannot_be_collected_are_failures_and_end_the_group() {
    let Some(python) = python() else { return };
    let project = Project::new();
    project
        .write("project/test_broken.py", "import no_such_module\n")
        .write("project/test_good.py", "def test_a(): pass\n");
    let report = project.run(&group(&python, ""));
    assert!(report.stopped.as_ref().unwrap().contains("could not be collected"));
    assert_eq!(test(&report, "test_broken.py").outcome, Outcome::Failed);
    assert!(test(&report, "test_broken.py").message.as_ref().unwrap().contains("no_such_module"));
    assert_eq!(test(&report, "test_good.py::test_a").outcome, Outcome::NotRun);
    let report = project.run(&group(&python, "runner_arguments = [\"--continue-on-collection-errors\"]"));
    assert_eq!(test(&report, "test_good.py::test_a").outcome, Outcome::Passed);
    assert_eq!(report.stopped, None);
}

#[test]
fn paths_filters_and_roots_are_those_of_pytest() {
    let Some(python) = python() else { return };
    let project = Project::new();
    project
        .write("pytest.ini", "[pytest]\n")
        .write("project/deep/test_a.py", "def test_one(): pass\ndef test_two(): pass\n")
        .write("project/test_b.py", "def test_one(): pass\n");
    for concurrency in ["\"sequential\"", "\"isolated\""] {
        let settings = format!("paths = [\"deep\"]\nfilter = \"one\"\nconcurrency = {concurrency}");
        let report = project.run(&group(&python, &settings));
        assert_eq!(
            outcomes(&report).into_iter().collect::<Vec<_>>(),
            [("project/deep/test_a.py::test_one", Outcome::Passed)]
        );
    }
    let error = project.try_run(&group(&python, "paths = [\"absent\"]")).unwrap_err().to_string();
    assert!(error.contains("absent"), "{error}");
}

#[test]
fn a_project_with_its_own_workers_is_run_by_ours() {
    let Some(python) = python() else { return };
    let there = Command::new(&python).args(["-c", "import xdist"]).output().unwrap().status.success();
    if !there {
        return println!("pytest-xdist is not there: skipped");
    }
    let project = mixed();
    project.write("project/pytest.ini", "[pytest]\naddopts = -n 2 --dist loadscope\n");
    let report = project.run(&group(&python, &format!("{RETRIES}\nconcurrency = \"sequential\"")));
    all_is_as_it_should(&project, &report);
}
