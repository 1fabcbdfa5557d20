//! The activation index: built, searched, opened, inserted into.

use std::collections::HashMap;
use std::num::NonZero;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use activation_index::{
    ActivationIndex, CompactOptions, Entry, IndexConfig, LinkedBy, MemoryId, Neighbour, Opening, QueryFilter,
};
use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::{Building, Effort, K, Search, resident, search};
use crate::vectors::{DataSet, Vectors};

const ORIGIN: [u8; 32] = [7; 32];
/// How long searches around inserting are timed.
const SEARCHED_S: f64 = 0.3;

/// An index, and which vector each of its memories is.
pub struct Ours {
    index: ActivationIndex,
    rows: usize,
    numbers: HashMap<MemoryId, u32>,
}

/// What building took.
#[derive(Debug, Serialize)]
pub struct Built {
    /// Both of the following.
    pub build_s: f64,
    /// Inserting every vector, one by one, on one thread.
    pub insert_s: f64,
    /// Merging them into a snapshot on disk, which links the graph, on several threads.
    pub compact_s: f64,
    /// Bytes of the snapshot.
    pub stored_bytes: u64,
}

/// What inserting took.
#[derive(Debug, Serialize)]
pub struct Inserted {
    /// One vector, the median.
    pub median_s: f64,
    /// One vector on average, with its share of the merge that follows.
    pub with_merge_s: f64,
    /// A query before anything was inserted.
    pub query_before_s: f64,
    /// A query while what was inserted is not merged.
    pub query_between_s: f64,
}

/// What opening took.
#[derive(Debug, Serialize)]
pub struct Opened {
    /// The median.
    pub median_s: f64,
    /// The median, with the first query after it.
    pub with_query_s: f64,
}

impl Ours {
    /// Builds over all vectors, in a directory of its own.
    ///
    /// # Errors
    /// If the index refuses, or the directory cannot be written.
    pub fn build(
        vectors: &Vectors,
        building: Building,
        linked_by: LinkedBy,
        directory: &Path,
    ) -> Result<(Self, Built)> {
        if directory.exists() {
            std::fs::remove_dir_all(directory)?;
        }
        let ids: Vec<MemoryId> = (0..vectors.len()).map(id).collect();
        let start = Instant::now();
        let (mut index, _) = ActivationIndex::open(directory, ORIGIN, IndexConfig::default())?;
        for (&id, vector) in ids.iter().zip(vectors.iter()) {
            index.insert(entry(id, vector))?;
        }
        let insert = start.elapsed();
        let report = index.compact(&options(building.threads)?.with_linked_by(linked_by))?;
        let whole = start.elapsed();
        ensure!(report.memories == vectors.len(), "{} memories in the snapshot", report.memories);
        let built = Built {
            build_s: whole.as_secs_f64(),
            insert_s: insert.as_secs_f64(),
            compact_s: whole.as_secs_f64() - insert.as_secs_f64(),
            stored_bytes: report.bytes,
        };
        let numbers = ids.into_iter().zip(0..).collect();
        Ok((Self { index, rows: vectors.len(), numbers }, built))
    }

    /// Inserts the vectors after those that the index was built of, one by one, then merges them on one thread.
    ///
    /// # Errors
    /// If there are fewer, or the index refuses.
    pub fn insert(&mut self, data: &DataSet, count: usize) -> Result<Inserted> {
        ensure!(count > 0, "inserting nothing takes no time");
        let (following, queries) = (data.database(self.rows..self.rows + count)?, data.queries()?);
        let query_s = |index: &Self| -> Result<f64> {
            search(index, &queries, Effort::Calibrated, 0.0, false)?;
            Ok(search(index, &queries, Effort::Calibrated, SEARCHED_S, false)?.query_s)
        };
        let query_before_s = query_s(self)?;
        let mut times = Vec::with_capacity(count);
        for (number, vector) in (self.rows..).zip(following.iter()) {
            let entry = entry(id(number), vector);
            let start = Instant::now();
            self.index.insert(entry)?;
            times.push(start.elapsed());
        }
        let query_between_s = query_s(self)?;
        let start = Instant::now();
        self.index.compact(&options(1)?)?;
        let whole = times.iter().sum::<Duration>() + start.elapsed();
        let with_merge_s = whole.as_secs_f64() / count as f64;
        Ok(Inserted { median_s: median(&mut times), with_merge_s, query_before_s, query_between_s })
    }
}

