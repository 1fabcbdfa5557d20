//! What holds for every log: it is read without panic, and how it arrives makes no difference.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

use std::io::{Cursor, Read, Write};

use oom_forensics::generate::{Plan, bytes};
use oom_forensics::oom::{Message, Numbers, ProcessUse, Source, recognise};
use oom_forensics::{Analyzer, Cause, Config, Growth, Patterns, Report, Thresholds, diagnose};
use proptest::prelude::*;

/// What means something, nearly does, or breaks naive readers.
const FRAGMENTS: &[&str] = &[
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of ",
    "3.81 GiB of which 1 MiB is free. Process 12 has 1 GiB memory in use. ",
    "(GPU 0; 3.81 GiB total capacity; 2 GiB already allocated; 1 MiB free; 3 GiB reserved in total by PyTorch)",
    "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 99999999999999999999999 bytes",
    "OOM when allocating tensor with shape[1,99999999999,9999999999] and type float",
    "Out of memory: Killed process 7 (python) total-vm:1kB, anon-rss:1kB",
    "oom-kill:constraint=X,task=python,pid=7",
    "tests/test_a.py::test_b",
    "tests/test_a.py ..FE",
    " PASSED ",
    " FAILED",
    " ERROR",
    " [ 12%]",
    "[100%]",
    "[gw1] [ 12%] FAILED tests/test_a.py::test_b ",
    "=== FAILURES ===",
    "=== ERRORS ===",
    "=== test session starts ===",
    "=== short test summary info ===",
    "= 18446744073709551615 failed, 1 passed in 1e308s =",
    "____ test_b ____",
    "_ ERROR at teardown of test_b _",
    "FAILED tests/test_a.py::test_b - torch.OutOfMemoryError: ",
    "test a ... ok",
    "test result: ok. 18446744073709551615 passed; 0 failed; finished in 1s",
    "        FAIL [   0.1s] crate a",
    "     Summary [   1.0s] 5 tests run: 4 passed (1 slow), 1 failed",
    "\u{2500}\u{2500}\u{2500}",
    "object has no attribute '_embedding_model'",
    "\n",
    "\n",
    "\n",
    "\r\n",
    "\u{1b}[31m",
    "\u{1b}]8;;",
    "2026-11-21T08:00:00.1234567Z ",
    "E   ",
    "é",
    "[",
    "]",
    "(",
    "::",
    " - ",
];

/// What happens to logs: bytes go wrong, pieces are lost, written twice, or end up elsewhere.
#[derive(Debug, Clone)]
enum Change {
    Byte(prop::sample::Index, u8),
    Lost(prop::sample::Index, usize),
    Twice(prop::sample::Index, usize),
    Moved(prop::sample::Index, usize, prop::sample::Index),
    Fragment(prop::sample::Index, &'static str),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        4 => (at(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        1 => (at(), 1_usize..300).prop_map(|(at, len)| Change::Lost(at, len)),
        1 => (at(), 1_usize..300).prop_map(|(at, len)| Change::Twice(at, len)),
        1 => (at(), 1_usize..300, at()).prop_map(|(at, len, to)| Change::Moved(at, len, to)),
        2 => (at(), prop::sample::select(FRAGMENTS)).prop_map(|(at, text)| Change::Fragment(at, text)),
    ]
}

impl Change {
    fn apply(self, log: &mut Vec<u8>) {
        let place = |at: prop::sample::Index, log: &[u8]| at.index(log.len() + 1);
        let piece = |at: prop::sample::Index, len: usize, log: &[u8]| {
            let from = place(at, log);
            from..(from + len).min(log.len())
        };
        match self {
            Self::Byte(at, byte) => {
                let at = place(at, log);
                if let Some(old) = log.get_mut(at) {
                    *old = byte;
                }
            }
            Self::Lost(at, len) => {
                let lost = piece(at, len, log);
                log.drain(lost);
            }
            Self::Twice(at, len) => {
                let again = piece(at, len, log);
                let copy = log[again.clone()].to_vec();
                log.splice(again.start..again.start, copy);
            }
            Self::Moved(at, len, to) => {
                let moved = piece(at, len, log);
                let moved: Vec<u8> = log.drain(moved).collect();
                let to = place(to, log);
                log.splice(to..to, moved);
            }
            Self::Fragment(at, text) => {
                let at = place(at, log);
                log.splice(at..at, text.bytes());
            }
        }
    }
}

