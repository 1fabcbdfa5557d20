//! The curves as SVG in docs/, drawn by `benches/index/plots.py`.

use anyhow::Result;
use serde::Serialize;
use serde_json::{Value, json};

use super::super::report::pages;
use super::super::worker::Worker;
use super::field::{Ground, Sweep};

/// What a query costs as the number of vectors grows.
#[derive(Debug, Default, Serialize)]
pub(super) struct Growth {
    lines: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    name: String,
    sizes: Vec<u32>,
    micros: Vec<f64>,
}

impl Growth {
    /// Adds what was found among `size` vectors: of every index at one recall, and of ours by exact scan.
    pub(super) fn add(&mut self, size: u32, found: &Sweep, recall: f64) {
        for curve in &found.curves {
            if let Some(speed) = curve.at_recall(recall) {
                self.point(&curve.name, size, speed);
            }
        }
        self.point("exact scan", size, found.exact.queries_per_s);
    }

    fn point(&mut self, name: &str, size: u32, queries_per_s: f64) {
        let line = if let Some(at) = self.lines.iter().position(|line| line.name == name) {
            &mut self.lines[at]
        } else {
            self.lines.push(Line { name: name.to_owned(), sizes: Vec::new(), micros: Vec::new() });
            let last = self.lines.len() - 1;
            &mut self.lines[last]
        };
        line.sizes.push(size);
        line.micros.push(1e6 / queries_per_s);
    }
}

/// Recall against queries per second.
pub(super) fn recall(ground: &Ground, found: &Sweep, rows: u32) -> Result<()> {
    let marks = [("default", found.calibrated), ("exact scan", found.exact)];
    draw(
        ground,
        "recall",
        &json!({ "curves": found.curves, "marks": marks, "rows": rows }),
        "index-recall.svg",
    )
}

/// Number of vectors against microseconds per query.
pub(super) fn growth(ground: &Ground, growth: &Growth, recall: f64) -> Result<()> {
    draw(ground, "growth", &json!({ "lines": growth.lines, "recall": recall }), "index-growth.svg")
}

fn draw(ground: &Ground, op: &str, what: &Value, file: &str) -> Result<()> {
    let path = pages().join(file);
    let mut command = what.clone();
    command["op"] = json!(op);
    command["path"] = json!(path);
    Worker::start("plots.py", &mut ground.environment.script("index/plots.py"))?.ask(&command)?;
    eprintln!("wrote {}", path.display());
    Ok(())
}
