//! Small logs of every runner, as they are printed.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

use oom_forensics::report::CountedFrom;
use oom_forensics::{Analyzer, Cause, Config, Patterns, Report};

const OOM: &str = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 3.81 GiB of \
                   which 17.94 MiB is free. Process 4242 has 2.10 GiB memory in use. Including non-PyTorch memory, this process \
                   has 1.50 GiB memory in use. Of the allocated memory 1.40 GiB is allocated by PyTorch, and 1.00 MiB is reserved by \
                   PyTorch but unallocated.";

fn read(log: &str) -> Report {
    let mut analyzer = Analyzer::new(Config::standard().unwrap());
    analyzer.feed(log.replace("OOM!", OOM).as_bytes());
    analyzer.finish()
}

/// Tests run, passed, failed, errors, skipped, out of memory.
fn counts(report: &Report) -> [u64; 6] {
    [report.tests_run, report.passed, report.failed, report.errors, report.skipped, report.oom_total]
}

fn tests(report: &Report) -> Vec<(&str, u64)> {
    report.first_ooms.iter().map(|oom| (oom.test.as_deref().unwrap(), oom.position.unwrap())).collect()
}

#[test]
fn dots_are_matched_with_sections_by_their_order_and_named_by_the_summary() {
    let report = read(
        "=== test session starts ===\n\
         tests/test_a.py ..F.                                 [ 50%]\n\
         tests/test_b.py sF.E                                 [100%]\n\
         === ERRORS ===\n\
         ___ ERROR at setup of TestB.test_4 ___\n\
         E   OOM!\n\
         === FAILURES ===\n\
         ___ test_same ___\n\
         E   OOM!\n\
         tests/test_a.py:3: OutOfMemoryError\n\
         ___ test_same ___\n\
         E   OOM!\n\
         === short test summary info ===\n\
         FAILED tests/test_a.py::test_same - torch.OutOfMemoryError: CUDA out of memory.\n\
         FAILED tests/test_b.py::test_same - torch.OutOfMemoryError: CUDA out of memory.\n\
         ERROR tests/test_b.py::TestB::test_4 - torch.OutOfMemoryError: CUDA out of memory.\n\
         === 2 failed, 4 passed, 1 skipped, 1 error in 2.50s ===\n",
    );
    assert_eq!(counts(&report), [7, 4, 2, 1, 1, 3]);
    let expected = [
        ("tests/test_b.py::TestB::test_4", 8),
        ("tests/test_a.py::test_same", 3),
        ("tests/test_b.py::test_same", 6),
    ];
    assert_eq!(tests(&report), expected);
    assert_eq!(report.by_cause[0].cause, Cause::CompetingProcesses);
    assert_eq!((report.processes[0].pid, report.processes[0].seen), (4242, 3));
    assert!(report.advice[0].contains("4242"), "{:?}", report.advice);
    assert_eq!(report.duration_s, Some(2.5));
}

#[test]
fn live_output_belongs_to_the_test_that_runs_and_is_not_counted_again() {
    let report = read(
        "tests/test_a.py::test_1 PASSED\n\
         tests/test_a.py::test_2 loading\n\
         OOM!\n\
         FAILED\n\
         === FAILURES ===\n\
         ___ test_2 ___\n\
         E   OOM!\n\
         === 1 failed, 1 passed in 1.00s ===\n",
    );
    assert_eq!(counts(&report), [2, 1, 1, 0, 0, 1]);
    assert_eq!(tests(&report), [("tests/test_a.py::test_2", 2)]);
}

#[test]
fn a_message_among_workers_is_adopted_by_the_test_that_reports_the_same_numbers() {
    let report = read(
        "8 workers [2 items]\n\
         OOM!\n\
         [gw1] [ 50%] FAILED tests/test_a.py::test_1 \n\
         [gw0] [100%] PASSED tests/test_a.py::test_2 \n\
         === FAILURES ===\n\
         ___ test_1 ___\n\
         E   OOM!\n\
         === 1 failed, 1 passed in 1.00s ===\n",
    );
    assert_eq!(counts(&report), [2, 1, 1, 0, 0, 1]);
    assert_eq!(tests(&report), [("tests/test_a.py::test_1", 1)]);
    assert_eq!(report.first_ooms[0].at.line, 2);
}

#[test]
fn a_test_that_fails_in_teardown_ran_once_and_a_quiet_last_line_is_found() {
    let report = read(
        "=== ERRORS ===\n\
         ___ ERROR at teardown of test_1 ___\n\
         E   AttributeError: 'S' object has no attribute '_embedding_model'\n\
         === short test summary info ===\n\
         ERROR a.py::test_1 - AttributeError: 'S' object has no attribute '_embedding_model'\n\
         5 passed, 1 error in 0.25s\n",
    );
    assert_eq!(counts(&report), [5, 5, 0, 1, 0, 0]);
    let pattern = report.patterns.iter().find(|pattern| pattern.name == "embedding_model_missing").unwrap();
    assert_eq!((pattern.count, pattern.lines), (1, 2));
    let report = read("....                 [100%]\n4 passed in 0.25s\n");
    assert_eq!(counts(&report), [4, 4, 0, 0, 0, 0]);
}

#[test]
fn a_log_that_was_cut_off_is_counted_by_its_results() {
    let report = read(
        "a.py::t1 PASSED [ 10%]\na.py::t2 FAILED [ 20%]\na.py::t3 SKIPPED (x) [ 30%]\na.py::t1 PASSED [ 10%]\na.py::t4 ",
    );
    assert_eq!(counts(&report), [2, 1, 1, 0, 1, 0]);
    assert_eq!(report.counted_from, CountedFrom::Results);
}