fn config() -> Config {
    Config::standard().unwrap()
}

fn fed<'l>(pieces: impl IntoIterator<Item = &'l [u8]>) -> Report {
    let mut analyzer = Analyzer::new(config());
    analyzer.begin_log("log");
    pieces.into_iter().for_each(|piece| analyzer.feed(piece));
    analyzer.finish()
}

fn log() -> impl Strategy<Value = Vec<u8>> {
    let fragment = prop_oneof![
        9 => prop::sample::select(FRAGMENTS).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ];
    prop::collection::vec(fragment, 0..60).prop_map(|parts| parts.concat())
}

/// Reads one byte at a time.
struct Trickle(Cursor<Vec<u8>>);

impl Read for Trickle {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let end = buffer.len().min(1);
        self.0.read(&mut buffer[..end])
    }
}

fn assert_sane(report: &Report) {
    let by = |counts: &mut dyn Iterator<Item = u64>| counts.sum::<u64>();
    assert_eq!(by(&mut report.by_file.iter().map(|count| count.ooms)), report.oom_total);
    assert_eq!(by(&mut report.by_cause.iter().map(|count| count.ooms)), report.oom_total);
    assert_eq!(by(&mut report.by_source.iter().map(|count| count.ooms)), report.oom_total);
    let sized = by(&mut report.by_size.iter().map(|bucket| bucket.ooms));
    assert_eq!(sized + report.size_unknown, report.oom_total);
    assert!(report.oom_in_tests <= report.oom_total);
    assert!(report.success_rate.is_none_or(|rate| (0.0..=1.0).contains(&rate)));
    let saved = serde_json::to_string(report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&saved).unwrap().oom_total, report.oom_total);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 128 } else { 1024 }))]

    #[test]
    fn no_bytes_make_it_panic_and_sums_agree(log in log()) {
        assert_sane(&fed([&log[..]]));
    }

    #[test]
    fn where_a_log_is_cut_into_pieces_makes_no_difference(log in log(), size in 1_usize..50) {
        let whole = fed([&log[..]]);
        prop_assert_eq!(&fed(log.chunks(size)), &whole);
        let mut analyzer = Analyzer::new(config());
        analyzer.read("log", Trickle(Cursor::new(log))).unwrap();
        prop_assert_eq!(analyzer.finish(), whole);
    }

    #[test]
    fn a_generated_log_that_is_changed_is_still_read_however_it_arrives(
        seed in any::<u64>(),
        colours in any::<bool>(),
        changes in prop::collection::vec(change(), 0..80),
        size in 1_usize..5_000,
    ) {
        let plan = Plan { seed, colours, tests: 60, ooms: 20, setup_errors: 9, skipped: 3, ..Plan::default() };
        let (mut log, _) = bytes(&plan);
        for change in changes {
            change.apply(&mut log);
        }
        let report = fed([&log[..]]);
        assert_sane(&report);
        prop_assert_eq!(fed(log.chunks(size)), report);
    }

    #[test]
    fn a_generated_log_gives_its_counts_whatever_the_seed(seed in any::<u64>(), colours in any::<bool>(), crlf in any::<bool>()) {
        let line_end = if crlf { "\r\n" } else { "\n" };
        let plan = Plan {
            seed, colours, line_end, tests: 400, ooms: 60, setup_errors: 20, lines: 2_000, bytes: 200_000, ..Plan::default()
        };
        let (log, expected) = bytes(&plan);
        let report = fed(log.chunks(4_096));
        prop_assert_eq!(report.oom_total, 60);
        prop_assert_eq!(report.tests_run, expected.tests_run);
        let first: Vec<_> = report.first_ooms.iter().map(|oom| (oom.test.clone().unwrap(), oom.position.unwrap(), oom.at.line)).collect();
        prop_assert_eq!(&first[..], &expected.ooms[..10]);
    }

    #[test]
    fn any_line_is_recognised_or_not_without_panic(line in ".{0,200}", parts in prop::collection::vec(prop::sample::select(FRAGMENTS), 0..6)) {
        let _ = recognise(&line);
        let _ = recognise(&parts.concat());
    }

    #[test]
    fn a_cause_follows_from_any_numbers_and_its_reason_says_something(
        requested in prop::option::of(any::<u64>()),
        total in prop::option::of(any::<u64>()),
        free in prop::option::of(any::<u64>()),
        allocated in prop::option::of(any::<u64>()),
        reserved in prop::option::of(any::<u64>()),
        this in prop::option::of(any::<u64>()),
        others in prop::collection::vec(prop::option::of(any::<u64>()), 0..4),
        in_use in prop::collection::vec((0_u64..500, any::<u64>()), 0..40),
    ) {
        let numbers = Numbers {
            requested_bytes: requested,
            total_bytes: total,
            free_bytes: free,
            allocated_bytes: allocated,
            reserved_bytes: reserved,
            reserved_unallocated_bytes: reserved.zip(allocated).map(|(all, used)| all.saturating_sub(used)),
            this_process_bytes: this,
            others: others.iter().map(|bytes| ProcessUse { pid: 1, name: None, bytes: *bytes }).collect(),
            ..Numbers::default()
        };
        let message = Message { source: Source::PyTorch, numbers, says_fragmented: false };
        let growth = Growth::of(&in_use);
        let thresholds = Thresholds::default();
        let diagnosis = diagnose(&message, growth.as_ref(), &thresholds);
        prop_assert!(!diagnosis.reason.is_empty());
        prop_assert_eq!(&diagnose(&message, growth.as_ref(), &thresholds), &diagnosis);
        // More than there is cannot be anything else.
        let more = requested.zip(total).is_some_and(|(requested, total)| total > 0 && requested > total);
        prop_assert!(!more || diagnosis.cause == Cause::OneAllocationTooLarge);
    }

    #[test]
    fn any_text_is_a_file_of_patterns_or_an_error_that_says_where(text in ".{0,200}") {
        if let Err(error) = Patterns::parse(&text) {
            prop_assert!(error.to_string().starts_with("patterns: "));
        }
    }
}

