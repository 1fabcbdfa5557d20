//! R27: what a search through the graph finds of what an exact one finds; with filters, after deletions, among equals.

use std::collections::HashSet;
use std::time::SystemTime;

use activation_index::{
    ActivationIndex, CompactOptions, Effort, Entry, IndexConfig, IndexError, MemoryId, Metric, Neighbour,
    QueryFilter,
};

const DIMENSION: usize = 24;
const OPTIONS: fn() -> CompactOptions = || CompactOptions::default().with_graph_from(100);

/// Numbers that look random, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    /// About normal, from −1 to 1.
    fn normal(&mut self) -> f32 {
        (0..8).map(|_| self.below(2001) as f32 / 1000.0 - 1.0).sum::<f32>() / 8.0
    }

    fn vector(&mut self) -> Vec<f32> {
        (0..DIMENSION).map(|_| self.normal()).collect()
    }

    /// Vectors around some centres, as embeddings are.
    fn clustered(&mut self, count: usize) -> Vec<Vec<f32>> {
        let centres: Vec<_> = (0..60).map(|_| self.vector()).collect();
        (0..count)
            .map(|_| {
                let centre = &centres[self.below(60) as usize];
                centre.iter().map(|x| x + 0.5 * self.normal()).collect()
            })
            .collect()
    }
}

fn id(n: usize) -> MemoryId {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&(n as u64).to_be_bytes());
    id
}

/// Of 3,000 memories, each hundredth is in context `rare`, of type `rare`, and sealed; each second in context `half`.
fn entry(n: usize, vector: &[f32]) -> Entry {
    let contexts: &[&str] = match (n.is_multiple_of(100), n.is_multiple_of(2)) {
        (true, _) => &["all", "half", "rare"],
        (false, true) => &["all", "half"],
        _ => &["all"],
    };
    Entry {
        recallable: !n.is_multiple_of(100),
        contexts: contexts.iter().map(ToString::to_string).collect(),
        signature: Some(vector.to_vec()),
        ..Entry::new(id(n), if n.is_multiple_of(100) { "rare" } else { "usual" }, SystemTime::UNIX_EPOCH)
    }
}

fn filled(vectors: &[Vec<f32>], metric: Metric) -> ActivationIndex {
    let mut index = ActivationIndex::new(IndexConfig { metric, ..IndexConfig::default() })
        .expect("a valid configuration");
    for (n, vector) in vectors.iter().enumerate() {
        index.insert(entry(n, vector)).expect("a valid entry");
    }
    index
}

/// Which part of what an exact search finds another finds, over some queries. Both are sorted, unique and filtered.
fn recall(index: &ActivationIndex, queries: &[Vec<f32>], filter: &QueryFilter, effort: Effort) -> f32 {
    let (mut hits, mut all) = (0, 0);
    for query in queries {
        let exact = index.nearest_with(query, 10, filter, Effort::Exact).expect("a valid query");
        let found = index.nearest_with(query, 10, filter, effort).expect("a valid query");
        assert_eq!(found.len(), exact.len(), "{filter:?}");
        for answer in [&exact, &found] {
            let in_order = |pair: &[Neighbour]| {
                pair[1].similarity.total_cmp(&pair[0].similarity).then(pair[0].id.cmp(&pair[1].id)).is_lt()
            };
            assert!(answer.windows(2).all(in_order), "{filter:?}");
        }
        let exact: HashSet<_> = exact.iter().map(|n| n.id).collect();
        hits += found.iter().filter(|n| exact.contains(&n.id)).count();
        all += exact.len();
    }
    hits as f32 / all as f32
}

fn filters() -> Vec<QueryFilter> {
    let context = |name: &str| QueryFilter { context: Some(name.into()), ..QueryFilter::default() };
    vec![
        QueryFilter::default(),
        context("all"),
        context("half"),
        context("rare"),
        QueryFilter { kind: Some("rare".into()), ..QueryFilter::default() },
        QueryFilter { kind: Some("usual".into()), ..QueryFilter::default() },
        QueryFilter { recallable: Some(false), ..QueryFilter::default() },
        QueryFilter { recallable: Some(false), kind: Some("rare".into()), ..context("half") },
        QueryFilter { kind: Some("unheard of".into()), ..QueryFilter::default() },
        context("unheard of"),
    ]
}

#[test]
fn recall_holds_for_both_metrics_and_every_filter_also_one_that_keeps_a_hundredth() {
    let mut random = Random(1);
    for metric in [Metric::Cosine, Metric::InnerProduct] {
        let mut vectors = random.clustered(3_050);
        if metric == Metric::InnerProduct {
            // Lengths that differ by a factor of ten.
            for vector in &mut vectors {
                let length = 0.3 + random.below(270) as f32 / 100.0;
                for x in vector {
                    *x *= length;
                }
            }
        }
        let queries = vectors.split_off(3_000);
        let mut index = filled(&vectors, metric);
        index.compact(&OPTIONS()).unwrap();
        for filter in filters() {
            for effort in [Effort::Calibrated, Effort::Width(64)] {
                let recall = recall(&index, &queries, &filter, effort);
                let nothing = index.nearest(&queries[0], 10, &filter).unwrap().is_empty();
                assert!(nothing || recall >= 0.95, "{metric}, {filter:?}, {effort:?}: {recall}");
            }
        }
    }
}

