//! The activation index, and `hnsw_rs` beside it, on the data sets of `index/`.
//!
//! - [`ours`]: the activation index: built, searched, opened, inserted into.
//! - [`hnsw_rs`](mod@hnsw): the peer in Rust.
//! - [`lookups`]: who may recall what.
//! - [`resident`]: the memory that this process holds.

pub mod hnsw;
pub mod lookups;
pub mod ours;
pub mod resident;

use std::time::Instant;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::vectors::Vectors;

/// How many neighbours are searched for.
pub const K: usize = 10;

/// How a search goes about it.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effort {
    /// With so many candidates.
    Width(u32),
    /// As it does when told nothing.
    Calibrated,
    /// Comparing with everything.
    Exact,
}

/// What an index is built with.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Building {
    /// Links of a vector on the upper layers; twice as many on the lowest.
    pub m: usize,
    /// Candidates among which links are chosen.
    pub ef_construction: usize,
    /// Threads that build.
    pub threads: usize,
}

/// What is searched, one query after the other.
pub trait Search {
    /// The numbers of the [`K`] nearest.
    type Found;

    /// Searches.
    ///
    /// # Errors
    /// If it does not know that effort, or refuses the query.
    fn search(&self, query: &[f32], effort: Effort) -> Result<Self::Found>;

    /// The numbers of the vectors found.
    fn numbers(&self, found: Self::Found) -> Vec<u32>;
}

/// What searching took.
#[derive(Debug, Serialize)]
pub struct Searched {
    /// Seconds for a query, on average.
    pub query_s: f64,
    /// What the first pass found, by query, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers: Option<Vec<Vec<u32>>>,
}

/// Searches with every query, again and again until `min_s` have passed.
///
/// # Errors
/// If a search fails.
pub fn search(
    index: &impl Search,
    queries: &Vectors,
    effort: Effort,
    min_s: f64,
    answers: bool,
) -> Result<Searched> {
    let (mut done, mut first) = (0, Vec::new());
    let start = Instant::now();
    let seconds = loop {
        for query in queries.iter() {
            let found = std::hint::black_box(index.search(query, effort)?);
            if answers && first.len() < queries.len() {
                first.push(found);
            }
        }
        done += queries.len();
        let seconds = start.elapsed().as_secs_f64();
        if seconds >= min_s {
            break seconds;
        }
    };
    let first = first.into_iter().map(|found| index.numbers(found)).collect();
    Ok(Searched { query_s: seconds / done as f64, answers: answers.then_some(first) })
}
