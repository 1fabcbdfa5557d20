//! The peer `hnsw_rs`: float32, inner product of normalised vectors, vector instructions.

use anyhow::{Result, bail};
use hnsw_rs::prelude::{DistDot, Hnsw, Neighbour};

use super::{Building, Effort, K, Search};
use crate::vectors::Vectors;

/// An index of `hnsw_rs`.
pub struct HnswRs(Hnsw<'static, f32, DistDot>);

impl HnswRs {
    /// Builds over all vectors.
    ///
    /// # Errors
    /// If no threads can be had.
    pub fn build(vectors: &Vectors, building: Building) -> Result<Self> {
        const LAYERS: usize = 16;
        let Building { m, ef_construction, threads } = building;
        let mut index = Hnsw::new(m, vectors.len(), LAYERS, ef_construction, DistDot);
        let numbered = vectors.iter().enumerate().map(|(number, vector)| (vector, number)).collect();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        pool.install(|| index.parallel_insert_slice(&numbered));
        index.set_searching_mode(true);
        Ok(Self(index))
    }
}

impl Search for HnswRs {
    type Found = Vec<Neighbour>;

    fn search(&self, query: &[f32], effort: Effort) -> Result<Self::Found> {
        let Effort::Width(width) = effort else { bail!("hnsw_rs searches with a width only") };
        Ok(self.0.search(query, K, width as usize))
    }

    fn numbers(&self, found: Self::Found) -> Vec<u32> {
        found.iter().map(|neighbour| neighbour.d_id as u32).collect()
    }
}