#[test]
fn nextest_prints_what_failed_behind_its_result_and_lists_it_again() {
    let report = read(
        "    Starting 3 tests across 1 binary\n\
         \x20       PASS [   0.005s] crate a::t1\n\
         \x20       FAIL [   0.105s] crate a::t2\n\
         --- STDERR:              crate a::t2 ---\n\
         thread panicked: OOM!\n\
         \x20    SIGKILL [   0.105s] crate a::t3\n\
         ────────────\n\
         \x20    Summary [   0.300s] 3 tests run: 1 passed, 2 failed, 4 skipped\n\
         \x20       FAIL [   0.105s] crate a::t2\n\
         \x20    SIGKILL [   0.105s] crate a::t3\n",
    );
    assert_eq!(counts(&report), [3, 1, 2, 0, 4, 1]);
    assert_eq!(tests(&report), [("crate::a::t2", 2)]);
    assert_eq!(report.by_file[0].file.as_deref(), Some("crate"));
}

#[test]
fn cargo_test_sums_up_each_binary() {
    let report = read(
        "     Running unittests src/lib.rs (target/debug/deps/one-0a1b2c)\n\
         test a ... ok\n\
         test b ... FAILED\n\
         \n\
         ---- b stdout ----\n\
         Error: OOM!\n\
         test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\
         \x20    Running tests/two.rs (target/debug/deps/two-0a1b2c)\n\
         test b ... ok\n\
         test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.02s\n",
    );
    assert_eq!(counts(&report), [3, 2, 1, 0, 1, 1]);
    assert_eq!(tests(&report), [("one::b", 2)]);
    assert_eq!(report.duration_s, Some(0.03));
}

#[test]
fn outside_of_tests_the_same_message_nearby_is_printed_again_and_later_is_another() {
    let far = "step\n".repeat(80);
    let log = format!("OOM!\nduring that, again:\nOOM!\n{far}OOM!\n");
    assert_eq!(read(&log).oom_total, 2);
    let kernel = "python invoked oom-killer: gfp_mask=0x1\n\
                  oom-kill:constraint=CONSTRAINT_NONE,task=python,pid=77,uid=0\n\
                  Out of memory: Killed process 77 (python) total-vm:9kB, anon-rss:8kB\n\
                  Out of memory: Killed process 78 (python) total-vm:9kB, anon-rss:8kB\n";
    let report = read(kernel);
    assert_eq!((report.oom_total, report.by_cause[0].cause), (2, Cause::HostMemory));
    assert!(report.processes.is_empty());
}

#[test]
fn memory_that_grows_from_test_to_test_is_accumulation() {
    let mut log = String::new();
    for at in 0..20 {
        let allocated = 1_000 + at * 140;
        let failed = format!(
            "a.py::t{at} \nRuntimeError: CUDA out of memory. Tried to allocate 900.00 MiB (GPU 0; 4.00 GiB total capacity; \
             {allocated}.00 MiB already allocated; 10.00 MiB free; {allocated}.00 MiB reserved in total by PyTorch)\nFAILED\n"
        );
        log.push_str(&failed);
    }
    let report = read(&log);
    assert_eq!(report.oom_total, 20);
    assert!(report.growth.unwrap().steadiness > 0.99);
    let late = report.by_cause.iter().find(|found| found.cause == Cause::Accumulation).unwrap();
    assert!(late.ooms > 5 && late.evidence.len() == 3, "{late:?}");
}

#[test]
fn several_logs_are_one_run_and_lines_are_counted_in_each() {
    let mut analyzer = Analyzer::new(Config::standard().unwrap());
    for name in ["one.log", "two.log"] {
        let log =
            format!("a line\n{name}.py::t FAILED\n=== FAILURES ===\n__ t __\nE {OOM}\n== 1 failed in 1s ==");
        analyzer.read(name, log.as_bytes()).unwrap();
    }
    let report = analyzer.finish();
    assert_eq!(counts(&report), [2, 0, 2, 0, 0, 2]);
    let places: Vec<_> = report.first_ooms.iter().map(|oom| (oom.at.log.as_str(), oom.at.line)).collect();
    assert_eq!(places, [("one.log", 5), ("two.log", 5)]);
    assert_eq!(report.logs.iter().map(|log| log.lines).sum::<u64>(), 12);
}

#[test]
fn patterns_of_ones_own_are_found_by_literal_and_by_expression() {
    let patterns = Patterns::parse(
        "[[pattern]]\nname = 'space'\nliteral = 'No space left'\nseverity = 'high'\n\
         [[pattern]]\nname = 'slow'\nregex = 'took \\d{3,} s$'\nseverity = 'low'\n",
    )
    .unwrap();
    let mut analyzer = Analyzer::new(Config { patterns, ..Config::standard().unwrap() });
    analyzer.feed(b"x\nNo space left on device\nit took 12 s\nit took 1234 s\r\nit took 999 s\n");
    let report = analyzer.finish();
    let found: Vec<_> = report.patterns.iter().map(|p| (p.name.as_str(), p.count)).collect();
    assert_eq!(found, [("space", 1), ("slow", 2)]);
    assert_eq!(report.patterns[1].evidence.as_ref().unwrap().line, 4);
}

#[test]
fn a_test_that_runs_again_in_another_session_may_run_out_of_memory_again() {
    let session =
        format!("== test session starts ==\na.py::t \nRuntimeError: {OOM}\nFAILED\n== 1 failed in 1s ==\n");
    assert_eq!(counts(&read(&session.repeat(2))), [2, 0, 2, 0, 0, 2]);
}
