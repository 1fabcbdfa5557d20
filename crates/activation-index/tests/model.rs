//! R25, R26, R27: whatever is inserted, traced, removed, compacted, opened again and searched for, the index answers as a
//! list would that is searched from end to end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use activation_index::{
    ActivationIndex, CompactOptions, Effort, Entry, IndexConfig, MemoryId, Metric, Neighbour, Opening,
    QueryFilter, Standing,
};
use proptest::prelude::*;

const KINDS: [&str; 2] = ["model", "cache"];
const CONTEXTS: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Debug, Clone)]
enum Step {
    Insert { id: u8, kind: usize, recallable: bool, contexts: Vec<usize>, signature: Option<Vec<i8>> },
    Remove(u8),
    Trace(u8, usize),
    Compact,
    CompactAndReopen,
    Search { query: Vec<i8>, k: usize, context: Option<usize>, recallable: Option<bool>, kind: Option<usize> },
}

/// Small whole numbers, so that inner products are exact and many are equal; of two dimensions, on both sides of
/// what a row is padded to.
fn vector() -> impl Strategy<Value = Vec<i8>> {
    prop_oneof![prop::collection::vec(-2..=2_i8, 3), prop::collection::vec(-2..=2_i8, 17)]
}

fn step() -> impl Strategy<Value = Step> {
    let id = || 0..12_u8;
    let insert = (
        id(),
        0..2_usize,
        any::<bool>(),
        prop::collection::vec(0..4_usize, 0..4),
        prop::option::of(vector()),
    )
        .prop_map(|(id, kind, recallable, contexts, signature)| Step::Insert {
            id,
            kind,
            recallable,
            contexts,
            signature,
        });
    let search = (
        vector(),
        0..14_usize,
        prop::option::weighted(0.3, 0..4_usize),
        prop::option::weighted(0.3, any::<bool>()),
        prop::option::weighted(0.3, 0..2_usize),
    )
        .prop_map(|(query, k, context, recallable, kind)| Step::Search {
            query,
            k,
            context,
            recallable,
            kind,
        });
    prop_oneof![
        3 => insert,
        1 => id().prop_map(Step::Remove),
        1 => (id(), 0..4_usize).prop_map(|(id, context)| Step::Trace(id, context)),
        1 => prop_oneof![Just(Step::Compact), Just(Step::CompactAndReopen)],
        3 => search,
    ]
}

#[derive(Debug, Clone)]
struct Model {
    kind: usize,
    recallable: bool,
    contexts: BTreeSet<usize>,
    signature: Option<Vec<i8>>,
}

fn id(n: u8) -> MemoryId {
    let mut id = [0; 32];
    id[31] = n;
    id
}

fn floats(vector: &[i8]) -> Vec<f32> {
    vector.iter().map(|&x| f32::from(x)).collect()
}

fn product(a: &[i8], b: &[i8]) -> f32 {
    // In integers, so that no zero is negative.
    a.iter().zip(b).map(|(&a, &b)| i16::from(a) * i16::from(b)).sum::<i16>().into()
}

