//! Memories that are nothing but a vector to be found by: thousands are stored in one batch, and every process can say what
//! each of them is.

use std::collections::BTreeSet;

use memory_store::{ContentHash, NewMemory, Result, Store};

/// Elements of each vector.
const DIMENSION: usize = 48;

/// As many groups of vectors that resemble each other.
const GROUPS: u64 = 40;

/// What memory number `n` is known by.
#[must_use]
pub fn hash_of(n: u64) -> ContentHash {
    ContentHash::of(format!("direction {n}").as_bytes())
}

/// The vector of memory number `n`: near to those of its group, and like no other.
#[must_use]
pub fn direction(n: u64) -> Vec<f32> {
    let centre = noise(n % GROUPS);
    centre.zip(noise(GROUPS + n)).map(|(centre, own)| centre + 0.7 * own).collect()
}

/// Stores memories of these numbers, all in one batch. When it returns, they are there.
///
/// # Errors
/// If the store cannot be written.
pub fn remember(store: &Store, numbers: impl IntoIterator<Item = u64>, context: &str) -> Result<()> {
    let mut batch = store.begin()?;
    for n in numbers {
        let kind = if n.is_multiple_of(10) { "rare" } else { "common" };
        let mut memory = NewMemory::new(hash_of(n), "preconscious".parse()?, kind, context);
        memory.signature = Some(direction(n));
        batch.memory(memory)?;
    }
    batch.commit().map(drop)
}

/// The `k` of these memories that a vector resembles most by cosine, computed here and by no index.
#[must_use]
pub fn nearest_of(numbers: &BTreeSet<u64>, query: &[f32], k: usize) -> Vec<(ContentHash, f64)> {
    let mut all: Vec<_> = numbers.iter().map(|&n| (hash_of(n), cosine(&direction(n), query))).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all.truncate(k);
    all
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot =
        |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum() };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Numbers in [-1, 1) that look random and are the same everywhere.
fn noise(seed: u64) -> impl Iterator<Item = f32> {
    (0..DIMENSION as u64).map(move |at| {
        let mut mixed = (seed << 16 | at).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    })
}
