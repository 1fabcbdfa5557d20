//! Signals in; layer, score and reasons out. Which words mean what is for [`label`] and
//! [`message`]; this module only adds up, in whole millionths, so that a sum of exactly the
//! threshold is never above it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::{ExactConfig, Millionths};
use crate::label::{self, Grade};
use crate::{ClassifierConfig, ClassifierError, ErrorKind, Layer, message};

/// What is known about how a memory came to be. Everything is optional, and any text is allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Signals {
    /// The kind of error: `OOM`, `crash`, `StructuralFailure`, an exception's name.
    pub error_type: Option<String>,
    /// How grave it was: `high`, `critical` and `medium` weigh.
    pub severity: Option<String>,
    /// How far it reached: `high` and `system-wide` weigh.
    pub impact: Option<String>,
    /// What was printed: an exception's message, a traceback, a log of any size.
    pub text: Option<String>,
}

/// The signal that a reason was found in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// [`Signals::error_type`].
    ErrorType,
    /// [`Signals::severity`].
    Severity,
    /// [`Signals::impact`].
    Impact,
    /// [`Signals::text`].
    Text,
}

/// What adds to a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Factor {
    /// [`ErrorKind::OutOfMemory`].
    OutOfMemory,
    /// [`ErrorKind::Crash`].
    Crash,
    /// [`ErrorKind::StructuralFailure`].
    StructuralFailure,
    /// A severity that is high or critical.
    SeverityHigh,
    /// A severity that is medium.
    SeverityMedium,
    /// An impact that is high or system-wide.
    ImpactHigh,
}

/// Which factor added how much, and the words that say so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// What added to the score.
    pub factor: Factor,
    /// Where it was found.
    pub signal: Signal,
    /// The words it was found by, as they stand there; at most 120 characters of them.
    pub evidence: String,
    /// What it added: its weight. A score that reaches 1 stays there, so the reasons may add up to more.
    pub added: f64,
}

/// An answer, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Classification {
    /// [`Layer::Unconscious`] if traumatic, else [`Layer::Preconscious`]. Never [`Layer::Conscious`]: what is live
    /// in VRAM is not asked about.
    pub layer: Layer,
    /// From 0 to 1: what the reasons added, capped.
    pub trauma_score: f64,
    /// Whether the score is above the threshold.
    pub traumatic: bool,
    /// The kind of error that weighs most; of equals the one that comes first in [`ErrorKind::ALL`].
    pub error_kind: Option<ErrorKind>,
    /// One per factor that applies: errors first, then severity, then impact.
    pub reasons: Vec<Reason>,
}

/// Adds up what [`Signals`] say.
#[derive(Debug, Clone, Copy)]
pub struct Classifier {
    config: ExactConfig,
}

impl Classifier {
    /// A classifier with these weights and this threshold.
    ///
    /// # Errors
    /// As [`ClassifierConfig::validate`].
    pub fn new(config: ClassifierConfig) -> Result<Self, ClassifierError> {
        Ok(Self { config: config.exact()? })
    }

    /// Says where a memory with these signals belongs, and why. Always answers, always the same, and more signals
    /// never make the score smaller. Takes time linear in the length of the signals.
    #[must_use]
    pub fn classify(&self, signals: &Signals) -> Classification {
        let mut sum = Sum::default();
        let mut heaviest: Option<(Millionths, ErrorKind)> = None;
        let errors = errors(signals);
        for kind in ErrorKind::ALL {
            let Some((signal, evidence)) = errors[kind as usize] else { continue };
            let (factor, weight) = self.weigh_error(kind);
            sum.add(factor, signal, evidence, weight);
            if heaviest.is_none_or(|(most, _)| weight > most) {
                heaviest = Some((weight, kind));
            }
        }
        if let Some((grade, evidence)) = signals.severity.as_deref().and_then(label::severity) {
            let (factor, weight) = self.weigh_severity(grade);
            sum.add(factor, Signal::Severity, evidence, weight);
        }
        if let Some(evidence) = signals.impact.as_deref().and_then(label::high_impact) {
            sum.add(Factor::ImpactHigh, Signal::Impact, evidence, self.config.impact_high);
        }

        let traumatic = sum.score > self.config.threshold;
        Classification {
            layer: if traumatic { Layer::Unconscious } else { Layer::Preconscious },
            trauma_score: sum.score.to_f64(),
            traumatic,
            error_kind: heaviest.map(|(_, kind)| kind),
            reasons: sum.reasons,
        }
    }

