//! Figures as lines of JSON, each printed as soon as it is known: a bench that is stopped has said what it knew.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Value, json};

/// One figure of ours, the peer's beside it, and what was wanted.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// What was measured.
    pub metric: String,
    /// In which unit.
    pub unit: &'static str,
    /// Our figure.
    pub ours: f64,
    /// Whose figure is beside it.
    pub peer_name: Option<String>,
    /// The peer's figure.
    pub peer: Option<f64>,
    /// What ours should be.
    pub goal: Option<String>,
    /// Whether it is.
    pub met: Option<bool>,
}

/// What a figure of ours should be.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
    /// At least so many times the peer's.
    TimesPeerAtLeast(f64),
}

impl Row {
    /// A figure without a peer or a goal.
    pub fn new(metric: impl Into<String>, unit: &'static str, ours: f64) -> Self {
        Self { metric: metric.into(), unit, ours, peer_name: None, peer: None, goal: None, met: None }
    }

    /// Something that must hold: 1 if it does.
    pub fn holds(metric: impl Into<String>, holds: bool) -> Self {
        let row = Self::new(metric, "", f64::from(u8::from(holds)));
        Self { goal: Some("= 1".into()), met: Some(holds), ..row }
    }

    /// With a peer's figure beside it.
    #[must_use]
    pub fn peer(self, (name, figure): (String, f64)) -> Self {
        Self { peer_name: Some(name), peer: Some(figure), ..self }
    }

    /// With what was wanted.
    #[must_use]
    pub fn goal(self, goal: Goal) -> Self {
        let (goal, met) = match goal {
            Goal::AtMost(most) => (format!("<= {most}"), self.ours <= most),
            Goal::AtLeast(least) => (format!(">= {least}"), self.ours >= least),
            Goal::TimesPeerAtLeast(times) => {
                (format!(">= {times} x peer"), self.peer.is_some_and(|peer| self.ours >= times * peer))
            }
        };
        Self { goal: Some(goal), met: Some(met), ..self }
    }
}

/// All figures so far.
pub struct Rows {
    /// The figures, in the order in which they were found.
    pub rows: Vec<Row>,
    /// Parts that could not be measured, and why.
    pub failed: Vec<(String, String)>,
    print: fn(&Value),
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("rows", &self.rows).field("failed", &self.failed).finish_non_exhaustive()
    }
}

impl Rows {
    /// No figures yet; each is printed like this.
    #[must_use]
    pub fn new(print: fn(&Value)) -> Self {
        Self { rows: Vec::new(), failed: Vec::new(), print }
    }

    /// One figure more.
    pub fn push(&mut self, row: Row) {
        (self.print)(&json!(row));
        self.rows.push(row);
    }

    /// Measures a part; if it fails, that is said, and the next part goes on.
    pub fn part(&mut self, name: &str, work: impl FnOnce(&mut Self) -> Result<()>) {
        if let Err(error) = work(self) {
            let error = format!("{error:#}");
            (self.print)(&json!({ "failed": name, "error": error }));
            self.failed.push((name.to_owned(), error));
        }
    }

    /// Whether everything was measured, and all that must hold holds. Rates may miss their goals.
    #[must_use]
    pub fn are_sound(&self) -> bool {
        let broken = |row: &Row| row.unit.is_empty() && row.met == Some(false);
        self.failed.is_empty() && !self.rows.iter().any(broken)
    }
}

/// Figures of peers, by name, as `gpu/peers.py` prints them.
#[derive(Debug, Clone, Default)]
pub struct Peers(BTreeMap<String, f64>);

impl Peers {
    /// From lines of JSON with a `peer` and its `gb_per_s`; other lines are passed over.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let figure = |line: &str| {
            let line: Value = serde_json::from_str(line).ok()?;
            Some((line["peer"].as_str()?.to_owned(), line["gb_per_s"].as_f64()?))
        };
        Ok(Self(text.lines().filter_map(figure).collect()))
    }

    /// The figure of this peer, or another that stands for it.
    pub(super) fn or(&self, name: &str, instead: (&str, f64)) -> (String, f64) {
        match self.0.get(name) {
            Some(&figure) => (name.to_owned(), figure),
            None => (instead.0.to_owned(), instead.1),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<(String, f64)> {
        self.0.get(name).map(|&figure| (name.to_owned(), figure))
    }
}
