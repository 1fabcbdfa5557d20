//! An adversary that knows what signatures look like: it has many of the same model. Before it asks anything, its best guess
//! is their mean.

use super::{Ego, add, dot, normalise, scale};

/// Believes that the signature is like one of those it has, and asks what tells most of them apart.
#[derive(Debug)]
pub struct Informed {
    corpus: Vec<Vec<f64>>,
    weights: Vec<f64>,
}

impl Informed {
    /// With everything it has; the target is not among it.
    #[must_use]
    pub fn new(corpus: &[Vec<f32>]) -> Self {
        let unit = |vector: &Vec<f32>| {
            let mut vector: Vec<f64> = vector.iter().map(|&value| f64::from(value)).collect();
            normalise(&mut vector);
            vector
        };
        Self { corpus: corpus.iter().map(unit).collect(), weights: vec![1.0; corpus.len()] }
    }

    /// The best guess by what is believed so far.
    #[must_use]
    pub fn guess(&self) -> Vec<f64> {
        let mut guess = vec![0.0; self.corpus[0].len()];
        for (vector, weight) in self.corpus.iter().zip(&self.weights) {
            add(&mut guess, *weight, vector);
        }
        guess
    }

    /// Asks until it is refused: first sums, each of which halves what is still believed, then about single vectors.
    pub fn ask(&mut self, ego: &mut Ego) {
        for store in [false, true] {
            loop {
                let (one, other) = (self.believed(ego), self.believed(ego));
                let mut direction: Vec<f64> =
                    self.corpus[one].iter().zip(&self.corpus[other]).map(|(a, b)| a - b).collect();
                if one == other {
                    continue;
                }
                normalise(&mut direction);
                let threshold = self.median(&direction);
                let Some(reached) = ego.reaches(1000, &direction, threshold, store) else { break };
                self.learn(|vector| (dot(vector, &direction) >= threshold) == reached);
            }
        }
        loop {
            let direction = self.corpus[self.believed(ego)].clone();
            let Some(level) = ego.ask(1000, &direction) else { return };
            let level = f64::from(level);
            // That it is silent about most is no news.
            if level > 0.0 {
                self.learn(|vector| dot(vector, &direction) >= level);
            }
        }
    }

    /// What does not fit becomes less likely, and not impossible: the target is only like one of them.
    fn learn(&mut self, fits: impl Fn(&[f64]) -> bool) {
        for (vector, weight) in self.corpus.iter().zip(&mut self.weights) {
            if !fits(vector) {
                *weight *= 0.2;
            }
        }
        let all: f64 = self.weights.iter().sum();
        scale(&mut self.weights, 1.0 / all);
    }

    /// One of the corpus, as likely as it is believed in.
    fn believed(&self, ego: &mut Ego) -> usize {
        let mut left = ego.random.fraction() * self.weights.iter().sum::<f64>();
        for (at, weight) in self.weights.iter().enumerate() {
            left -= weight;
            if left <= 0.0 {
                return at;
            }
        }
        self.weights.len() - 1
    }

    fn median(&self, direction: &[f64]) -> f64 {
        let mut scores: Vec<(f64, f64)> = self
            .corpus
            .iter()
            .zip(&self.weights)
            .map(|(vector, &weight)| (dot(vector, direction), weight))
            .collect();
        scores.sort_by(|a, b| a.0.total_cmp(&b.0));
        let half = self.weights.iter().sum::<f64>() / 2.0;
        let mut below = 0.0;
        scores
            .iter()
            .find(|(_, weight)| {
                below += weight;
                below >= half
            })
            .map_or(0.0, |(score, _)| *score)
    }
}
