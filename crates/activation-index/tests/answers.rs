//! R25, R26: what the index answers, case by case.

use std::time::{Duration, SystemTime};

use activation_index::{
    ActivationIndex, Entry, Familiarity, IndexConfig, IndexError, MemoryId, Metric, QueryFilter, Role,
    Standing,
};

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

fn id(n: u8) -> MemoryId {
    [n; 32]
}

fn entry(n: u8, contexts: &[&str], signature: &[f32]) -> Entry {
    Entry {
        contexts: contexts.iter().map(ToString::to_string).collect(),
        signature: (!signature.is_empty()).then(|| signature.to_vec()),
        ..Entry::new(id(n), "model", NOW)
    }
}

fn index(entries: impl IntoIterator<Item = Entry>) -> ActivationIndex {
    let mut index = ActivationIndex::new(IndexConfig::default()).expect("a valid configuration");
    for entry in entries {
        assert_eq!(index.insert(entry), Ok(true));
    }
    index
}

fn found(index: &ActivationIndex, query: &[f32], k: usize, filter: &QueryFilter) -> Vec<u8> {
    index.nearest(query, k, filter).expect("a valid query").iter().map(|n| n.id[0]).collect()
}

// R25
#[test]
fn traces_are_found_from_both_sides_and_grow() {
    let mut index = index([entry(1, &["a", "b", "a"], &[]), entry(2, &["b"], &[])]);
    assert_eq!(index.contexts_of(&id(1)).unwrap().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(index.by_context("b").count(), 2);
    assert_eq!(index.by_context("nobody").count(), 0);
    assert_eq!(index.may_recall("a", &id(2)), Ok(Standing::OutsideTrace));
    assert_eq!(index.add_trace(&id(2), "a"), Ok(true));
    assert_eq!(index.add_trace(&id(2), "a"), Ok(false));
    assert_eq!(index.may_recall("a", &id(2)), Ok(Standing::InTrace));
    assert_eq!(index.stats().activation_traces, 4);
}

// R7, R25
#[test]
fn an_unknown_memory_is_an_error_and_a_sealed_one_is_refused_to_every_context() {
    let mut index = index([Entry { recallable: false, ..entry(1, &["a"], &[]) }]);
    assert_eq!(index.may_recall("a", &id(1)), Ok(Standing::Sealed));
    assert_eq!(index.may_recall("b", &id(1)), Ok(Standing::Sealed));
    assert!(!Standing::Sealed.allowed());
    let unknown = IndexError::UnknownMemory { id: id(9) };
    assert_eq!(index.may_recall("a", &id(9)), Err(unknown.clone()));
    assert_eq!(index.contexts_of(&id(9)).err(), Some(unknown.clone()));
    assert_eq!(index.add_trace(&id(9), "a"), Err(unknown));
    assert_eq!(index.stats().contexts, 1);
    assert!(!index.remove(&id(9)));
}

// R26
#[test]
fn deja_vu_says_all_there_is_to_know_about_what_is_familiar() {
    let mut sealed = entry(2, &["a"], &[1.0, 1.0, 0.0]);
    sealed.recallable = false;
    sealed.kind = "optimizer".into();
    let index = index([entry(1, &["a"], &[1.0, 0.0, 0.0]), sealed, entry(3, &["b"], &[0.0, 0.0, 1.0])]);
    let now = NOW + Duration::from_millis(1500);
    let answer = index.deja_vu("a", &[1.0, 0.0, 0.0], 3, now).unwrap();

    assert_eq!(answer.iter().map(|f| f.id[0]).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(answer.iter().map(|f| f.familiar).collect::<Vec<_>>(), [true, true, false]);
    let standings: Vec<_> = answer.iter().map(Familiarity::standing).collect();
    assert_eq!(standings, [Standing::InTrace, Standing::Sealed, Standing::OutsideTrace]);
    assert!(answer[1].reason_if_not.as_deref().is_some_and(|reason| reason.contains("sealed")));
    assert!(answer[0].reason_if_not.is_none() && answer[2].recallable && !answer[2].in_trace);

    let json = serde_json::to_value(&answer[1]).unwrap();
    assert_eq!(json["id"], "02".repeat(32));
    assert_eq!(json["age_seconds"], 1.5);
    assert_eq!((&json["kind"], &json["recallable"]), (&"optimizer".into(), &false.into()));
    assert_eq!((&json["in_trace"], &json["influence"]), (&true.into(), &serde_json::Value::Null));
}

// R26
#[test]
fn a_similarity_of_exactly_the_threshold_is_not_yet_familiar() {
    let index = index([entry(1, &[], &[1.0, 0.0, 0.0, 0.0]), entry(2, &[], &[1.0, 1.0, 1.0, 0.9])]);
    let answer = index.deja_vu("a", &[1.0, 1.0, 1.0, 1.0], 2, NOW).unwrap();
    assert_eq!((answer[1].similarity.to_bits(), answer[1].familiar), (0.5_f32.to_bits(), false));
    assert!(answer[0].familiar);
}

// R26
#[test]
fn a_memory_from_the_future_has_no_age() {
    let mut from_the_future = entry(1, &[], &[1.0]);
    from_the_future.stored_at = NOW + Duration::from_secs(1);
    assert_eq!(index([from_the_future]).deja_vu("a", &[1.0], 1, NOW).unwrap()[0].age, Duration::ZERO);
}

// R26
#[test]
fn equals_are_sorted_by_id() {
    let index = index([7, 3, 9, 1, 5].map(|n| entry(n, &[], &[f32::from(n), 0.0])));
    assert_eq!(found(&index, &[1.0, 0.0], 3, &QueryFilter::default()), [1, 3, 5]);
    assert_eq!(found(&index, &[1.0, 0.0], usize::MAX, &QueryFilter::default()), [1, 3, 5, 7, 9]);
    assert_eq!(found(&index, &[1.0, 0.0], 0, &QueryFilter::default()), [0; 0]);
}

// R26
#[test]
fn filters_admit_by_context_right_and_type() {
    let index = index([
        entry(1, &["a"], &[1.0, 0.1]),
        Entry { recallable: false, ..entry(2, &["a", "b"], &[1.0, 0.2]) },
        Entry { kind: "cache".into(), ..entry(3, &["b"], &[1.0, 0.3]) },
        entry(4, &["b"], &[1.0, 0.4, 0.0]),
        entry(5, &["b"], &[]),
    ]);
    let only = |context: Option<&str>, recallable, kind: Option<&str>| {
        let filter = QueryFilter { context: context.map(Into::into), recallable, kind: kind.map(Into::into) };
        found(&index, &[1.0, 0.0], 9, &filter)
    };
    assert_eq!(only(None, None, None), [1, 2, 3]);
    assert_eq!(only(Some("a"), None, None), [1, 2]);
    assert_eq!(only(Some("b"), None, None), [2, 3]);
    assert_eq!(only(Some("b"), Some(true), None), [3]);
    assert_eq!(only(None, Some(false), None), [2]);
    assert_eq!(only(None, None, Some("cache")), [3]);
    assert_eq!(only(Some("c"), None, None), [0; 0]);
    let filter = QueryFilter { context: Some("a".into()), ..QueryFilter::default() };
    assert_eq!(index.deja_vu_among(&filter, "b", &[1.0, 0.0], 9, NOW).unwrap().len(), 2);
}

// R26
#[test]
fn vectors_that_cannot_be_compared_are_refused_and_change_nothing() {
    let mut index = index([entry(1, &["a"], &[1.0, 2.0])]);
    let before = index.stats();
    assert_eq!(
        index.insert(entry(2, &["new"], &[0.0, 0.0])),
        Err(IndexError::Zero { role: Role::Signature })
    );
    let error = index.insert(entry(1, &["new"], &[1.0, f32::NEG_INFINITY])).unwrap_err();
    assert!(error.to_string().contains("element 1 of the signature is -inf"), "{error}");
    let empty = Entry { signature: Some(Vec::new()), ..entry(1, &["new"], &[]) };
    assert_eq!(index.insert(empty), Err(IndexError::Empty { role: Role::Signature }));
    assert_eq!(index.stats(), before);

    for k in [0, 1] {
        let nearest = |query: &[f32]| index.nearest(query, k, &QueryFilter::default()).unwrap_err();
        assert!(matches!(
            nearest(&[0.0, f32::NAN]),
            IndexError::NotFinite { role: Role::Query, position: 1, .. }
        ));
        assert_eq!(nearest(&[0.0, 0.0]), IndexError::Zero { role: Role::Query });
        assert_eq!(nearest(&[]), IndexError::Empty { role: Role::Query });
        assert_eq!(nearest(&[1.0]), IndexError::UnknownDimension { given: 1, known: vec![2] });
    }
}

// R26
#[test]
fn an_index_without_signatures_answers_nothing_and_complains_of_no_dimension() {
    let mut index = index([entry(1, &["a"], &[]), entry(2, &[], &[1.0, 2.0])]);
    assert!(index.remove(&id(2)));
    assert_eq!(found(&index, &[1.0], 5, &QueryFilter::default()), [0; 0]);
    assert!(index.nearest(&[f32::NAN], 5, &QueryFilter::default()).is_err());
}

// R5, R26
#[test]
fn a_memory_heard_of_again_keeps_its_trace_and_loses_its_old_signature() {
    let mut index = index([entry(1, &["a"], &[1.0, 0.0]), entry(2, &[], &[0.0, 1.0])]);
    assert_eq!(index.insert(Entry { recallable: false, ..entry(1, &["b"], &[]) }), Ok(false));
    assert_eq!(index.contexts_of(&id(1)).unwrap().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(index.may_recall("a", &id(1)), Ok(Standing::Sealed));
    assert_eq!(found(&index, &[1.0, 0.0], 5, &QueryFilter::default()), [2]);
    assert_eq!((index.len(), index.stats().signatures), (2, 1));
}

#[test]
fn by_inner_product_length_counts_and_zero_is_a_vector() {
    let config =
        IndexConfig { metric: Metric::InnerProduct, familiar_threshold: 5.0, ..IndexConfig::default() };
    let mut index = ActivationIndex::new(config).unwrap();
    index.insert(entry(1, &[], &[1.0, 0.0])).unwrap();
    index.insert(entry(2, &[], &[9.0, 9.0])).unwrap();
    index.insert(entry(3, &[], &[0.0, 0.0])).unwrap();
    let answer = index.deja_vu("a", &[1.0, 0.0], 3, NOW).unwrap();
    let outline: Vec<_> = answer.iter().map(|f| (f.id[0], f.similarity.to_bits(), f.familiar)).collect();
    let bits = f32::to_bits;
    assert_eq!(outline, [(2, bits(9.0), true), (1, bits(1.0), false), (3, bits(0.0), false)]);
}
