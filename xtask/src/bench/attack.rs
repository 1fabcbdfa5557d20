//! `bench attack`: how near a curious process comes to where a signature points, for budgets from small to without measure. The
//! adversaries are those of the test, `end_to_end::attack`.

use anyhow::{Context, Result, ensure};
use encrypted_unconscious::keyholder::CustodyConfig;
use end_to_end::attack::{Blind, Ego, Informed, cosine};
use end_to_end::sentence_embeddings;
use serde::Serialize;
use serde_json::json;

use super::Options;
use super::environment::Environment;
use super::report::{Goal, Report, Row, machine, pages};
use super::worker::Worker;

/// Times the default budget, smallest first.
const TIMES: [f64; 9] = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];
/// Signatures that the informed adversary has; the others are what it asks about.
const CORPUS: usize = 1500;
const DIMENSION: usize = 384;
/// The largest cosine that a reconstruction may have within the default budget.
const MOST: f64 = 0.2;

#[derive(Debug, Clone, Copy)]
enum Adversary {
    Blind(Blind),
    Informed,
}

const ADVERSARIES: [(Adversary, &str); 5] = [
    (Adversary::Blind(Blind::BasisVectors), "basis vectors"),
    (Adversary::Blind(Blind::LeastSquares), "random directions, least squares"),
    (Adversary::Blind(Blind::ShiftedSums), "shifted sums"),
    (Adversary::Blind(Blind::Everything), "everything together"),
    (Adversary::Informed, "informed"),
];

/// What came of several tries.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Tries {
    /// The mean over targets of the cosine's magnitude.
    mean: f64,
    largest: f64,
    /// Answers that were given, on average.
    answers: f64,
}

#[derive(Debug, Serialize)]
struct Line {
    name: &'static str,
    /// Units that a memory has.
    budgets: Vec<f64>,
    cosines: Vec<f64>,
}

pub(super) fn measure(options: Options) -> Result<Report> {
    let targets = if options.quick { 2 } else { 10 };
    let ground = Ground::new(targets)?;
    let mut rows = Vec::new();
    let mut lines = Vec::new();
    for (adversary, name) in ADVERSARIES {
        let mut line = Line { name, budgets: Vec::new(), cosines: Vec::new() };
        for times in TIMES {
            eprintln!("{name}, {times} times the default budget");
            let tries = ground.tries(adversary, times);
            line.budgets.push(times * CustodyConfig::default().budget.memory.capacity as f64);
            line.cosines.push(tries.mean);
            if (times - 1.0).abs() < f64::EPSILON {
                rows.extend(ground.rows(adversary, name, tries));
            }
        }
        lines.push(line);
    }
    if options.write {
        draw(&lines, ground.before())?;
    }
    let quick = if options.quick { " --quick" } else { "" };
    let command = format!("cargo xtask bench attack{quick}");
    Ok(Report { bench: "attack", page: "attack", machine: machine(), rows, command })
}

/// What is known beforehand, and what is asked about.
struct Ground {
    corpus: Vec<Vec<f32>>,
    embeddings: Vec<Vec<f32>>,
    anywhere: Vec<Vec<f32>>,
}

impl Ground {
    fn new(targets: usize) -> Result<Self> {
        let mut corpus = sentence_embeddings().context("reading the embeddings of the tests")?;
        ensure!(corpus.len() >= CORPUS + targets, "{} embeddings are too few", corpus.len());
        let rest = corpus.split_off(CORPUS);
        let embeddings = rest.iter().step_by(rest.len() / targets).take(targets).cloned().collect();
        let mut ego = Ego::new(&[1.0; DIMENSION], &CustodyConfig::default(), 0xa77ac);
        let mut anywhere = || ego.gaussian(DIMENSION).into_iter().map(|value| value as f32).collect();
        Ok(Self { corpus, embeddings, anywhere: (0..targets).map(|_| anywhere()).collect() })
    }

    fn tries(&self, adversary: Adversary, times: f64) -> Tries {
        let mut config = CustodyConfig::default();
        let least = config.budget.price_of_sum;
        for allowance in [&mut config.budget.memory, &mut config.budget.everyone] {
            allowance.capacity = ((allowance.capacity as f64 * times) as u64).max(least);
        }
        // Who asks about one memory must not be stopped by what it may ask about all.
        config.budget.caller.capacity = 1_000_000;
        let targets = match adversary {
            Adversary::Blind(_) => &self.anywhere,
            Adversary::Informed => &self.embeddings,
        };
        let mut tries = Tries::default();
        for (seed, truth) in targets.iter().enumerate() {
            let mut ego = Ego::new(truth, &config, seed as u64);
            let guess = match adversary {
                Adversary::Blind(blind) => blind.guess(&mut ego),
                Adversary::Informed => {
                    let mut informed = Informed::new(&self.corpus);
                    informed.ask(&mut ego);
                    informed.guess()
                }
            };
            let near = cosine(&guess, truth).abs();
            tries.mean += near / targets.len() as f64;
            tries.largest = tries.largest.max(near);
            tries.answers += ego.answers as f64 / targets.len() as f64;
        }
        tries
    }

    /// The informed adversary's guess before it asks anything.
    fn before(&self) -> f64 {
        let guess = Informed::new(&self.corpus).guess();
        let near = self.embeddings.iter().map(|truth| cosine(&guess, truth).abs());
        near.sum::<f64>() / self.embeddings.len() as f64
    }

    fn rows(&self, adversary: Adversary, name: &str, tries: Tries) -> Vec<Row> {
        let answers = Row::ours(format!("{name}: answers"), "", tries.answers);
        match adversary {
            Adversary::Blind(_) => vec![
                Row::ours(format!("{name}: cosine, mean"), "", tries.mean),
                Row::ours(format!("{name}: cosine, largest"), "", tries.largest).goal(Goal::AtMost(MOST)),
                answers,
            ],
            Adversary::Informed => vec![
                Row::ours(format!("{name}: cosine before asking, mean"), "", self.before()),
                Row::ours(format!("{name}: cosine, mean"), "", tries.mean),
                answers,
            ],
        }
    }
}

fn draw(lines: &[Line], before: f64) -> Result<()> {
    let environment = Environment::prepare()?;
    let path = pages().join("attack.svg");
    let default = CustodyConfig::default().budget.memory.capacity;
    let command = json!({
        "op": "attack", "path": path, "lines": lines, "before": before, "default": default, "most": MOST,
    });
    Worker::start("plots.py", &mut environment.script("unconscious/plots.py"))?.ask(&command)?;
    eprintln!("wrote {}", path.display());
    Ok(())
}
