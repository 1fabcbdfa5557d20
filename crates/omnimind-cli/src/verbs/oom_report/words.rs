//! What the parts of a report are called, wherever it is shown.

use oom_forensics::report::SizeBucket;
use oom_forensics::{Measure, Severity, Verdict};

use crate::output::{Bytes, Percent};

pub(super) fn measure(measure: Measure) -> &'static str {
    match measure {
        Measure::Ooms => "out of memory",
        Measure::Errors => "errors",
        Measure::SuccessRate => "success rate",
    }
}

/// Before, after, and what was wanted.
pub(super) fn verdict(verdict: &Verdict) -> [String; 3] {
    let shown = |value: f64| match verdict.measure {
        Measure::SuccessRate => Percent(value).to_string(),
        _ => format!("{value:.0}"),
    };
    let sign = if verdict.measure == Measure::SuccessRate { "above" } else { "below" };
    let known = |value: Option<f64>| value.map_or_else(|| "no tests".to_owned(), shown);
    [known(verdict.before), known(verdict.after), format!("{sign} {}", shown(verdict.wanted))]
}

pub(super) fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
        Severity::Critical => "critical",
    }
}

/// From where to where a bucket of sizes goes. The others are below it.
pub(super) fn range(bucket: &SizeBucket) -> String {
    match bucket.below_bytes {
        Some(below) => format!("below {}", Bytes(below)),
        None => format!("from {}", Bytes(bucket.from_bytes)),
    }
}
