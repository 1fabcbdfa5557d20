//! What the demo says: the same figures as a story for people and as one JSON object for programs.

use std::io::Write;

#[cfg(all(unix, feature = "homomorphic"))]
use omnimind_memory::Influence;
use omnimind_memory::{ContentHash, Familiarity, Outcome, Pressure, Stats};
use serde::Serialize;

use super::Place;
use super::check::Comparison;
use super::stage::Stage;
use crate::failure::Failure;
use crate::output::{Align, BOLD, Bytes, DIM, GOOD, Output, Paint, Percent, Small, Table, WARN};
use crate::record::short;
use crate::verbs::{deja_vu, stats};

#[derive(Debug, Serialize)]
pub(super) struct Report {
    gpu: GpuReport,
    pub(super) pressure_before: Option<Pressure>,
    pub(super) groups: Vec<GroupReport>,
    pub(super) pressure_after: Option<Pressure>,
    pub(super) deja_vu: Vec<Familiarity>,
    pub(super) comparison: Option<Comparison>,
    pub(super) refusal: Option<String>,
    /// What the keyholder says of a sentence that resembles the one under which the crash was sealed.
    #[cfg(all(unix, feature = "homomorphic"))]
    pub(super) influence: Option<Influence>,
    /// And of another.
    #[cfg(all(unix, feature = "homomorphic"))]
    pub(super) influence_elsewhere: Option<Influence>,
    pub(super) stats: Option<Stats>,
    /// Where everything was kept, if it was.
    kept: Option<String>,
}

#[derive(Debug, Serialize)]
struct GpuReport {
    source: &'static str,
    name: String,
    note: String,
}

/// Memories of one sort, added up.
#[derive(Debug, Serialize)]
pub(super) struct GroupReport {
    title: String,
    items: usize,
    new_memories: usize,
    layer: String,
    pub(super) families: Vec<&'static str>,
    original_bytes: u64,
    /// Bytes by which the store grew.
    pub(super) stored_bytes: u64,
    freed_bytes: u64,
    bound: String,
    max_abs_error: f64,
    rel_l2_error: f64,
    trauma_score: f64,
    reasons: Vec<String>,
}

impl Report {
    pub(super) fn new(stage: &Stage, place: &Place) -> Self {
        let gpu =
            GpuReport { source: stage.gpu.source(), name: stage.name.clone(), note: stage.note.clone() };
        let kept = place.kept_file().map(|_| place.dir.display().to_string());
        Self {
            gpu,
            pressure_before: None,
            groups: Vec::new(),
            pressure_after: None,
            deja_vu: Vec::new(),
            comparison: None,
            refusal: None,
            #[cfg(all(unix, feature = "homomorphic"))]
            influence: None,
            #[cfg(all(unix, feature = "homomorphic"))]
            influence_elsewhere: None,
            stats: None,
            kept,
        }
    }
}

