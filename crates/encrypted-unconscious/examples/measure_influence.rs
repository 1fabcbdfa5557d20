//! How long the parts of influence take here, one thread, 384 dimensions: `cargo run --release --example measure_influence`.
//! The bench compares with peers; this is for whoever changes the code.

use std::{hint::black_box, time::Instant};

use encrypted_unconscious::{Identity, Query, Sealer, SignatureSum, influence};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let identity = Identity::generate();
    let sealer = Sealer::new(identity.recipient());
    let vector = |n: usize| -> Vec<f32> { (0..384).map(|i| ((i * 31 + n * 17) as f32).sin()).collect() };
    let memories = 200;

    let begin = Instant::now();
    let encrypted: Result<Vec<_>, _> =
        (0..memories).map(|n| sealer.encrypt_signature([n as u8; 32], &vector(n))).collect();
    let encrypted = encrypted?;
    report("encrypt", begin, memories);
    let begin = Instant::now();
    let opened: Result<Vec<_>, _> =
        encrypted.iter().map(|signature| identity.open_signature(signature)).collect();
    let opened = opened?;
    report("open the key", begin, memories);
    let query = Query::new(&vector(7))?;
    for rounds in [1, 100] {
        let begin = Instant::now();
        for _ in 0..rounds {
            black_box(influence::scores(&query, &opened[..1])?);
        }
        report("query and one score", begin, rounds);
    }
    let begin = Instant::now();
    for _ in 0..20 {
        black_box(influence::scores(&query, &opened)?);
    }
    report("score, amortised", begin, 20 * memories);
    let begin = Instant::now();
    let sum = SignatureSum::of(&opened)?;
    report("add to a sum", begin, memories);
    let begin = Instant::now();
    for _ in 0..100 {
        black_box(sum.score(&query)?);
    }
    report("score of the sum", begin, 100);
    Ok(())
}

fn report(what: &str, begin: Instant, times: usize) {
    println!("{what:<22} {:9.2} µs", begin.elapsed().as_secs_f64() * 1e6 / times as f64);
}
