//! `[oom_report]`: what logs of tests are judged by.

use std::path::PathBuf;

use oom_forensics::{Error, Targets, Thresholds};
use serde::{Deserialize, Serialize};

/// `[oom_report]`. Flags go before it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OomReportTable {
    /// A file of `[[pattern]]` tables, instead of those that come along; empty for these.
    pub(crate) patterns: PathBuf,
    /// What is wanted of the second of two runs.
    pub(crate) targets: Targets,
    /// From where on something is a cause.
    pub(crate) thresholds: Thresholds,
}

impl OomReportTable {
    pub(super) fn validate(&self) -> Result<(), Error> {
        self.targets.validated()?;
        self.thresholds.validated()?;
        Ok(())
    }
}