impl GroupReport {
    pub(super) fn new(title: String) -> Self {
        Self {
            title,
            items: 0,
            new_memories: 0,
            layer: String::new(),
            families: Vec::new(),
            original_bytes: 0,
            stored_bytes: 0,
            freed_bytes: 0,
            bound: String::new(),
            max_abs_error: 0.0,
            rel_l2_error: 0.0,
            trauma_score: 0.0,
            reasons: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, outcome: &Outcome) {
        self.items += 1;
        self.new_memories += usize::from(outcome.new);
        self.layer = outcome.layer.to_string();
        self.original_bytes += outcome.original_bytes;
        self.freed_bytes += outcome.freed_bytes;
        self.bound.clone_from(&outcome.bound);
        self.max_abs_error = self.max_abs_error.max(outcome.max_abs_error);
        self.rel_l2_error = self.rel_l2_error.max(outcome.rel_l2_error);
        self.trauma_score = self.trauma_score.max(outcome.classification.trauma_score);
        self.reasons = outcome.classification.reasons.iter().map(ToString::to_string).collect();
    }

    fn kept(&self) -> f64 {
        if self.original_bytes == 0 { 1.0 } else { self.stored_bytes as f64 / self.original_bytes as f64 }
    }

    /// The error that counts for the bound, and the bound.
    fn promise(&self) -> (String, String) {
        match self.bound.split_once('=') {
            Some(("abs", bound)) => (format!("absolute {}", Small(self.max_abs_error)), bound.to_owned()),
            Some((_, bound)) => (format!("relative {}", Small(self.rel_l2_error)), bound.to_owned()),
            None if self.bound == "default" => {
                (format!("relative {}", Small(self.rel_l2_error)), "0.006".to_owned())
            }
            None => (Small(self.rel_l2_error).to_string(), self.bound.clone()),
        }
    }
}

/// Tells the story as it happens, or says everything at the end in JSON.
#[derive(Debug)]
pub(super) struct Teller(Output);

impl Teller {
    pub(super) fn new(output: Output) -> Self {
        Self(output)
    }