    fn weigh_error(&self, kind: ErrorKind) -> (Factor, Millionths) {
        match kind {
            ErrorKind::OutOfMemory => (Factor::OutOfMemory, self.config.out_of_memory),
            ErrorKind::Crash => (Factor::Crash, self.config.crash),
            ErrorKind::StructuralFailure => (Factor::StructuralFailure, self.config.structural_failure),
        }
    }

    fn weigh_severity(&self, grade: Grade) -> (Factor, Millionths) {
        match grade {
            Grade::High => (Factor::SeverityHigh, self.config.severity_high),
            Grade::Medium => (Factor::SeverityMedium, self.config.severity_medium),
        }
    }
}

/// The first evidence of each kind of error, by [`ErrorKind`]. The error type goes before the text, and may itself
/// be a whole message.
fn errors(signals: &Signals) -> [Option<(Signal, &str)>; ErrorKind::ALL.len()] {
    let error_type = signals.error_type.as_deref().unwrap_or_default();
    let text = signals.text.as_deref().unwrap_or_default();
    let found = label::error_kinds(error_type)
        .map(|(kind, evidence)| (kind, Signal::ErrorType, evidence))
        .chain(message::findings(error_type).map(|f| (f.kind, Signal::ErrorType, f.evidence)))
        .chain(message::findings(text).map(|f| (f.kind, Signal::Text, f.evidence)));
    let mut first = [None; ErrorKind::ALL.len()];
    for (kind, signal, evidence) in found {
        first[kind as usize].get_or_insert((signal, evidence));
    }
    first
}

/// A score under way.
struct Sum {
    score: Millionths,
    reasons: Vec<Reason>,
}

impl Default for Sum {
    fn default() -> Self {
        Self { score: Millionths::ZERO, reasons: Vec::new() }
    }
}

impl Sum {
    fn add(&mut self, factor: Factor, signal: Signal, evidence: &str, weight: Millionths) {
        self.score = self.score.plus_capped(weight);
        // On one line: a phrase may have been wrapped in a log.
        let words = evidence.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        let evidence = words.chars().take(120).collect();
        self.reasons.push(Reason { factor, signal, evidence, added: weight.to_f64() });
    }
}

impl Signal {
    /// The `snake_case` name, as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ErrorType => "error_type",
            Self::Severity => "severity",
            Self::Impact => "impact",
            Self::Text => "text",
        }
    }
}

