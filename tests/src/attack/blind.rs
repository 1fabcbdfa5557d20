//! An adversary that knows nothing beforehand: to it, the signature may point anywhere.

use std::time::Duration;

use super::{Ego, add, dot, normalise};

/// Ways to ask, without knowing what a signature may look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blind {
    /// Each coordinate by itself: the query is a vector of the basis.
    BasisVectors,
    /// Random directions, and of all answers the solution of least squares.
    LeastSquares,
    /// Sums with memories of its own, which move the score to where answers change: each answer is a sign.
    ShiftedSums,
    /// All of these, as one user after another, with restarts, with the clock set forwards and backwards, and through stores
    /// that do not exist.
    Everything,
}

impl Blind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::BasisVectors, Self::LeastSquares, Self::ShiftedSums, Self::Everything];

    /// Asks until it is refused, and says where the signature points as far as it can tell.
    pub fn guess(self, ego: &mut Ego) -> Vec<f64> {
        match self {
            Self::BasisVectors => basis_vectors(ego),
            Self::LeastSquares => {
                let equations = random_directions(ego);
                least_squares(ego.target.dimension(), &equations)
            }
            Self::ShiftedSums => {
                let mut equations = Vec::new();
                signs(ego, 1000, false, &mut equations);
                magnitudes(ego, 1000, false, &mut equations);
                least_squares(ego.target.dimension(), &equations)
            }
            Self::Everything => everything(ego),
        }
    }
}

/// What the score is for a direction, as far as known.
type Equation = (Vec<f64>, f64);

/// What an unknown direction has along a random one is nearly normal, with this deviation.
fn deviation(dimension: usize) -> f64 {
    1.0 / (dimension as f64).sqrt()
}

/// In deviations: the mean magnitude, the median, and the mean of those below and above the median.
const MEAN: f64 = 0.798;
const MEDIAN: f64 = 0.674;
const NEAR: f64 = 0.325;
const FAR: f64 = 1.271;

fn basis_vectors(ego: &mut Ego) -> Vec<f64> {
    let dimension = ego.target.dimension();
    let mut guess = vec![0.0; dimension];
    'asking: for at in 0..dimension {
        for sign in [1.0, -1.0] {
            let mut direction = vec![0.0; dimension];
            direction[at] = sign;
            let Some(level) = ego.ask(1000, &direction) else { break 'asking };
            guess[at] += sign * f64::from(level);
        }
    }
    guess
}

/// Only what is answered with a level says where the signature points; that most directions are not near it is no news.
fn random_directions(ego: &mut Ego) -> Vec<Equation> {
    let dimension = ego.target.dimension();
    let mut equations = Vec::new();
    loop {
        let direction = ego.gaussian(dimension);
        let Some(level) = ego.ask(1000, &direction) else { return equations };
        if level > 0.0 {
            equations.push((direction, f64::from(level)));
        }
    }
}

/// The signs of directions at right angles to each other, so that no answer repeats what another said.
fn signs(ego: &mut Ego, uid: u32, store: bool, equations: &mut Vec<Equation>) {
    let dimension = ego.target.dimension();
    while equations.len() < dimension {
        let mut direction = ego.gaussian(dimension);
        for (before, _) in &*equations {
            let product = dot(before, &direction);
            add(&mut direction, -product, before);
        }
        normalise(&mut direction);
        let Some(positive) = ego.reaches(uid, &direction, 0.0, store) else { break };
        let value = MEAN * deviation(dimension);
        equations.push((direction, if positive { value } else { -value }));
    }
}

/// Once all signs are known: whether each is nearer to 0 than half of all, or further.
fn magnitudes(ego: &mut Ego, uid: u32, store: bool, equations: &mut [Equation]) {
    let dimension = ego.target.dimension();
    if equations.len() < dimension {
        return;
    }
    let unit = deviation(dimension);
    for (direction, value) in equations {
        if (value.abs() - MEAN * unit).abs() > 1e-9 {
            continue;
        }
        let sign = value.signum();
        let Some(above) = ego.reaches(uid, direction, sign * MEDIAN * unit, store) else { return };
        *value = sign * unit * if above == (sign > 0.0) { FAR } else { NEAR };
    }
}

fn everything(ego: &mut Ego) -> Vec<f64> {
    let mut equations = Vec::new();
    // As much as it is given at once, then again after everything that could make the keyholder forget.
    for round in 0..4u32 {
        for uid in [0, 1000, 1001, 65_534] {
            for store in [false, true] {
                signs(ego, uid, store, &mut equations);
                magnitudes(ego, uid, store, &mut equations);
            }
        }
        match round {
            0 => ego.restart(),
            1 => ego.set_clock(Duration::from_secs(4_000_000_000)),
            _ => {
                ego.set_clock(Duration::from_secs(1));
                ego.restart();
            }
        }
    }
    equations.extend(random_directions(ego));
    least_squares(ego.target.dimension(), &equations)
}

/// The shortest vector that fits all equations, by Kaczmarz' iteration.
fn least_squares(dimension: usize, equations: &[Equation]) -> Vec<f64> {
    let mut guess = vec![0.0; dimension];
    for _ in 0..50 {
        for (direction, value) in equations {
            let missing = value - dot(direction, &guess);
            add(&mut guess, missing, direction);
        }
    }
    guess
}