    fn tell(&self, story: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<(), Failure> {
        if self.0.json { Ok(()) } else { story(&mut anstream::stdout().lock()).map_err(Failure::Output) }
    }

    pub(super) fn crowded(&self, report: &Report, stage: &Stage, loaded: u64) -> Result<(), Failure> {
        self.tell(|out| {
            writeln!(out, "{}", "omnimind consolidates GPU memory instead of deleting it".paint(BOLD))?;
            let total = report.pressure_before.as_ref().map_or(0, |pressure| pressure.total_bytes);
            writeln!(out, "\nGPU     {}, {} ({})", stage.name, Bytes(total), stage.note)?;
            writeln!(out, "others  {}", stage.others)?;
            writeln!(
                out,
                "ours    a test run that left {} of models, embeddings and histories behind",
                Bytes(loaded)
            )?;
            pressure(out, report.pressure_before.as_ref())
        })
    }

    pub(super) fn consolidated(&self, report: &Report) -> Result<(), Failure> {
        self.tell(|out| {
            heading(
                out,
                1,
                "Everything idle is consolidated: compressed, made durable, and only then freed",
            )?;
            groups(&report.groups).write(out)?;
            pressure(out, report.pressure_after.as_ref())
        })
    }

    pub(super) fn remembered(&self, memories: &[Familiarity], sentence: usize) -> Result<(), Failure> {
        self.tell(|out| {
            heading(
                out,
                2,
                &format!("Déjà vu: the embedding of another real sentence (row {sentence}) comes by"),
            )?;
            deja_vu::table(memories).write(out)
        })
    }

    pub(super) fn brought_back(&self, report: &Report, hash: &ContentHash) -> Result<(), Failure> {
        let Some(comparison) = &report.comparison else { return Ok(()) };
        let promise =
            report.groups.first().map(GroupReport::promise).map_or_else(String::new, |(_, bound)| bound);
        self.tell(|out| {
            heading(
                out,
                3,
                &format!("Memory {} is brought back into VRAM and compared with the original", short(hash)),
            )?;
            let kept = promise.parse().is_ok_and(|bound: f64| comparison.rel_l2_error <= bound);
            let (verdict, style) = if kept { ("kept", GOOD) } else { ("BROKEN", WARN) };
            writeln!(
                out,
                "  {} matrices: relative L2 error {}, promised {promise}: {}",
                comparison.lossy_tensors,
                Small(comparison.rel_l2_error),
                verdict.paint(style)
            )?;
            writeln!(out, "  {} biases and norms: bit for bit", comparison.exact_tensors)
        })
    }

    pub(super) fn refused(&self, report: &Report) -> Result<(), Failure> {
        let Some(refusal) = &report.refusal else { return Ok(()) };
        self.tell(|out| {
            heading(out, 4, "What crashed was sealed: the process that lived it cannot read it")?;
            for group in report.groups.iter().filter(|group| group.trauma_score > 0.0) {
                for reason in &group.reasons {
                    writeln!(out, "  {reason}")?;
                }
            }
            let refused = format!("refused: {refusal}");
            wrapped(&refused, 100).iter().try_for_each(|line| writeln!(out, "  {}", line.paint(WARN)))
        })
    }

    #[cfg(all(unix, feature = "homomorphic"))]
    pub(super) fn felt(&self, report: &Report, alike: usize, other: usize) -> Result<(), Failure> {
        self.tell(|out| {
            heading(
                out,
                5,
                "And yet it is felt: the keyholder compares what nobody reads, and answers roughly",
            )?;
            for (row, influence) in [(alike, &report.influence), (other, &report.influence_elsewhere)] {
                let felt = influence.as_ref().and_then(|influence| influence.felt.first());
                let said = match felt {
                    Some(felt) => {
                        format!("resembles what crashed, by at least {:.2}", felt.at_least).paint(WARN)
                    }
                    None => "resembles nothing that crashed".to_owned().paint(GOOD),
                };
                writeln!(out, "  the sentence of row {row:>4}  {said}")?;
            }
            Ok(())
        })
    }

    pub(super) fn ended(&self, report: &Report) -> Result<(), Failure> {
        if self.0.json {
            return self.0.result(report, |_| Ok(()));
        }
        self.tell(|out| {
            heading(out, IN_ALL, "In all")?;
            if let Some(figures) = &report.stats {
                stats::table(figures).indented(2).write(out)?;
            }
            if let Some(dir) = &report.kept {
                return writeln!(out, "\nkept in {dir}; try: omnimind --store {dir}/store list");
            }
            writeln!(out, "\n{}", "nothing was left behind; --keep DIR keeps the store".paint(DIM))
        })
    }
}

/// The number of the last heading.
const IN_ALL: u32 = if cfg!(all(unix, feature = "homomorphic")) { 6 } else { 5 };

fn heading(out: &mut dyn Write, number: u32, text: &str) -> std::io::Result<()> {
    writeln!(out, "\n{}", format_args!("{number}  {text}").paint(BOLD))
}

/// Text in lines of at most `width` columns, where words allow it.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        if let Some(line) = lines.last_mut()
            && (line.is_empty() || line.chars().count() + 1 + word.chars().count() <= width)
        {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

fn pressure(out: &mut dyn Write, pressure: Option<&Pressure>) -> std::io::Result<()> {
    let Some(pressure) = pressure else { return Ok(()) };
    let (verdict, style) =
        if pressure.consolidate { ("time to consolidate", WARN) } else { ("no need to consolidate", GOOD) };
    writeln!(
        out,
        "VRAM    {} of {}: {} {}",
        Bytes(pressure.used_bytes),
        Bytes(pressure.total_bytes),
        verdict.paint(style),
        format_args!("({})", pressure.reason).paint(DIM)
    )
}

fn groups(groups: &[GroupReport]) -> Table {
    let mut table = Table::new([
        ("what", Align::Left),
        ("freed", Align::Right),
        ("stored", Align::Right),
        ("kept", Align::Right),
        ("coded as", Align::Left),
        ("error measured", Align::Left),
        ("promised", Align::Left),
    ])
    .indented(2);
    for group in groups {
        let sealed = group.families.is_empty();
        let (error, promise) = group.promise();
        table.row([
            group.title.clone(),
            Bytes(group.freed_bytes).to_string(),
            Bytes(group.stored_bytes).to_string(),
            Percent(group.kept()).to_string(),
            if sealed { "sealed".to_owned() } else { group.families.join(" + ") },
            error,
            promise,
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_words_stand_alone_and_no_word_is_lost() {
        assert_eq!(wrapped("a bb a-very-long-word c", 5), ["a bb", "a-very-long-word", "c"]);
    }
}
