//! Rows of figures as a table for people, JSON for machines, and Markdown for docs/.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::cargo::root;

/// One benchmark's outcome.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// What was measured.
    pub(super) bench: &'static str,
    /// The page in docs/src/measurements that has a place for it.
    #[serde(skip)]
    pub(super) page: &'static str,
    pub(super) machine: String,
    pub(super) rows: Vec<Row>,
    #[serde(skip)]
    pub(super) command: String,
}

/// One figure of ours, the peer's beside it, and what was wanted.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    pub(super) metric: String,
    pub(super) unit: &'static str,
    pub(super) ours: Option<f64>,
    pub(super) peer_name: Option<String>,
    pub(super) peer: Option<f64>,
    pub(super) goal: Option<String>,
    pub(super) met: Option<bool>,
}

/// What a figure of ours should be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Goal {
    AtMost(f64),
    AtLeast(f64),
    /// At most so many times the peer's.
    TimesPeerAtMost(f64),
    /// At least so many times the peer's.
    TimesPeerAtLeast(f64),
}

impl Row {
    pub(super) fn ours(metric: impl Into<String>, unit: &'static str, ours: f64) -> Self {
        Self {
            metric: metric.into(),
            unit,
            ours: Some(ours),
            peer_name: None,
            peer: None,
            goal: None,
            met: None,
        }
    }

    pub(super) fn peer(mut self, name: impl Into<String>, peer: f64) -> Self {
        (self.peer_name, self.peer) = (Some(name.into()), Some(peer));
        self
    }

    pub(super) fn goal(mut self, goal: Goal) -> Self {
        let (ours, peer) = (self.ours.unwrap_or(f64::NAN), self.peer.unwrap_or(f64::NAN));
        let (text, met) = match goal {
            Goal::AtMost(limit) => (format!("<= {limit}"), ours <= limit),
            Goal::AtLeast(limit) => (format!(">= {limit}"), ours >= limit),
            Goal::TimesPeerAtMost(1.0) => ("<= peer".to_owned(), ours <= peer),
            Goal::TimesPeerAtLeast(1.0) => (">= peer".to_owned(), ours >= peer),
            Goal::TimesPeerAtMost(times) => (format!("<= {times} x peer"), ours <= times * peer),
            Goal::TimesPeerAtLeast(times) => (format!(">= {times} x peer"), ours >= times * peer),
        };
        (self.goal, self.met) = (Some(text), Some(met));
        self
    }

    fn cells(&self) -> [String; 6] {
        let figure =
            |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| significant(value, self.unit));
        let met = match self.met {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "",
        };
        let metric = format!("{}{}", self.metric, unit(self.unit));
        let peer = self.peer_name.clone().unwrap_or_default();
        [
            metric,
            figure(self.ours),
            figure(self.peer),
            peer,
            self.goal.clone().unwrap_or_default(),
            met.to_owned(),
        ]
    }
}

fn unit(unit: &str) -> String {
    if unit.is_empty() { String::new() } else { format!(" ({unit})") }
}

/// Four significant digits or fewer; of a cosine just below one, those that matter.
fn significant(value: f64, unit: &str) -> String {
    let size = value.abs();
    match size {
        _ if size == 0.0 => "0".to_owned(),
        _ if size < 1e-3 => format!("{value:.2e}"),
        _ if unit.is_empty() && (0.99..1.0).contains(&size) => format!("{value:.6}"),
        _ if size < 1.0 => format!("{value:.4}"),
        _ if size < 100.0 => format!("{value:.2}"),
        _ => format!("{value:.0}"),
    }
}

const HEADINGS: [&str; 6] = ["metric", "ours", "peer", "which peer", "goal", "met"];

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = vec![HEADINGS.map(str::to_owned)];
        lines.extend(self.rows.iter().map(Row::cells));
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; 6] = std::array::from_fn(width);
        writeln!(f, "{}: {}\n", self.bench, self.machine)?;
        for line in &lines {
            let cells = line.iter().zip(widths).enumerate().map(|(column, (cell, width))| match column {
                1 | 2 => format!("{cell:>width$}"),
                _ => format!("{cell:<width$}"),
            });
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        let goals = self.rows.iter().filter(|row| row.met.is_some()).count();
        let met = self.rows.iter().filter(|row| row.met == Some(true)).count();
        writeln!(f, "\n{met} of {goals} goals met")
    }
}