fn agrees_on_traces(index: &ActivationIndex, model: &BTreeMap<u8, Model>) -> Result<(), TestCaseError> {
    prop_assert_eq!(index.len(), model.len());
    prop_assert_eq!(index.ids().copied().collect::<BTreeSet<_>>(), model.keys().map(|&n| id(n)).collect());
    for (number, name) in CONTEXTS.iter().enumerate() {
        let listed: Vec<_> = index.by_context(name).copied().collect();
        let unique: BTreeSet<_> = listed.iter().copied().collect();
        prop_assert_eq!(listed.len(), unique.len());
        let expected =
            model.iter().filter(|(_, m)| m.contexts.contains(&number)).map(|(&n, _)| id(n)).collect();
        prop_assert_eq!(unique, expected);
        for (&n, memory) in model {
            let standing = match (memory.recallable, memory.contexts.contains(&number)) {
                (false, _) => Standing::Sealed,
                (true, true) => Standing::InTrace,
                (true, false) => Standing::OutsideTrace,
            };
            prop_assert_eq!(index.may_recall(name, &id(n)), Ok(standing));
        }
    }
    let stats = index.stats();
    let signatures: Vec<_> = model.values().filter_map(|m| m.signature.as_ref()).collect();
    prop_assert_eq!(stats.signatures, signatures.len());
    let dimensions: BTreeSet<_> = signatures.iter().map(|s| s.len()).collect();
    prop_assert_eq!(stats.dimensions, dimensions.into_iter().collect::<Vec<_>>());
    prop_assert_eq!(stats.activation_traces, model.values().map(|m| m.contexts.len()).sum::<usize>());
    let contexts: BTreeSet<_> = model.values().flat_map(|m| &m.contexts).collect();
    prop_assert_eq!(stats.contexts, contexts.len());
    Ok(())
}