#[test]
fn every_memory_finds_itself_before_and_after_deletions_and_merges() {
    let mut random = Random(2);
    let mut vectors = random.clustered(2_050);
    let queries = vectors.split_off(2_000);
    let mut index = filled(&vectors[..1_200], Metric::Cosine);
    index.compact(&OPTIONS()).unwrap();
    let finds_itself = |index: &ActivationIndex, n: usize| {
        let found = index.nearest(&vectors[n], 1, &QueryFilter::default()).unwrap();
        usize::from(found[0].id == id(n))
    };
    assert!((0..1_200).map(|n| finds_itself(&index, n)).sum::<usize>() >= 1_195);

    // A fifth is forgotten, eight hundred come: the graph is grown from the one there is.
    for n in (0..1_200).step_by(5) {
        assert!(index.remove(&id(n)));
    }
    for (n, vector) in vectors.iter().enumerate().skip(1_200) {
        index.insert(entry(n, vector)).unwrap();
    }
    let there = |n: &usize| *n >= 1_200 || !n.is_multiple_of(5);
    assert!(
        (0..2_000).filter(there).map(|n| finds_itself(&index, n)).sum::<usize>() >= 1_750,
        "before it is compacted"
    );
    let report = index.compact(&OPTIONS()).unwrap();
    assert_eq!((report.memories, report.merged, report.dropped), (1_760, 800, 240));
    assert!((0..2_000).filter(there).map(|n| finds_itself(&index, n)).sum::<usize>() >= 1_750, "after");
    assert!(recall(&index, &queries, &QueryFilter::default(), Effort::Calibrated) >= 0.95);

    // Half is forgotten: it is built anew, and the space comes back.
    for n in (1_000..2_000).filter(there) {
        assert!(index.remove(&id(n)));
    }
    let again = index.compact(&OPTIONS()).unwrap();
    assert_eq!(again.memories, 800);
    assert!(again.bytes * 2 < report.bytes, "{} of {}", again.bytes, report.bytes);
    assert!((0..1_000).filter(there).map(|n| finds_itself(&index, n)).sum::<usize>() >= 795);
}

#[test]
fn what_is_forgotten_is_found_no_more_from_then_on() {
    let mut random = Random(3);
    let vectors = random.clustered(500);
    let mut index = filled(&vectors, Metric::Cosine);
    index.compact(&OPTIONS()).unwrap();
    for (n, vector) in vectors.iter().enumerate() {
        let found = index.nearest(vector, 3, &QueryFilter::default()).unwrap();
        assert!(found.iter().any(|neighbour| neighbour.id == id(n)), "{n} is there");
        assert!(index.remove(&id(n)));
        assert!(!index.remove(&id(n)));
        let found = index.nearest_with(vector, 500 - n, &QueryFilter::default(), Effort::Width(500)).unwrap();
        assert!(found.iter().all(|neighbour| neighbour.id != id(n)), "{n} is gone");
        assert_eq!(found.len(), 500 - n - 1);
    }
    assert!(index.is_empty() && index.stats().dimensions.is_empty());
}

#[test]
fn equal_signatures_share_a_row_and_are_all_found() {
    let mut random = Random(4);
    let few = random.clustered(5);
    let others = random.clustered(300);
    let mut vectors: Vec<_> = (0..2_000).map(|n| few[n % 5].clone()).collect();
    vectors.extend(others);
    let mut index = filled(&vectors, Metric::Cosine);
    index.compact(&OPTIONS()).unwrap();
    assert_eq!(index.stats().columns[0].graph.unwrap().rows, 305);
    let found = index.nearest_with(&few[3], 400, &QueryFilter::default(), Effort::Width(400)).unwrap();
    let expected: Vec<_> = (0..2_000).filter(|n| n % 5 == 3).map(id).collect();
    assert_eq!(found.iter().map(|neighbour| neighbour.id).collect::<Vec<_>>(), expected);

    // One of them goes, the others stay.
    index.remove(&id(3));
    index.compact(&OPTIONS()).unwrap();
    let found = index.nearest(&few[3], 399, &QueryFilter::default()).unwrap();
    assert_eq!(found.iter().map(|neighbour| neighbour.id).collect::<Vec<_>>(), expected[1..]);
}