impl Search for Ours {
    type Found = Vec<Neighbour>;

    fn search(&self, query: &[f32], effort: Effort) -> Result<Self::Found> {
        nearest(&self.index, query, effort)
    }

    fn numbers(&self, found: Self::Found) -> Vec<u32> {
        // A memory that is not known is no vector's: it counts as a miss.
        let number = |neighbour: Neighbour| self.numbers.get(&neighbour.id).copied().unwrap_or(u32::MAX);
        found.into_iter().map(number).collect()
    }
}

/// Opens a directory several times, and asks one query each time.
///
/// # Errors
/// If what is opened is not the snapshot.
pub fn open(directory: &Path, query: &[f32], times: usize) -> Result<Opened> {
    let (mut open, mut with_query) = (Vec::with_capacity(times), Vec::with_capacity(times));
    for _ in 0..times {
        let start = Instant::now();
        let index = reopen(directory)?;
        open.push(start.elapsed());
        let found = nearest(&index, query, Effort::Calibrated)?;
        with_query.push(start.elapsed());
        ensure!(found.len() == K, "{} neighbours from what was opened", found.len());
    }
    Ok(Opened { median_s: median(&mut open), with_query_s: median(&mut with_query) })
}

/// By how much this process, which should be fresh, grows when it opens a directory and answers every query.
///
/// # Errors
/// If what is opened is not the snapshot.
pub fn resident(data: &DataSet, directory: &Path, width: u32) -> Result<u64> {
    let queries = data.queries()?;
    // So that the code and what it keeps for any index are there before the count.
    let mut warm = ActivationIndex::new(IndexConfig::default())?;
    for (number, vector) in data.database(0..200)?.iter().enumerate() {
        warm.insert(entry(id(number), vector))?;
    }
    nearest(&warm, queries.iter().next().context("no queries")?, Effort::Width(width))?;
    drop(warm);

    let before = resident::bytes()?;
    let index = reopen(directory)?;
    for query in queries.iter() {
        nearest(&index, query, Effort::Width(width))?;
    }
    Ok(resident::bytes()?.saturating_sub(before))
}

fn reopen(directory: &Path) -> Result<ActivationIndex> {
    let (index, opening) = ActivationIndex::open(directory, ORIGIN, IndexConfig::default())?;
    ensure!(opening == Opening::Snapshot, "{} was opened as {opening:?}", directory.display());
    Ok(index)
}

fn nearest(index: &ActivationIndex, query: &[f32], effort: Effort) -> Result<Vec<Neighbour>> {
    let effort = match effort {
        Effort::Width(width) => activation_index::Effort::Width(width),
        Effort::Calibrated => activation_index::Effort::Calibrated,
        Effort::Exact => activation_index::Effort::Exact,
    };
    Ok(index.nearest_with(query, K, &QueryFilter::default(), effort)?)
}

pub(super) fn options(threads: usize) -> Result<CompactOptions> {
    Ok(CompactOptions::default().with_threads(NonZero::new(threads).context("no threads")?))
}

pub(super) fn entry(id: MemoryId, vector: &[f32]) -> Entry {
    Entry { signature: Some(vector.to_vec()), ..Entry::new(id, "embedding", SystemTime::UNIX_EPOCH) }
}

/// A content hash, as real ones are: without order.
pub(super) fn id(number: usize) -> MemoryId {
    *blake3::hash(&(number as u64).to_le_bytes()).as_bytes()
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(f64::NAN, Duration::as_secs_f64)
}