impl Factor {
    /// The `snake_case` name, as in JSON; also the name of its weight in [`Weights`](crate::Weights).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OutOfMemory => "out_of_memory",
            Self::Crash => "crash",
            Self::StructuralFailure => "structural_failure",
            Self::SeverityHigh => "severity_high",
            Self::SeverityMedium => "severity_medium",
            Self::ImpactHigh => "impact_high",
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?} in {} adds {}", self.factor, self.evidence, self.signal, self.added)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classify(error_type: &str, severity: &str, impact: &str) -> Classification {
        let some = |label: &str| (!label.is_empty()).then(|| label.to_owned());
        Classifier::new(ClassifierConfig::default()).unwrap().classify(&Signals {
            error_type: some(error_type),
            severity: some(severity),
            impact: some(impact),
            text: None,
        })
    }

    // R12
    #[test]
    fn the_starting_weights_add_up_as_decided_and_only_above_a_half_is_traumatic() {
        for (error_type, severity, impact, score, traumatic) in [
            ("", "", "", 0.0, false),
            ("OOM", "", "", 0.4, false),
            ("OOM", "medium", "", 0.55, true),
            ("OOM", "high", "", 0.7, true),
            ("OOM", "", "high", 0.6, true),
            ("crash", "", "", 0.5, false),
            ("fatal", "", "", 0.5, false),
            ("crash, fatal", "", "", 0.5, false),
            ("crash", "medium", "", 0.65, true),
            ("structural_failure", "", "", 0.3, false),
            ("structural_failure", "", "high", 0.5, false),
            ("structural_failure", "medium", "", 0.45, false),
            ("structural_failure", "critical", "", 0.6, true),
            ("", "critical", "system-wide", 0.5, false),
            ("", "medium", "high", 0.35, false),
            ("OOM crash", "", "", 0.9, true),
            ("OOM, crash, structural failure", "critical", "system-wide", 1.0, true),
            ("ValueError", "low", "local", 0.0, false),
        ] {
            let answer = classify(error_type, severity, impact);
            let label = format!("{error_type}/{severity}/{impact}");
            assert_eq!(
                answer.trauma_score.to_bits(),
                f64::to_bits(score),
                "{label}: {}",
                answer.trauma_score
            );
            assert_eq!(answer.traumatic, traumatic, "{label}");
            assert_eq!(answer.layer == Layer::Unconscious, traumatic, "{label}");
            assert_ne!(answer.layer, Layer::Conscious);
        }
    }

    // R12
    #[test]
    fn weights_that_drift_in_floating_point_do_not_cross_the_threshold() {
        assert_ne!(f64::to_bits(0.1 + 0.2), f64::to_bits(0.3));
        let mut config = ClassifierConfig { threshold: 0.3, ..ClassifierConfig::default() };
        config.weights.out_of_memory = 0.1;
        config.weights.impact_high = 0.2;
        let signals =
            Signals { error_type: Some("oom".into()), impact: Some("high".into()), ..Signals::default() };
        let answer = Classifier::new(config).unwrap().classify(&signals);
        assert_eq!(answer.trauma_score.to_bits(), 0.3_f64.to_bits());
        assert!(!answer.traumatic);
    }

    // R14
    #[test]
    fn reasons_name_factor_signal_words_and_weight() {
        let answer = classify("CUDA_OOM", "very HIGH", "System-Wide");
        let reasons: Vec<_> = answer.reasons.iter().map(ToString::to_string).collect();
        assert_eq!(
            reasons,
            [
                "out_of_memory: \"OOM\" in error_type adds 0.4",
                "severity_high: \"HIGH\" in severity adds 0.3",
                "impact_high: \"System-Wide\" in impact adds 0.2",
            ]
        );
        let json = serde_json::to_value(&answer.reasons[0]).unwrap();
        let expected = r#"{"added":0.4,"evidence":"OOM","factor":"out_of_memory","signal":"error_type"}"#;
        assert_eq!(json, serde_json::from_str::<serde_json::Value>(expected).unwrap());
    }

    // R12
    #[test]
    fn the_error_kind_is_the_one_that_weighs_most() {
        assert_eq!(classify("oom and crash", "", "").error_kind, Some(ErrorKind::Crash));
        assert_eq!(classify("structural failure by oom", "", "").error_kind, Some(ErrorKind::OutOfMemory));
        assert_eq!(classify("", "high", "high").error_kind, None);
    }

    // R14
    #[test]
    fn a_whole_message_given_as_the_error_type_is_read_as_one() {
        let answer = classify("RuntimeError: CUDNN_STATUS_ALLOC_FAILED", "", "");
        assert_eq!(answer.error_kind, Some(ErrorKind::OutOfMemory));
        assert_eq!(answer.reasons[0].signal, Signal::ErrorType);
    }
}
