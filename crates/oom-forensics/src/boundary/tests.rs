use super::*;

fn test(file: &'static str, name: &'static str) -> TestName<'static> {
    TestName { file: Some(file), name }
}

fn progress(line: &str) -> Option<Event<'_>> {
    read(line, Part::Progress)
}

#[expect(clippy::unnecessary_wraps, reason = "compared with what may be none")]
fn ended(file: &'static str, name: &'static str, status: Status) -> Option<Event<'static>> {
    Some(Event::Result { test: Some(test(file, name)), status })
}

#[test]
fn results_of_pytest_are_read_in_every_form() {
    use Status::*;
    for (line, event) in [
        (
            "tests/test_a.py::TestB::test_c PASSED      [ 12%]",
            ended("tests/test_a.py", "TestB::test_c", Passed),
        ),
        ("tests/test_a.py::test_c[x y] FAILED", ended("tests/test_a.py", "test_c[x y]", Failed)),
        ("a.py::t SKIPPED (needs a GPU) [100%]", ended("a.py", "t", Skipped)),
        ("a.py::t ERROR [  1%]", ended("a.py", "t", Error)),
        ("[gw3] [ 12%] PASSED tests/test_a.py::test_b ", ended("tests/test_a.py", "test_b", Passed)),
        ("[gw11] XFAIL a.py::t (some reason)", ended("a.py", "t", ExpectedFailure)),
        ("tests/test_a.py::test_b ", Some(Event::Started(test("tests/test_a.py", "test_b")))),
        ("tests/test_a.py::test_b loading", Some(Event::Started(test("tests/test_a.py", "test_b")))),
        ("PASSED", Some(Event::Result { test: None, status: Passed })),
        ("tests/a.py ..F.s  [ 12%]", Some(Event::Dots { file: Some("tests/a.py"), dots: "..F.s" })),
        ("....E  [100%]", Some(Event::Dots { file: None, dots: "....E" })),
        ("tests/a.py .", Some(Event::Dots { file: Some("tests/a.py"), dots: "." })),
        ("[gw0] linux -- Python 3.11.5 /usr/bin/python3", None),
        ("Loading [ 50%]", None),
        ("....", None),
        ("http://example::x", None),
        ("8 workers [4479 items]", Some(Event::Workers)),
    ] {
        assert_eq!(progress(line), event, "{line}");
    }
}

#[test]
fn sections_and_summaries_of_pytest_are_told_apart() {
    let section = |name, is_teardown| Some(Event::Section { name, is_teardown });
    let summary = |file, name, message| Some(Event::Summary { test: test(file, name), message });
    for (line, event) in [
        ("=========== test session starts ===========", Some(Event::Session)),
        ("= FAILURES =", Some(Event::Part(Part::Failures))),
        ("====== warnings summary ======", Some(Event::Part(Part::Others))),
        ("____ TestA.test_b[x] ____", section("TestA.test_b[x]", false)),
        ("_ ERROR at setup of test_b _", section("test_b", false)),
        ("___ ERROR at teardown of test_b ___", section("test_b", true)),
        ("_ _ _ _ _ _ _ _ _ _", None),
        ("__init__ is called", None),
        ("FAILED a.py::T::t[a - b] - torch.X: y - z", summary("a.py", "T::t[a - b]", "torch.X: y - z")),
        ("FAILED a.py::t - assert x[0] - 1", summary("a.py", "t", "assert x[0] - 1")),
        ("ERROR a.py - ImportError", summary("a.py", "a.py", "ImportError")),
        ("ERROR    root:a.py:12 message", None),
    ] {
        assert_eq!(read(line, Part::Failures), event, "{line}");
    }
}

#[test]
fn the_last_lines_of_every_runner_give_their_numbers() {
    let totals = |line| match progress(line) {
        Some(Event::Totals(totals)) => totals,
        other => panic!("{line}: {other:?}"),
    };
    let pytest = "=== 188 failed, 4281 passed, 12 skipped, 1 xfailed, 2 warnings, 136 errors in 1234.56s (0:20:34) ===";
    let expected = Totals {
        passed: 4281,
        failed: 188,
        errors: 136,
        skipped: 12,
        expected_failures: 1,
        seconds: Some(1234.56),
        ..Totals::default()
    };
    assert_eq!(totals(pytest), expected);
    assert_eq!(totals("4281 passed in 12.34 seconds").passed, 4281);
    assert_eq!(totals("== no tests ran in 0.01s ==").seconds, Some(0.01));
    let nextest = "     Summary [  12.500s] 100 tests run: 95 passed (1 slow, 1 leaky), 4 failed, 1 timed out, 3 skipped";
    let expected = Totals { passed: 95, failed: 5, skipped: 3, seconds: Some(12.5), ..Totals::default() };
    assert_eq!(totals(nextest), expected);
    let cargo =
        "test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.25s";
    let expected = Totals { passed: 3, failed: 1, skipped: 2, seconds: Some(0.25), ..Totals::default() };
    assert_eq!(totals(cargo), expected);
    for line in ["3 apples in 2s", "12 passed the gate", "=== 1 failed in a while ==="] {
        assert!(!matches!(progress(line), Some(Event::Totals(_))), "{line}");
    }
}

#[test]
fn results_and_output_of_rust_are_read() {
    use Status::*;
    for (line, event) in [
        ("        PASS [   0.005s] my-crate module::test", ended("my-crate", "module::test", Passed)),
        ("        FAIL [   1.5s] ( 7/12) my-crate::bin t", ended("my-crate::bin", "t", Failed)),
        ("     SIGKILL [   1.5s] my-crate t", ended("my-crate", "t", Failed)),
        ("     TIMEOUT [  60.0s] my-crate t", ended("my-crate", "t", Failed)),
        ("  TRY 1 FAIL [  60.0s] my-crate t", ended("my-crate", "t", Rerun)),
        ("--- STDERR:              my-crate t ---", Some(Event::Output(Some(test("my-crate", "t"))))),
        (
            "test a::b ... ok",
            Some(Event::Result { test: Some(TestName { file: None, name: "a::b" }), status: Passed }),
        ),
        (
            "test a - should panic ... FAILED",
            Some(Event::Result { test: Some(TestName { file: None, name: "a" }), status: Failed }),
        ),
        ("---- a::b stdout ----", Some(Event::Output(Some(TestName { file: None, name: "a::b" })))),
        (
            "     Running unittests src/lib.rs (target/debug/deps/my_crate-0a1b)",
            Some(Event::Binary("my_crate")),
        ),
        ("     Running the model", None),
    ] {
        assert_eq!(progress(line), event, "{line}");
    }
}

#[test]
fn dots_say_how_a_test_ended() {
    use Status::*;
    let ended: Vec<Status> = b".FEsxX".iter().map(|b| status_of_dot(*b)).collect();
    assert_eq!(ended, [Passed, Failed, Error, Skipped, ExpectedFailure, UnexpectedPass]);
}