/// The part of a Markdown page between this line, which names the bench, and the next that is `END` is ours; what people
/// wrote around it stays.
fn begin(bench: &str) -> String {
    format!("<!-- begin: written by cargo xtask bench, {bench} -->")
}

const END: &str = "<!-- end -->";

impl Report {
    /// Refreshes the table in docs/, and keeps the text around it.
    pub(super) fn write_markdown(&self) -> Result<()> {
        let path = pages().join(format!("{}.md", self.page));
        let begin = begin(self.bench);
        let page = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let (before, rest) = page.split_once(&begin).with_context(|| missing(&path, &begin))?;
        let (_, after) = rest.split_once(END).with_context(|| missing(&path, END))?;
        fs::write(&path, format!("{before}{begin}\n{}{END}{after}", self.markdown()))?;
        eprintln!("wrote {}", path.display());
        Ok(())
    }

    fn markdown(&self) -> String {
        let mut text =
            format!("Command: `{}`  \nDate: {}  \nMachine: {}\n\n", self.command, today(), self.machine);
        let line = |cells: &[String; 6]| format!("| {} |\n", cells.join(" | "));
        text += &line(&HEADINGS.map(str::to_owned));
        text += "|---|--:|--:|---|---|---|\n";
        self.rows.iter().for_each(|row| text += &line(&row.cells()));
        text
    }
}

/// Where the pages and their plots are.
pub(super) fn pages() -> PathBuf {
    root().join("docs/src/measurements")
}

fn missing(path: &Path, what: &str) -> String {
    format!("{} has no line {what:?} to put the table after", path.display())
}

fn today() -> String {
    let date = Command::new("date").args(["-u", "+%Y-%m-%d"]).output();
    date.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// Processor, cores, vector width and memory: what the figures depend on.
pub(super) fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (cpu, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let flags = field(&cpu, "flags").unwrap_or_default();
    let vectors =
        ["avx512f", "avx2"].into_iter().find(|flag| flags.split(' ').any(|f| f == *flag)).unwrap_or("no AVX");
    let name = field(&cpu, "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kib = field(&memory, "MemTotal")
        .and_then(|text| text.split(' ').next()?.parse::<f64>().ok())
        .unwrap_or(0.0);
    format!("{name}, {cores} cores, {vectors}, {:.0} GiB", kib / 1024.0 / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let rows = vec![
            Row::ours("stored / original", "", 0.2431).goal(Goal::AtMost(0.245)),
            Row::ours("compress", "GB/s", 1.5).peer("zfp", 0.4).goal(Goal::TimesPeerAtLeast(4.0)),
            Row { ours: None, ..Row::ours("stored / original", "", 0.0).peer("zstd 3", 0.915) },
        ];
        Report {
            bench: "compression",
            page: "compression",
            machine: "test".to_owned(),
            rows,
            command: "x".to_owned(),
        }
    }

    #[test]
    fn a_goal_is_judged_by_the_figures_of_its_row() {
        let met: Vec<_> = report().rows.iter().map(|row| row.met).collect();
        assert_eq!(met, [Some(true), Some(false), None]);
        assert!(report().to_string().contains("1 of 2 goals met"));
    }

    #[test]
    fn json_has_the_agreed_names_and_nulls_where_there_is_no_peer() {
        let json = serde_json::to_value(report()).unwrap();
        let names: Vec<_> = json["rows"][0].as_object().unwrap().keys().cloned().collect();
        assert_eq!(names.len(), 7);
        for name in ["metric", "unit", "ours", "peer_name", "peer", "goal", "met"] {
            assert!(names.iter().any(|n| n == name), "{name}");
        }
        assert!(json["rows"][0]["peer"].is_null() && json["rows"][2]["ours"].is_null());
    }

    #[test]
    fn figures_keep_the_digits_that_matter() {
        assert_eq!(significant(0.999_861, ""), "0.999861");
        assert_eq!(significant(0.2431, ""), "0.2431");
        assert_eq!(significant(12.345, "GB/s"), "12.35");
        assert_eq!(significant(0.9938, "GB/s"), "0.9938");
        assert_eq!(significant(3.5e-5, ""), "3.50e-5");
    }
}