#[test]
fn vectors_that_no_code_can_hold_are_found_all_the_same() {
    let mut random = Random(5);
    let mut vectors = random.clustered(400);
    vectors[17] = vec![1e30; DIMENSION];
    vectors[18] = vec![-1e30; DIMENSION];
    vectors[19] = vec![1e-30; DIMENSION];
    vectors[20] = vec![0.0; DIMENSION];
    let mut index = filled(&vectors, Metric::InnerProduct);
    index.compact(&OPTIONS()).unwrap();
    let ones = vec![1.0; DIMENSION];
    let first =
        |query: &[f32], effort| index.nearest_with(query, 1, &QueryFilter::default(), effort).unwrap()[0].id;
    for effort in [Effort::Calibrated, Effort::Width(32), Effort::Exact] {
        assert_eq!(first(&ones, effort), id(17));
        assert_eq!(first(&[-1.0; DIMENSION], effort), id(18));
        assert_eq!(first(&[1e35; DIMENSION], effort), id(17), "a query that no code can hold");
        let nothing = index.nearest_with(&[0.0; DIMENSION], 400, &QueryFilter::default(), effort).unwrap();
        assert_eq!(nothing.iter().map(|n| n.id).collect::<Vec<_>>(), (0..400).map(id).collect::<Vec<_>>());
    }
    let zero = index.nearest_with(&ones, 400, &QueryFilter::default(), Effort::Exact).unwrap();
    assert!(zero.iter().any(|n| n.id == id(20)) && zero.iter().any(|n| n.id == id(19)));
}

#[test]
fn as_many_as_there_are_is_the_most_and_none_is_none() {
    let mut random = Random(6);
    let vectors = random.clustered(300);
    let mut index = filled(&vectors, Metric::Cosine);
    index.compact(&OPTIONS()).unwrap();
    let all = QueryFilter::default();
    for effort in [Effort::Calibrated, Effort::Width(1), Effort::Exact] {
        assert_eq!(index.nearest_with(&vectors[0], 0, &all, effort), Ok(Vec::new()));
        assert_eq!(index.nearest_with(&vectors[0], 1_000, &all, effort).unwrap().len(), 300);
        assert_eq!(index.nearest_with(&vectors[0], usize::MAX, &all, effort).unwrap().len(), 300);
    }
    let error = index.nearest(&[1.0; 5], 3, &all).unwrap_err();
    assert_eq!(error, IndexError::UnknownDimension { given: 5, known: vec![DIMENSION] });
    assert!(matches!(
        index.nearest(&vec![1.0; 5_000], 3, &all),
        Err(IndexError::TooLong { given: 5_000, .. })
    ));
}

#[test]
fn asking_for_more_recall_than_was_measured_makes_a_new_snapshot_due() {
    let dir = tempfile::tempdir().unwrap();
    let open = |recall| {
        let config = IndexConfig { recall, ..IndexConfig::default() };
        ActivationIndex::open(dir.path(), [1; 32], config).unwrap().0
    };
    let mut index = open(0.9);
    for (n, vector) in Random(9).clustered(1_000).iter().enumerate() {
        index.insert(entry(n, vector)).unwrap();
    }
    index.compact(&OPTIONS()).unwrap();
    assert!(!index.is_compaction_due() && !open(0.8).is_compaction_due());
    let mut asking = open(0.999);
    assert!(asking.is_compaction_due());
    asking.compact(&OPTIONS()).unwrap();
    assert!(!asking.is_compaction_due() && !open(0.9).is_compaction_due());
    let width = |index: &ActivationIndex| index.stats().columns[0].graph.unwrap().width;
    assert!(width(&asking) > width(&index));
}

#[test]
fn a_recall_of_one_is_an_exact_search() {
    let mut random = Random(7);
    let vectors = random.clustered(1_000);
    let mut index = ActivationIndex::new(IndexConfig { recall: 1.0, ..IndexConfig::default() }).unwrap();
    for (n, vector) in vectors.iter().enumerate() {
        index.insert(entry(n, vector)).unwrap();
    }
    index.compact(&OPTIONS()).unwrap();
    for query in random.clustered(50) {
        let exact = index.nearest_with(&query, 10, &QueryFilter::default(), Effort::Exact);
        assert_eq!(index.nearest(&query, 10, &QueryFilter::default()), exact);
    }
}

/// `hnsw_rs` is the reference: a graph that we link is no worse to search.
#[cfg(feature = "hnsw_rs")]
#[test]
fn a_graph_of_ours_is_searched_as_well_as_one_of_hnsw_rs() {
    use activation_index::LinkedBy;
    let mut random = Random(8);
    let mut vectors = random.clustered(3_100);
    let queries = vectors.split_off(3_000);
    let recall_of = |linked_by| {
        let mut index = filled(&vectors, Metric::Cosine);
        index.compact(&OPTIONS().with_linked_by(linked_by)).unwrap();
        [12, 24, 48].map(|width| recall(&index, &queries, &QueryFilter::default(), Effort::Width(width)))
    };
    let (ours, theirs) = (recall_of(LinkedBy::Us), recall_of(LinkedBy::HnswRs));
    assert!(ours.iter().zip(theirs).all(|(&ours, theirs)| ours >= theirs - 0.02), "{ours:?} {theirs:?}");
    assert!(theirs[2] > 0.9, "{theirs:?}");
}
