//! Three memories, one of them sealed, and what is familiar about a query.
//!
//! ```text
//! cargo run -p activation-index --example deja_vu
//! ```

use std::time::{Duration, SystemTime};

use activation_index::{ActivationIndex, Entry, IndexConfig, IndexError};

fn main() -> Result<(), IndexError> {
    let now = SystemTime::now();
    let mut index = ActivationIndex::new(IndexConfig::default())?;
    let memory = |n: u8, kind: &str, minutes: u64, context: &str, signature: Option<Vec<f32>>| Entry {
        contexts: vec![context.into()],
        signature,
        ..Entry::new([n; 32], kind, now - Duration::from_secs(60 * minutes))
    };
    index.insert(memory(1, "encoder", 5, "trainer", Some(vec![0.9, 0.1, 0.0])))?;
    index.insert(memory(2, "decoder", 90, "evaluator", Some(vec![0.5, 0.5, 0.1])))?;
    index.insert(Entry { recallable: false, ..memory(3, "encoder", 20, "trainer", None) })?;

    for memory in index.deja_vu("trainer", &[1.0, 0.0, 0.0], 5, now)? {
        println!(
            "{} {:02x}… similarity {:.2}{}, {} minutes old: {}",
            memory.kind,
            memory.id[0],
            memory.similarity,
            if memory.familiar { " (déjà vu)" } else { "" },
            memory.age.as_secs() / 60,
            memory.standing(),
        );
    }
    println!("memory 03…: {}", index.may_recall("trainer", &[3; 32])?);
    Ok(())
}
