//! A log of tests: whatever its bytes, there is a report whose sums agree, and where the log is cut makes no difference.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oom_forensics::{Analyzer, Config, Report};

/// The first byte says into pieces of what size the rest is cut; zero stands for a log that is read, and may be packed.
fuzz_target!(|bytes: &[u8]| {
    let Some((size, log)) = bytes.split_first() else { return };
    let mut analyzer = Analyzer::new(Config::standard().expect("the patterns that come along are valid"));
    if *size == 0 {
        let is_read = analyzer.read("log", log).is_ok();
        let report = analyzer.finish();
        assert!(is_read || report.logs.len() <= 1);
        sums_agree(&report);
        return;
    }
    analyzer.begin_log("log");
    log.chunks(usize::from(*size)).for_each(|piece| analyzer.feed(piece));
    let in_pieces = analyzer.finish();
    sums_agree(&in_pieces);
    let mut analyzer = Analyzer::new(Config::standard().expect("the patterns that come along are valid"));
    analyzer.begin_log("log");
    analyzer.feed(log);
    assert_eq!(analyzer.finish(), in_pieces);
    assert_eq!(in_pieces.logs[0].bytes, log.len() as u64);
});

fn sums_agree(report: &Report) {
    let total = report.oom_total;
    assert_eq!(report.by_file.iter().map(|count| count.ooms).sum::<u64>(), total);
    assert_eq!(report.by_cause.iter().map(|count| count.ooms).sum::<u64>(), total);
    assert_eq!(report.by_source.iter().map(|count| count.ooms).sum::<u64>(), total);
    assert_eq!(report.by_size.iter().map(|bucket| bucket.ooms).sum::<u64>() + report.size_unknown, total);
    assert!(report.oom_in_tests <= total);
    assert!(report.success_rate.is_none_or(|rate| (0.0..=1.0).contains(&rate)));
}