proptest! {
    #[test]
    fn any_sequence_of_steps_is_answered_as_by_a_list(
        steps in prop::collection::vec(step(), 1..60),
        graph_from in prop::sample::select(&[1_usize, 4, 100][..]),
    ) {
        let config = IndexConfig { metric: Metric::InnerProduct, ..IndexConfig::default() };
        let dir = tempfile::tempdir().unwrap();
        let open = || ActivationIndex::open(dir.path(), [7; 32], config).unwrap();
        let (mut index, opening) = open();
        prop_assert_eq!(opening, Opening::Nothing);
        let options = CompactOptions::default().with_graph_from(graph_from);
        let mut model: BTreeMap<u8, Model> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Insert { id: n, kind, recallable, contexts, signature } => {
                    let new = index.insert(Entry {
                        recallable,
                        contexts: contexts.iter().map(|&c| CONTEXTS[c].to_owned()).collect(),
                        signature: signature.as_deref().map(floats),
                        ..Entry::new(id(n), KINDS[kind], SystemTime::UNIX_EPOCH)
                    });
                    prop_assert_eq!(new.unwrap(), !model.contains_key(&n));
                    let mut all = model.remove(&n).map(|m| m.contexts).unwrap_or_default();
                    all.extend(contexts);
                    model.insert(n, Model { kind, recallable, contexts: all, signature });
                }
                Step::Remove(n) => prop_assert_eq!(index.remove(&id(n)), model.remove(&n).is_some()),
                Step::Trace(n, context) => match model.get_mut(&n) {
                    None => prop_assert!(index.add_trace(&id(n), CONTEXTS[context]).is_err()),
                    Some(m) => {
                        prop_assert_eq!(index.add_trace(&id(n), CONTEXTS[context]).unwrap(), m.contexts.insert(context));
                    }
                },
                Step::Compact => {
                    prop_assert_eq!(index.compact(&options).unwrap().memories, model.len());
                }
                Step::CompactAndReopen => {
                    index.compact(&options).unwrap();
                    let (again, opening) = open();
                    prop_assert_eq!(opening, Opening::Snapshot);
                    prop_assert!(again.verify().is_ok());
                    index = again;
                }
                Step::Search { query, k, context, recallable, kind } => {
                    let filter = QueryFilter {
                        context: context.map(|c| CONTEXTS[c].to_owned()),
                        recallable,
                        kind: kind.map(|kind| KINDS[kind].to_owned()),
                    };
                    let answer = index.nearest(&floats(&query), k, &filter);
                    let dimensions = index.stats().dimensions;
                    if !dimensions.is_empty() && !dimensions.contains(&query.len()) {
                        prop_assert!(answer.is_err());
                        continue;
                    }
                    let mut expected: Vec<_> = model.iter()
                        .filter(|(_, m)| context.is_none_or(|c| m.contexts.contains(&c)))
                        .filter(|(_, m)| recallable.is_none_or(|r| m.recallable == r))
                        .filter(|(_, m)| kind.is_none_or(|kind| m.kind == kind))
                        .filter_map(|(&n, m)| Some((n, m.signature.as_ref().filter(|s| s.len() == query.len())?)))
                        .map(|(n, signature)| (product(signature, &query), id(n)))
                        .collect();
                    expected.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
                    expected.truncate(k);
                    let plain = |answer: Vec<Neighbour>| answer.iter().map(|n| (n.similarity, n.id)).collect::<Vec<_>>();
                    prop_assert_eq!(plain(answer.unwrap()), expected.clone());
                    // There are twelve memories at most: so wide a walk comes to all of them.
                    if k >= 6 {
                        let walked = index.nearest_with(&floats(&query), k, &filter, Effort::Width(64));
                        prop_assert_eq!(plain(walked.unwrap()), expected);
                    }
                }
            }
            agrees_on_traces(&index, &model)?;
        }
    }

    #[test]
    fn the_scan_by_cosine_finds_what_a_reference_in_f64_finds(
        vectors in (1..40_usize).prop_flat_map(|d| prop::collection::vec(prop::collection::vec(-1e3_f32..1e3, d), 2..40)),
        k in 1..50_usize,
    ) {
        let cosine = |a: &[f32], b: &[f32]| {
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
            dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
        };
        let (query, stored) = vectors.split_first().unwrap();
        prop_assume!(vectors.iter().all(|v| v.iter().any(|&x| x != 0.0)));
        let mut index = ActivationIndex::new(IndexConfig::default()).unwrap();
        for (n, vector) in stored.iter().enumerate() {
            let entry = Entry::new(id(n as u8), "model", SystemTime::UNIX_EPOCH);
            index.insert(Entry { signature: Some(vector.clone()), ..entry }).unwrap();
        }

        let answer = index.nearest(query, k, &QueryFilter::default()).unwrap();
        let mut expected: Vec<f64> = stored.iter().map(|v| cosine(v, query)).collect();
        expected.sort_by(|a, b| b.total_cmp(a));
        prop_assert_eq!(answer.len(), k.min(stored.len()));
        for (neighbour, best) in answer.iter().zip(expected) {
            let own = cosine(&stored[usize::from(neighbour.id[31])], query);
            prop_assert!((f64::from(neighbour.similarity) - own).abs() < 1e-6, "its similarity");
            prop_assert!((own - best).abs() < 1e-6, "its rank");
            prop_assert!((-1.0..=1.0).contains(&neighbour.similarity));
        }
        let in_order = |a: &[activation_index::Neighbour]| {
            a[1].similarity.total_cmp(&a[0].similarity).then(a[0].id.cmp(&a[1].id)).is_lt()
        };
        prop_assert!(answer.windows(2).all(in_order), "sorted, and each once");
    }

    #[test]
    fn no_vector_makes_it_panic_or_answer_with_a_number_that_is_none(
        stored in prop::collection::vec(any::<f32>(), 0..20),
        query in prop::collection::vec(any::<f32>(), 0..20),
        metric in prop::sample::select(&[Metric::Cosine, Metric::InnerProduct][..]),
        compact: bool,
    ) {
        let mut index = ActivationIndex::new(IndexConfig { metric, ..IndexConfig::default() }).unwrap();
        let entry = Entry::new(id(1), "model", SystemTime::UNIX_EPOCH);
        let inserted = index.insert(Entry { signature: Some(stored), ..entry }).is_ok();
        if compact {
            index.compact(&CompactOptions::default().with_graph_from(1)).unwrap();
        }
        prop_assert_eq!(index.len(), usize::from(inserted));
        if let Ok(answer) = index.nearest(&query, 3, &QueryFilter::default()) {
            prop_assert!(answer.iter().all(|n| n.similarity.is_finite()));
        }
    }
}
