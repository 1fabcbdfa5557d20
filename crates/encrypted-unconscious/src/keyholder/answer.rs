//! Scores made coarse: what leaves the keyholder, and what does not.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::influence::{InfluenceError, Score};

/// What is said about one memory.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The highest level that the score reaches; 0 if it reaches none.
    AtLeast(f32),
    /// Nothing is said.
    Refused(Refusal),
}

/// Why nothing is said about a memory.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// So much was asked about it that more could reveal it.
    #[error("its budget is used up; ask again in {}", in_words(*.again_in))]
    OverBudget {
        /// When something can be asked again.
        again_in: Duration,
    },
    /// The encrypted signature cannot be used.
    #[error("{reason}")]
    Unusable {
        /// Why: changed, cut short, of another keyholder, of another dimension.
        reason: String,
    },
}

impl From<InfluenceError> for Refusal {
    fn from(error: InfluenceError) -> Self {
        Self::Unusable { reason: error.to_string() }
    }
}

/// What is said about several memories together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SumAnswer {
    /// The sum of their scores, to the nearest [step](Rounding::sum_step).
    pub sum: f64,
    /// How many they are.
    pub members: u64,
}

/// Why a keyholder answers nothing at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyholderError {
    /// Nothing is said about the sum.
    #[error("{0}")]
    Refused(Refusal),
    /// The caller asked so much, about whatever, that it must wait.
    #[error("this caller (uid {uid}) asked too much; ask again in {}", in_words(*.again_in))]
    CallerOverBudget {
        /// Whose budget is used up.
        uid: u32,
        /// When something can be asked again.
        again_in: Duration,
    },
    /// The caller is not on the list.
    #[error(
        "uid {uid} may not ask this keyholder; its owner can allow it with `omnimind keyholder serve --allow {uid}`"
    )]
    NotAllowed {
        /// Who asked.
        uid: u32,
    },
    /// The question makes no sense.
    #[error(transparent)]
    Question(#[from] InfluenceError),
    /// More than a keyholder takes at once.
    #[error("{asked} memories in one question; ask about at most {most} at a time")]
    TooMany {
        /// How many were asked about.
        asked: usize,
        /// How many may be.
        most: usize,
    },
    /// The sums do not begin where the step does.
    #[error(
        "the keyholder has followed the store to change {position}, and not to {from}; begin there, or anew at 0"
    )]
    OutOfStep {
        /// How far it has followed.
        position: u64,
        /// Where the step begins.
        from: u64,
    },
    /// Nobody answers.
    #[error("no keyholder answers at {socket:?}: {reason}; start it with `omnimind keyholder serve`")]
    Gone {
        /// Where it was looked for.
        socket: std::path::PathBuf,
        /// What happened instead of an answer.
        reason: String,
    },
    /// It answers that it cannot, in its own words: something is wrong with its files or keys.
    #[error("the keyholder cannot answer: {reason}")]
    Failed {
        /// What it says.
        reason: String,
    },
    /// What came back is not an answer.
    #[error(
        "the keyholder at {socket:?} answers in words that are not understood ({reason}); are both of one version?"
    )]
    NotUnderstood {
        /// Who answered.
        socket: std::path::PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Another process serves this key.
    #[error("another process holds {path:?}: this key is served already; stop that process, or ask it")]
    Served {
        /// The lock that it holds.
        path: std::path::PathBuf,
    },
    /// What was given away so far is not known for certain, so nothing more is given away.
    #[error(
        "{path:?} is damaged ({reason}), so budgets are not known and nothing is answered; restore it, or move it away to begin anew with full budgets"
    )]
    LedgerDamaged {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it, and where.
        reason: String,
    },
    /// A file of the keyholder cannot be read or written.
    #[error("{path:?} cannot be {action}: {source}")]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// `read`, `written` or `made`.
        action: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The configuration makes no sense.
    #[error("the keyholder's configuration cannot be used: {reason}")]
    Config {
        /// What is wrong.
        reason: String,
    },
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] crate::Error),
}

impl KeyholderError {
    /// Whether the keyholder is there and says no, as opposed to having failed.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::CallerOverBudget { .. } | Self::NotAllowed { .. })
    }
}

/// How coarse answers are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rounding {
    /// An answer about one memory is the highest of these that the score reaches, or 0. Ascending, above 0, at most 1.
    ///
    /// The lowest is what keeps chance out: an unrelated query of 384 dimensions has a score of 0.05 or so, and says nothing.
    pub levels: Vec<f32>,
    /// Sums are rounded to multiples of this.
    pub sum_step: f64,
}

impl Default for Rounding {
    fn default() -> Self {
        Self { levels: vec![0.25, 0.5, 0.75], sum_step: 1.0 }
    }
}

impl Rounding {
    /// # Errors
    /// [`KeyholderError::Config`].
    pub fn validate(&self) -> Result<(), KeyholderError> {
        let refuse = |reason: &str| Err(KeyholderError::Config { reason: reason.to_owned() });
        let within = self.levels.iter().all(|&level| level > 0.0 && level <= 1.0);
        if self.levels.is_empty() || !within || !self.levels.is_sorted_by(|a, b| a < b) {
            return refuse("levels must be given, ascend, and lie above 0 and at most at 1");
        }
        if !(self.sum_step > 0.0 && self.sum_step.is_finite()) {
            return refuse("sum_step must be a positive number");
        }
        Ok(())
    }

    /// Of one memory.
    #[must_use]
    pub fn level(&self, score: Score) -> f32 {
        let value = score.value();
        self.levels.iter().copied().rev().find(|&level| value >= f64::from(level)).unwrap_or(0.0)
    }

    /// Of several together.
    #[must_use]
    pub fn sum(&self, score: Score) -> f64 {
        // Not −0.
        (score.value() / self.sum_step).round() * self.sum_step + 0.0
    }
}

fn in_words(duration: Duration) -> String {
    match duration.as_secs() {
        0..=90 => format!("{} s", duration.as_secs().max(1)),
        seconds @ 91..=5400 => format!("{} min", seconds.div_ceil(60)),
        seconds => format!("{} h", seconds.div_ceil(3600)),
    }
}
