//! Reads a log from standard input and says what it reports and where a memory of it would go.
//!
//! ```text
//! dmesg | cargo run -p topic-classifier --example classify -- high system-wide
//! ```

use std::io::Read;

use topic_classifier::{Classifier, ClassifierConfig, Signals};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut labels = std::env::args().skip(1);
    let (severity, impact) = (labels.next(), labels.next());
    let mut log = Vec::new();
    std::io::stdin().read_to_end(&mut log)?;
    let text = String::from_utf8_lossy(&log).into_owned();

    let classifier = Classifier::new(ClassifierConfig::default())?;
    let answer = classifier.classify(&Signals { severity, impact, text: Some(text), error_type: None });
    println!("{} (trauma score {})", answer.layer, answer.trauma_score);
    for reason in &answer.reasons {
        println!("  {reason}");
    }
    Ok(())
}