#[test]
fn packed_logs_are_read_like_plain_ones_and_cut_ones_as_far_as_they_go() {
    let (log, _) = bytes(&Plan { tests: 300, ooms: 30, lines: 8_000, bytes: 1_500_000, ..Plan::default() });
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&log).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(&log[..], 1).unwrap();
    let plain = fed([&log[..]]);
    for packed in [&gzip, &zstd] {
        let mut analyzer = Analyzer::new(config());
        analyzer.read("log", &packed[..]).unwrap();
        let report = analyzer.finish();
        assert_eq!((report.oom_total, report.tests_run), (plain.oom_total, plain.tests_run));
        assert_eq!(report.logs[0].bytes, log.len() as u64);

        let mut analyzer = Analyzer::new(config());
        analyzer.read("log", &packed[..packed.len() / 2]).unwrap();
        let report = analyzer.finish();
        assert!(
            report.notes[0].contains("ends in the middle") && report.logs[0].bytes > 0,
            "{:?}",
            report.notes
        );
    }
    let mut twice = gzip.clone();
    twice.extend_from_slice(&gzip);
    let mut analyzer = Analyzer::new(config());
    analyzer.read("log", &twice[..]).unwrap();
    assert_eq!(analyzer.finish().logs[0].bytes, 2 * log.len() as u64);
    let mut damaged = gzip;
    damaged[20..60].fill(0xff);
    let error = Analyzer::new(config()).read("log.gz", &damaged[..]).unwrap_err();
    assert!(error.to_string().starts_with("log.gz: reading failed after "));
}
