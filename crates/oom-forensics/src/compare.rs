//! Before and after: whether what was wanted is met.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::report::Report;

/// What is wanted of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Targets {
    /// Fewer out-of-memory errors than this.
    pub ooms_below: u64,
    /// Fewer tests that end in an error than this.
    pub errors_below: u64,
    /// A higher success rate than this, from 0 to 1.
    pub success_above: f64,
}

impl Default for Targets {
    fn default() -> Self {
        Self { ooms_below: 20, errors_below: 50, success_above: 0.98 }
    }
}

impl Targets {
    /// # Errors
    ///
    /// If the success rate is not from 0 to below 1.
    pub fn validated(self) -> Result<Self> {
        if !(0.0..1.0).contains(&self.success_above) {
            let (name, value) = ("targets: success_above", self.success_above);
            return Err(Error::OutOfRange {
                name,
                value,
                wanted: "it is a share from 0 to below 1, such as 0.98",
            });
        }
        Ok(self)
    }
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Out-of-memory errors.
    Ooms,
    /// Tests that ended in an error.
    Errors,
    /// The share of tests that passed, from 0 to 1.
    SuccessRate,
}

/// One measure, before and after, against what was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// What is measured.
    pub measure: Measure,
    /// Before; `None` if that log has no tests.
    pub before: Option<f64>,
    /// After.
    pub after: Option<f64>,
    /// Below this, or for the success rate above it.
    pub wanted: f64,
    /// Whether it is. What is not known is not met.
    pub met: bool,
}

/// Two runs, and whether the second is what was wanted.
///
/// ```
/// use oom_forensics::{Analyzer, Comparison, Config, Targets};
///
/// let report = |log: &str| {
///     let mut analyzer = Analyzer::new(Config::standard()?);
///     analyzer.feed(log.as_bytes());
///     Ok::<_, oom_forensics::Error>(analyzer.finish())
/// };
/// let before = report("== 188 failed, 4175 passed, 116 errors in 9.0s ==")?;
/// let after = report("== 9 failed, 4470 passed in 8.0s ==")?;
/// let comparison = Comparison::new(&before, &after, Targets::default());
/// assert!(comparison.met);
/// # Ok::<(), oom_forensics::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// What was wanted.
    pub targets: Targets,
    /// Each measure.
    pub verdicts: Vec<Verdict>,
    /// Whether all are met.
    pub met: bool,
}

impl Comparison {
    /// Compares `after` with what was wanted, and shows `before` beside it. A run in which no test ran meets nothing.
    #[must_use]
    pub fn new(before: &Report, after: &Report, targets: Targets) -> Self {
        let ran = |report: &Report, value: u64| (report.tests_run > 0).then_some(value as f64);
        let below = |measure, of: fn(&Report) -> u64, wanted: u64| {
            let after = ran(after, of(after));
            let met = after.is_some_and(|after| after < wanted as f64);
            Verdict { measure, before: ran(before, of(before)), after, wanted: wanted as f64, met }
        };
        let verdicts = vec![
            below(Measure::Ooms, |report| report.oom_total, targets.ooms_below),
            below(Measure::Errors, |report| report.errors, targets.errors_below),
            Verdict {
                measure: Measure::SuccessRate,
                before: before.success_rate,
                after: after.success_rate,
                wanted: targets.success_above,
                met: after.success_rate.is_some_and(|rate| rate > targets.success_above),
            },
        ];
        let met = verdicts.iter().all(|verdict| verdict.met);
        Self { targets, verdicts, met }
    }
}
