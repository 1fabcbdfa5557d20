//! What holds for every input: scores, reasons, case, monotony, and that nothing panics.

use proptest::prelude::*;
use topic_classifier::{Classification, Classifier, ClassifierConfig, Layer, Signals, Weights, findings};

/// Fragments that mean something, nearly do, or break naive readers.
const FRAGMENTS: &[&str] = &[
    "CUDA out of memory",
    "out",
    "of",
    "memory",
    "OOM",
    "oom-kill:constraint=",
    "SIGSEGV",
    "torch.",
    "OutOfMemoryError",
    "except ",
    "RESOURCE_EXHAUSTED",
    ": ",
    "\n",
    "not ",
    "a ",
    "'t ",
    "fatal",
    "crash",
    "structural",
    "failure",
    "_",
    "-",
    "high",
    "critical",
    "medium",
    "system",
    "wide",
    "é",
    "🦀",
    "\u{0}",
    "\u{301}",
    "handler",
    "signal 11",
    "by ",
    "illegal memory access",
    "not a failure",
    "trying to allocate",
    "İ",
    "ſ",
    "K",
];

/// Words that no table knows, next to those that look alike.
const UNKNOWN: &[&str] = &[
    "room",
    "zoom",
    "memory",
    "mapped",
    "value",
    "timeout",
    "low",
    "local",
    "info",
    "warning",
    "worldwide",
    "out of",
    "of memory",
    "gpu",
    "cuda",
    "42",
    "表",
    "crashlytics",
    "fatalities",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        prop::collection::vec(prop::sample::select(FRAGMENTS), 0..12).prop_map(|parts| parts.concat()),
        prop::collection::vec(prop::sample::select(FRAGMENTS), 0..12).prop_map(|parts| parts.join(" ")),
    ]
}

fn signals() -> impl Strategy<Value = Signals> {
    let maybe = || prop::option::of(text());
    (maybe(), maybe(), maybe(), maybe()).prop_map(|(error_type, severity, impact, text)| Signals {
        error_type,
        severity,
        impact,
        text,
    })
}

fn config() -> impl Strategy<Value = ClassifierConfig> {
    let share = || (0..=1_000_000_u32).prop_map(|millionths| f64::from(millionths) / 1e6);
    (share(), prop::array::uniform6(share())).prop_map(|(threshold, w)| ClassifierConfig {
        threshold,
        weights: Weights {
            out_of_memory: w[0],
            crash: w[1],
            structural_failure: w[2],
            severity_high: w[3].max(w[4]),
            severity_medium: w[3].min(w[4]),
            impact_high: w[5],
        },
    })
}

fn classify(config: ClassifierConfig, signals: &Signals) -> Classification {
    Classifier::new(config).expect("a valid configuration").classify(signals)
}

fn millionths(value: f64) -> u64 {
    (value * 1e6).round() as u64
}

fn map(signals: &Signals, change: impl Fn(&str) -> String) -> Signals {
    let change = |field: &Option<String>| field.as_deref().map(&change);
    Signals {
        error_type: change(&signals.error_type),
        severity: change(&signals.severity),
        impact: change(&signals.impact),
        text: change(&signals.text),
    }
}

proptest! {
    // R12, R14
    #[test]
    fn the_score_is_the_capped_sum_of_its_reasons_and_decides_alone(config in config(), signals in signals()) {
        let answer = classify(config, &signals);
        let sum: u64 = answer.reasons.iter().map(|reason| millionths(reason.added)).sum();
        prop_assert_eq!(millionths(answer.trauma_score), sum.min(1_000_000));
        prop_assert!((0.0..=1.0).contains(&answer.trauma_score));
        prop_assert_eq!(answer.traumatic, millionths(answer.trauma_score) > millionths(config.threshold));
        prop_assert_eq!(answer.traumatic, answer.trauma_score > config.threshold);
        prop_assert_eq!(answer.layer, if answer.traumatic { Layer::Unconscious } else { Layer::Preconscious });
        let mut factors: Vec<_> = answer.reasons.iter().map(|reason| reason.factor.as_str()).collect();
        factors.sort_unstable();
        factors.dedup();
        prop_assert_eq!(factors.len(), answer.reasons.len(), "each factor adds once");
    }

    // R14
    #[test]
    fn evidence_stands_in_the_signal_it_is_said_to_be_from(signals in signals()) {
        let squeeze = |text: &str| text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        for reason in classify(ClassifierConfig::default(), &signals).reasons {
            let field = match reason.signal.as_str() {
                "error_type" => &signals.error_type,
                "severity" => &signals.severity,
                "impact" => &signals.impact,
                _ => &signals.text,
            };
            let field = squeeze(field.as_deref().unwrap());
            prop_assert!(!reason.evidence.is_empty() && field.contains(&reason.evidence), "{}", reason);
        }
    }

    // R12
    #[test]
    fn another_signal_never_lowers_the_score(config in config(), signals in signals()) {
        let whole = classify(config, &signals).trauma_score;
        for drop in 0..4 {
            let mut fewer = signals.clone();
            match drop {
                0 => fewer.error_type = None,
                1 => fewer.severity = None,
                2 => fewer.impact = None,
                _ => fewer.text = None,
            }
            prop_assert!(classify(config, &fewer).trauma_score <= whole);
        }
    }

    // R12, R13
    #[test]
    fn case_does_not_matter_and_the_same_question_has_the_same_answer(signals in signals()) {
        let outline = |signals: &Signals| {
            let answer = classify(ClassifierConfig::default(), signals);
            let reasons: Vec<_> = answer.reasons.iter()
                .map(|r| (r.factor, r.signal, r.evidence.to_ascii_lowercase(), r.added.to_bits())).collect();
            (answer.layer, answer.trauma_score.to_bits(), answer.error_kind, reasons)
        };
        let once = outline(&signals);
        prop_assert_eq!(&once, &outline(&signals));
        prop_assert_eq!(&once, &outline(&map(&signals, str::to_ascii_uppercase)));
        prop_assert_eq!(&once, &outline(&map(&signals, str::to_ascii_lowercase)));
    }

    // R12
    #[test]
    fn unknown_words_add_nothing(words in prop::collection::vec(prop::sample::select(UNKNOWN), 0..8)) {
        // Commas, so that no two of them make a phrase.
        let label = Some(words.join(", "));
        let signals =
            Signals { error_type: label.clone(), severity: label.clone(), impact: label.clone(), text: label };
        let answer = classify(ClassifierConfig::default(), &signals);
        prop_assert_eq!(&answer.reasons, &[]);
        prop_assert_eq!(answer.trauma_score.to_bits(), 0);
        prop_assert_eq!(answer.error_kind, None);
    }

    // R13
    #[test]
    fn findings_come_in_order_and_point_at_their_evidence(text in text()) {
        let mut last = 0;
        for finding in findings(&text) {
            prop_assert_eq!(&text[finding.offset..][..finding.evidence.len()], finding.evidence);
            prop_assert!(finding.offset + finding.evidence.len() > last);
            last = finding.offset + finding.evidence.len();
        }
    }

    // R14
    #[test]
    fn an_answer_survives_json(signals in signals()) {
        let answer = classify(ClassifierConfig::default(), &signals);
        let json = serde_json::to_string(&answer).unwrap();
        prop_assert_eq!(serde_json::from_str::<Classification>(&json).unwrap(), answer);
    }
}
