//! What is concluded from a group that ran: counts, peaks, growth and advice, each with data for it and against it.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

use std::time::Duration;

use test_groups::report::{Outcome, Sample, TestReport, TestVram, VramOf};
use test_groups::{
    Attempt, Concurrency, Config, GroupReport, GroupRun, MOST_SAMPLES, OutOfMemory, Ran, conclude,
};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A test of its own process that held `peak` bytes from `started` to `ended`.
fn test(id: &str, started_ms: u64, ended_ms: u64, peak_bytes: u64) -> Ran {
    Ran {
        report: TestReport {
            id: id.to_owned(),
            outcome: Outcome::Passed,
            attempts: 1,
            started_ms,
            duration_ms: ended_ms - started_ms,
            waited_ms: 0,
            vram: Some(TestVram { before_bytes: 0, after_bytes: 0, peak_bytes, of: VramOf::Processes }),
            out_of_memory: None,
            cpu_fallback: None,
            consolidations: 1,
            consolidated_bytes: 0,
            message: None,
            left_processes: 0,
        },
        attempts: vec![Attempt { started_ms, ended_ms, out_of_memory: false }],
        process: None,
    }
}

impl Changed for Ran {}
trait Changed: Sized {
    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

/// The same, failed because the card had no more.
fn ran_out(id: &str, started_ms: u64, ended_ms: u64, peak_bytes: u64, asked_bytes: u64) -> Ran {
    test(id, started_ms, ended_ms, peak_bytes).with(|test| {
        test.report.outcome = Outcome::Failed;
        test.report.out_of_memory = Some(OutOfMemory {
            message: "CUDA out of memory".to_owned(),
            cause: None,
            requested_bytes: Some(asked_bytes),
        });
        test.attempts[0].out_of_memory = true;
    })
}

fn of_card(test: &mut Ran) {
    test.report.vram.as_mut().unwrap().of = VramOf::Card;
}

/// On a card of 4 GiB, of which others hold 256 MiB.
fn run(concurrency: Concurrency, tests: Vec<Ran>) -> GroupRun {
    let text = "[[group]]\nname = 'g'\nquestion = 'q?'\nrunner = 'pytest'\ntimeout = '10s'";
    let mut group = Config::parse(text, "t.toml".as_ref()).unwrap().groups.remove(0);
    group.concurrency = concurrency;
    GroupRun {
        group,
        tests,
        samples: Vec::new(),
        wall: Duration::from_millis(1_500),
        stopped: None,
        notes: vec!["a note".to_owned()],
        card_bytes: Some(4 * GIB),
        before_bytes: Some(256 * MIB),
        peak_gpu_processes: 2,
        log: None,
    }
}

fn sample(at_ms: u64, used_bytes: u64, group_bytes: Option<u64>, running: u32) -> Sample {
    Sample { at_ms, used_bytes, group_bytes, running }
}

/// The advice that holds these words.
fn advice(report: &GroupReport, words: &str) -> Option<String> {
    report.advice.iter().find(|sentence| sentence.contains(words)).cloned()
}

#[test]
fn outcomes_are_counted_once_and_the_first_failure_is_the_one_that_ended_first() {
    let outcome = |id: &str, started_ms: u64, ended_ms: u64, outcome: Outcome| {
        test(id, started_ms, ended_ms, MIB).with(|test| test.report.outcome = outcome)
    };
    let tests = vec![
        outcome("late", 900, 1_000, Outcome::Passed),
        outcome("slow", 0, 800, Outcome::TimedOut),
        outcome("fast", 100, 200, Outcome::Failed),
        outcome("cpu", 0, 100, Outcome::PassedOnCpu),
        outcome("not run", 0, 0, Outcome::NotRun).with(|test| {
            test.attempts.clear();
            test.report.vram = None;
        }),
        outcome("skipped", 0, 0, Outcome::Skipped),
    ];
    let report = conclude(run(Concurrency::Parallel(4), tests));
    assert_eq!((report.passed, report.passed_on_cpu, report.failed, report.timed_out), (1, 1, 2, 1));
    assert_eq!((report.skipped, report.ooms, report.consolidations), (2, 0, 6));
    assert_eq!(report.first_failure.as_deref(), Some("fast"));
    let order: Vec<&str> = report.tests.iter().map(|test| test.id.as_str()).collect();
    assert_eq!(order, ["slow", "cpu", "skipped", "fast", "late", "not run"]);
    assert_eq!((report.concurrency.as_str(), report.runner.as_str()), ("parallel 4", "pytest"));
    assert_eq!((report.wall_s, report.notes.len(), report.peak_gpu_processes), (1.5, 1, 2));
}

#[test]
fn peaks_are_those_of_the_group_where_it_is_known_who_holds_what() {
    let tests = vec![test("a", 0, 100, 300 * MIB), test("b", 0, 100, 500 * MIB)];
    let mut group = run(Concurrency::Parallel(2), tests);
    group.samples = vec![sample(50, 3 * GIB, Some(700 * MIB), 2), sample(60, 2 * GIB, Some(600 * MIB), 2)];
    let report = conclude(group.clone());
    assert_eq!(report.peak_bytes, Some(700 * MIB));
    assert_eq!((report.sum_of_peaks_bytes, report.largest_peak_bytes), (Some(800 * MIB), Some(500 * MIB)));

    group.samples.iter_mut().for_each(|sample| sample.group_bytes = None);
    group.tests.iter_mut().for_each(of_card);
    assert_eq!(conclude(group.clone()).peak_bytes, Some(3 * GIB - 256 * MIB));

    group.samples.clear();
    group.tests.iter_mut().for_each(|test| test.report.vram = None);
    let report = conclude(group);
    assert_eq!((report.peak_bytes, report.sum_of_peaks_bytes, report.largest_peak_bytes), (None, None, None));
}

#[test]
fn samples_are_thinned_and_the_highest_stays() {
    let mut group = run(Concurrency::Sequential, vec![]);
    group.samples = (0..50_001).map(|at| sample(at * 50, at % 7, None, 1)).collect();
    group.samples[31_337].used_bytes = 99;
    let kept = conclude(group.clone()).samples;
    assert!(kept.len() <= MOST_SAMPLES && kept.len() > MOST_SAMPLES / 2, "{}", kept.len());
    assert!(kept.contains(&group.samples[31_337]) && kept.is_sorted_by_key(|sample| sample.at_ms));
    group.samples.truncate(MOST_SAMPLES);
    assert_eq!(conclude(group.clone()).samples, group.samples);
}

/// Thirty tests of one process, each of which leaves so much.
fn leaving(bytes: u64) -> Vec<Ran> {
    let one = |at: u64| {
        test(&format!("t{at}"), at * 100, at * 100 + 90, 0).with(|test| {
            let vram = test.report.vram.as_mut().unwrap();
            (vram.before_bytes, vram.after_bytes) = (300 * MIB + at * bytes, 300 * MIB + (at + 1) * bytes);
            vram.peak_bytes = vram.after_bytes + 100 * MIB;
            test.process = Some(7);
        })
    };
    (0..30).map(one).collect()
}

#[test]
fn what_tests_leave_in_their_process_grows_and_is_named() {
    let report = conclude(run(Concurrency::Sequential, leaving(46 * MIB)));
    let found = report.accumulation.unwrap();
    assert!(found.grows && found.tests == 30);
    let said = advice(&report, "grows by").unwrap();
    let expected = "Memory in use grows by 46.00 MiB with each test, over 30 tests (95 %: 46.00 MiB to 46.00 MiB): t0 leaves \
                    46.00 MiB, t1 leaves 46.00 MiB";
    assert!(said.starts_with(expected), "{said}");

    let report = conclude(run(Concurrency::Sequential, leaving(0)));
    assert!(!report.accumulation.unwrap().grows && advice(&report, "grows by").is_none());

    // A high-water mark that a caching allocator reaches once is no growth.
    let mut once = leaving(0);
    for test in &mut once[3..] {
        test.report.vram.as_mut().unwrap().after_bytes += GIB;
    }
    let report = conclude(run(Concurrency::Sequential, once));
    assert!(!report.accumulation.unwrap().grows && advice(&report, "grows by").is_none());
}

#[test]
fn what_stays_on_the_card_while_no_test_runs_grows() {
    let mut group = run(
        Concurrency::Isolated,
        (0..20).map(|at| test(&format!("t{at}"), at * 100, at * 100 + 50, GIB)).collect(),
    );
    for at in 0..20 {
        group.samples.push(sample(at * 100 + 25, 3 * GIB, None, 1));
        group.samples.push(sample(at * 100 + 75, 256 * MIB + at * 10 * MIB, None, 0));
    }
    let report = conclude(group.clone());
    assert!(report.accumulation.unwrap().grows);
    let said = advice(&report, "grows by").unwrap();
    assert!(
        said.contains("10.00 MiB with each test, over 20 tests") && said.contains("outlive their test"),
        "{said}"
    );

    // It is others that grow: the group holds nothing between its tests.
    for sample in &mut group.samples {
        sample.group_bytes = Some(if sample.running == 0 { 0 } else { GIB });
    }
    let report = conclude(group);
    assert!(!report.accumulation.unwrap().grows && advice(&report, "grows by").is_none());
}

#[test]
fn tests_that_did_not_fit_together_are_to_be_serialised() {
    let tests = vec![
        test("a", 0, 1_000, 2 * GIB),
        test("b", 0, 1_000, GIB),
        ran_out("c", 100, 600, 512 * MIB, 800 * MIB),
        test("d", 700, 1_000, 3 * GIB),
        test("holds nothing", 0, 1_000, 0),
    ];
    let report = conclude(run(Concurrency::Parallel(3), tests));
    assert_eq!(report.advice.len(), 1, "{:?}", report.advice);
    assert_eq!(
        report.advice[0],
        "Serialise these 3: c, a, b: together they needed 4.28 GiB of 3.75 GiB; concurrency = \"adaptive\" starts a test \
         only when there is room for it."
    );
    assert_eq!(report.ooms, 1);

    // The same on a card of which nobody says who holds what: no sums.
    let mut tests = vec![test("a", 0, 1_000, 3 * GIB), ran_out("c", 100, 600, 4 * GIB, 800 * MIB)];
    tests.iter_mut().for_each(of_card);
    let report = conclude(run(Concurrency::Adaptive, tests));
    assert_eq!(report.advice, ["Serialise these two: c, a: they ran when the first of them ran out."]);

    // They fitted: that is not why.
    let tests = vec![test("a", 0, 1_000, GIB), ran_out("c", 100, 600, GIB, MIB)];
    let report = conclude(run(Concurrency::Parallel(2), tests));
    assert!(advice(&report, "Serialise").is_none());
    let said = advice(&report, "although").unwrap();
    assert!(
        said.starts_with("c ran out although no more than 2.00 GiB of 3.75 GiB was seen to be needed"),
        "{said}"
    );
}

#[test]
fn what_ran_when_the_card_was_fullest_is_blamed_and_not_what_came_later() {
    let tests = vec![
        test("early", 0, 300, 3 * GIB),
        test("later", 310, 1_000, 3 * GIB),
        ran_out("c", 100, 900, GIB, GIB),
    ];
    let mut group = run(Concurrency::Parallel(2), tests);
    group.samples =
        vec![sample(200, 4 * GIB, Some(4 * GIB - 256 * MIB), 2), sample(500, 2 * GIB, Some(GIB), 2)];
    let said = advice(&conclude(group), "Serialise").unwrap();
    assert!(said.contains("c, early:") && !said.contains("later"), "{said}");
}

#[test]
fn a_test_that_is_larger_than_the_card_is_for_the_processor() {
    let large = ran_out("big", 0, 500, 3 * GIB, 2 * GIB);
    let report = conclude(run(Concurrency::Isolated, vec![large.clone()]));
    assert_eq!(
        report.advice,
        ["big alone needs 5.00 GiB, and the card has 4.00 GiB: run it on the processor, or make it smaller."]
    );
    let passed = large.with(|test| {
        test.report.outcome = Outcome::PassedOnCpu;
        test.report.duration_ms = 12_340;
    });
    let report = conclude(run(Concurrency::Isolated, vec![passed]));
    assert_eq!(
        report.advice,
        [
            "big alone needs 5.00 GiB, and the card has 4.00 GiB: run it on the processor from the start, where it passed in \
          12.3 s, or make it smaller."
        ]
    );
    let neighbours =
        vec![test("before", 0, 100, GIB), ran_out("small", 100, 500, GIB, GIB), test("after", 500, 600, GIB)];
    let fits = conclude(run(Concurrency::Isolated, neighbours));
    assert_eq!(fits.advice.len(), 1);
    assert!(fits.advice[0].starts_with("small ran out although no more than 2.00 GiB"), "{:?}", fits.advice);
    assert!(advice(&fits, "alone needs").is_none());
}

#[test]
fn processes_outside_the_group_are_blamed_if_without_them_it_had_fitted() {
    let mut group = run(Concurrency::Isolated, vec![ran_out("x", 0, 500, GIB, 2 * GIB)]);
    group.samples = vec![sample(400, 3 * GIB, Some(GIB), 1)];
    let report = conclude(group.clone());
    assert_eq!(
        report.advice,
        [
            "Processes outside the group held 2.00 GiB of 4.00 GiB when x ran out, and the group needed 3.00 GiB: end them, or \
          wait until they have."
        ]
    );
    group.samples = vec![sample(400, GIB + 100 * MIB, Some(GIB), 1)];
    assert!(advice(&conclude(group), "outside the group").is_none());
}

#[test]
fn how_many_fit_is_said_by_the_largest() {
    let tests =
        || (0..9).map(|at| test(&format!("t{at}"), at * 10, at * 10 + 9, 1_100 * MIB)).collect::<Vec<_>>();
    let words = "Run up to 3 at once: the largest needs 1.07 GiB of 3.75 GiB.";
    assert_eq!(conclude(run(Concurrency::Sequential, tests())).advice, [words]);
    assert_eq!(conclude(run(Concurrency::Parallel(2), tests())).advice, [words]);
    for concurrency in [Concurrency::Parallel(3), Concurrency::Adaptive] {
        assert!(conclude(run(concurrency, tests())).advice.is_empty());
    }
    let unknown = tests().into_iter().map(|test| test.with(|test| test.report.vram = None)).collect();
    assert!(conclude(run(Concurrency::Sequential, unknown)).advice.is_empty());
    let nothing = tests().into_iter().map(|one| test(&one.report.id, 0, 9, 0)).collect();
    assert!(conclude(run(Concurrency::Sequential, nothing)).advice.is_empty());
    let mut budget = run(Concurrency::Sequential, tests());
    budget.group.gpu_budget_bytes = Some(2 * GIB);
    assert!(conclude(budget).advice.is_empty());
    let of_the_card = tests().into_iter().map(|test| test.with(of_card)).collect();
    assert!(conclude(run(Concurrency::Parallel(2), of_the_card)).advice.is_empty());
}

#[test]
fn tests_that_took_too_long_hang_or_are_slow() {
    let late = |passed_ms: u64| {
        let late = test("late", 0, 10_000, 0).with(|test| test.report.outcome = Outcome::TimedOut);
        conclude(run(Concurrency::Adaptive, vec![late, test("passed", 0, passed_ms, 0)]))
    };
    assert_eq!(
        late(1_200).advice,
        [
            "One test took longer than 10s: late; the slowest that passed took 1s 200ms: it hangs rather than being slow."
        ]
    );
    assert!(late(9_000).advice[0].ends_with("took 9s: a longer timeout may be all that it needs."));
    assert!(conclude(run(Concurrency::Adaptive, vec![test("passed", 0, 9_000, 0)])).advice.is_empty());
}

#[test]
fn processes_that_had_to_be_ended_are_named() {
    let left = |processes: u64| {
        let test = test("server", 0, 10, 0).with(|test| test.report.left_processes = processes);
        conclude(run(Concurrency::Adaptive, vec![test])).advice
    };
    assert_eq!(
        left(2),
        ["2 processes were left behind and had to be ended: end them in the teardown of server."]
    );
    assert!(left(0).is_empty());
}

#[test]
fn many_that_ran_out_are_said_in_few_sentences() {
    let tests = (0..40).map(|at| ran_out(&format!("big{at}"), at * 10, at * 10 + 9, 4 * GIB, GIB)).collect();
    let report = conclude(run(Concurrency::Isolated, tests));
    assert_eq!(report.advice.len(), 5);
    assert!(report.advice[4].ends_with(" So it is with 35 more."));
}
