//! What crashed is sealed, yet felt (R19 to R24): influence through the facade, and what the owner of the key does.

#![allow(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::{fs, path::PathBuf, sync::Arc};

use encrypted_unconscious::{
    Identity, KeyRing,
    keyholder::{
        Custody, CustodyConfig, KeyholderError, LocalKeyholder, RemoteKeyholder, Server, ServerOptions,
    },
};
use end_to_end::{Rig, StoredTensor, context, minilm_slice, rel_l2, sentence_embeddings};
use omnimind_memory::{
    Consolidator, ContentHash, Device, DeviceMemory, Error, ErrorClass, GpuProbe, Influence, InfluenceLevel,
    Item, Notice, PlacementConfig, QueryFilter, Rule, Signals, TaskKind,
};
use proptest::prelude::*;

struct Place {
    rig: Rig,
    key: PathBuf,
    model: Vec<StoredTensor>,
    embeddings: Vec<Vec<f32>>,
}

impl Place {
    fn new() -> Self {
        Self::with(&CustodyConfig::default())
    }

    fn with(config: &CustodyConfig) -> Self {
        let config = config.clone();
        let rig = Rig::with_dir(|builder, dir| {
            let identity = Identity::generate();
            identity.write_pair(dir.join("key")).unwrap();
            let recipient = identity.recipient();
            let custody = Custody::open(&dir.join("state"), vec![identity], config).unwrap();
            builder.keyholder(recipient).scores_from(Arc::new(LocalKeyholder::of(custody)))
        });
        let key = rig.dir.path().join("key");
        Self { rig, key, model: minilm_slice().unwrap(), embeddings: sentence_embeddings().unwrap() }
    }

    fn consolidator(&self) -> &Consolidator {
        &self.rig.consolidator
    }

    fn ring(&self) -> KeyRing {
        KeyRing::load(&self.key, || Err(std::io::Error::other("it has no passphrase"))).unwrap()
    }

    /// A memory, sealed or not, that points where an embedding points.
    fn remember(&self, kind: &str, embedding: usize, crashed: bool) -> ContentHash {
        let mut item = Item::new(kind, vec![self.model[1].named()]);
        item.signature = Some(self.embeddings[embedding].clone());
        if crashed {
            item.signals = Signals {
                error_type: Some("OOM".into()),
                severity: Some("critical".into()),
                ..Signals::default()
            };
            item.metadata.insert("prompt".to_owned(), "a secret prompt".into());
        }
        let done = self.consolidator().consolidate(vec![item], &context("trainer"));
        assert!(done.failed.is_empty(), "{:?}", done.failed);
        done.outcomes[0].content_hash
    }

    fn influence(&self, embedding: usize) -> Influence {
        self.consolidator().influence(&self.embeddings[embedding]).unwrap()
    }

    /// The cosine, from the embeddings in the clear.
    fn cosine(&self, a: usize, b: usize) -> f64 {
        cosine(&self.embeddings[a], &self.embeddings[b])
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn level(cosine: f64) -> f32 {
    [0.75, 0.5, 0.25].into_iter().find(|&level| cosine >= f64::from(level)).unwrap_or(0.0)
}

#[test]
fn what_crashed_is_felt_by_deja_vu_and_never_read() {
    // R20, R23, R26
    let place = Place::new();
    let (sealed, open) = (place.remember("crash", 3, true), place.remember("model", 9, false));
    let query = &place.embeddings[3];
    let found = place.consolidator().deja_vu(&context("trainer"), query, 5).unwrap();
    let felt = found.iter().find(|memory| memory.content_hash == sealed).expect("it is felt");
    assert_eq!(
        (felt.influence, felt.similarity, felt.recallable, felt.familiar),
        (Some(0.75), 0.75, false, true)
    );
    assert!(felt.in_trace && felt.kind == "crash");
    assert!(felt.reason_if_not.as_ref().unwrap().contains("sealed"));
    let other = found.iter().find(|memory| memory.content_hash == open).expect("it is found");
    assert_eq!((other.influence, other.recallable), (None, true));
    assert_eq!(place.consolidator().notices(), []);
    assert!(found.is_sorted_by(|a, b| a.similarity >= b.similarity));
    let one = place.consolidator().deja_vu(&context("trainer"), query, 1).unwrap();
    assert_eq!(one.len(), 1);

    let influence = place.influence(3);
    assert_eq!((influence.level(), influence.felt[0].content_hash), (InfluenceLevel::Strong, sealed));
    assert_eq!(
        place.consolidator().reactivate(&sealed, &context("trainer")).unwrap_err().class(),
        ErrorClass::Refused
    );
    let memory = place.consolidator().store().manifest(&sealed).unwrap();
    assert!(memory.signature.is_none() && memory.metadata.is_empty());
}

#[test]
fn work_that_resembles_what_crashed_is_kept_off_the_card() {
    // R23, R29
    let place = Place::new();
    place.remember("crash", 3, true);
    let config = PlacementConfig::default();
    let decide = |signature: Option<usize>| {
        let signature = signature.map(|at| place.embeddings[at].as_slice());
        place.consolidator().place(TaskKind::Tensor, 10_000_000, signature, &config).unwrap()
    };
    assert_eq!((decide(None).device, decide(None).rule), (Device::Cuda(0), Rule::GpuWork));
    let steered = decide(Some(3));
    assert_eq!((steered.device, steered.rule), (Device::Cpu, Rule::ResemblesCrash));
    assert!(steered.reason.contains("at least 0.75"), "{}", steered.reason);
    let unrelated = (0..100).find(|&at| place.cosine(3, at) < 0.2).unwrap();
    assert_eq!(decide(Some(unrelated)).rule, Rule::GpuWork);

    let held = place.rig.gpu.allocate(0, place.rig.gpu.memory(0).unwrap().free_bytes * 9 / 10).unwrap();
    assert_eq!(decide(None).rule, Rule::VramHigh);
    place.rig.gpu.free(held).unwrap();
    assert_eq!(decide(None).rule, Rule::GpuWork);
}

#[test]
fn answers_are_the_levels_of_the_cosines() {
    let place = Place::new();
    let stored: Vec<usize> = (0..12).collect();
    let hashes: Vec<_> = stored.iter().map(|&at| place.remember(&format!("crash {at}"), at, true)).collect();
    for query in [3, 40, 77] {
        let influence = place.influence(query);
        assert_eq!(influence.felt.len() + influence.silent, stored.len());
        for (&at, hash) in stored.iter().zip(&hashes) {
            let felt = influence.felt.iter().find(|felt| felt.content_hash == *hash);
            let expected = level(place.cosine(query, at));
            assert!((felt.map_or(0.0, |felt| felt.at_least) - expected).abs() < f32::EPSILON, "{query} {at}");
        }
    }
}

#[test]
fn nobody_is_asked_where_only_what_may_be_recalled_is_wanted() {
    let place = Place::new();
    place.remember("crash", 3, true);
    let recallable = QueryFilter { recallable: Some(true), ..QueryFilter::default() };
    let query = &place.embeddings[3];
    let found = place.consolidator().deja_vu_among(&recallable, &context("a"), query, 5).unwrap();
    assert_eq!(found, []);
    let log = fs::read_to_string(place.rig.dir.path().join("state/audit.jsonl")).unwrap();
    assert!(!log.contains("\"answer\""), "{log}");
    for (filter, count) in [
        (QueryFilter { kind: Some("crash".into()), ..QueryFilter::default() }, 1),
        (QueryFilter { kind: Some("model".into()), ..QueryFilter::default() }, 0),
        (QueryFilter { context: Some("trainer".into()), ..QueryFilter::default() }, 1),
        (QueryFilter { context: Some("other".into()), ..QueryFilter::default() }, 0),
        (QueryFilter { recallable: Some(false), ..QueryFilter::default() }, 1),
    ] {
        let found = place.consolidator().deja_vu_among(&filter, &context("a"), query, 5).unwrap();
        assert_eq!(found.len(), count, "{filter:?}");
    }
}

#[test]
fn without_a_keyholder_that_answers_deja_vu_still_does_and_says_what_is_missing() {
    let identity = Identity::generate();
    let recipient = identity.recipient();
    let rig = Rig::with_dir(|builder, dir| {
        let nobody = RemoteKeyholder::new(dir.join("nobody"));
        builder.keyholder(recipient.clone()).scores_from(Arc::new(nobody))
    });
    let (model, embeddings) = (minilm_slice().unwrap(), sentence_embeddings().unwrap());
    let mut open = Item::new("model", vec![model[1].named()]);
    open.signature = Some(embeddings[9].clone());
    let mut crashed = Item::new("crash", vec![model[2].named()]);
    crashed.signature = Some(embeddings[3].clone());
    crashed.signals.error_type = Some("OOM".into());
    crashed.signals.severity = Some("critical".into());
    let done = rig.consolidator.consolidate(vec![open, crashed], &context("a"));
    assert!(done.failed.is_empty(), "sealing needs nobody to be there: {:?}", done.failed);
    let found = rig.consolidator.deja_vu(&context("a"), &embeddings[9], 5).unwrap();
    assert_eq!(found.len(), 1);
    let notices = rig.consolidator.notices();
    assert!(
        matches!(&notices[..], [Notice::WithoutInfluence { reason }] if reason.contains("keyholder serve"))
    );
    assert!(matches!(
        rig.consolidator.influence(&embeddings[3]),
        Err(Error::Keyholder(KeyholderError::Gone { .. }))
    ));

    let rig = Rig::with(|builder| builder.keyholder(recipient));
    assert!(matches!(rig.consolidator.influence(&embeddings[3]), Err(Error::NoScores)));
}

#[test]
fn a_query_that_cannot_be_asked_is_refused_for_its_reason_and_costs_nothing() {
    let place = Place::new();
    place.remember("crash", 3, true);
    for (query, words) in [
        (vec![f32::NAN; 384], "not a finite number"),
        (vec![0.0; 384], "zero"),
        (Vec::new(), "0 dimensions"),
        (vec![1.0; 100], "100 dimensions"),
    ] {
        let error = place.consolidator().influence(&query).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    let error = place.consolidator().influence(&[1.0; 100]).unwrap_err();
    assert!(matches!(&error, Error::NoSuchDimension { query: 100, known } if known == &[384]), "{error}");
    let log = fs::read_to_string(place.rig.dir.path().join("state/audit.jsonl")).unwrap();
    assert!(!log.contains("\"answer\""), "{log}");
}

#[test]
fn sums_follow_the_store_through_other_processes_and_forgetting() {
    let mut config = CustodyConfig::default();
    config.rounding.sum_step = 0.001;
    config.budget.everyone.capacity = 10_000;
    let place = Place::with(&config);
    let hashes: Vec<_> = (0..5).map(|at| place.remember(&format!("crash {at}"), at, true)).collect();
    let expected = |stored: &[usize]| stored.iter().map(|&at| place.cosine(30, at)).sum::<f64>();
    let sum = || place.consolidator().influence_of_all(&place.embeddings[30]).unwrap();
    assert_eq!(sum().members, 5);
    assert!((sum().sum - expected(&[0, 1, 2, 3, 4])).abs() < 0.006);

    // As another process would.
    let other = Consolidator::builder().store(place.rig.dir.path().join("store"));
    let other = other.keyholder(place.ring().current().recipient()).build().unwrap();
    let mut item = Item::new("crash of another", vec![place.model[2].named()]);
    item.signature = Some(place.embeddings[5].clone());
    item.signals.error_type = Some("OOM".into());
    item.signals.severity = Some("critical".into());
    assert!(other.consolidate(vec![item], &context("other")).failed.is_empty());
    assert_eq!(sum().members, 6);
    assert!((sum().sum - expected(&[0, 1, 2, 3, 4, 5])).abs() < 0.006);

    other.store().forget(&hashes[2]).unwrap();
    assert_eq!(sum().members, 5);
    assert!((sum().sum - expected(&[0, 1, 3, 4, 5])).abs() < 0.006);
    assert!(place.influence(2).felt.iter().all(|felt| felt.content_hash != hashes[2]));

    // What is not sealed is in no sum.
    place.remember("model", 6, false);
    assert_eq!(sum().members, 5);
}

#[test]
fn a_budget_that_is_used_up_is_said_and_nothing_else_is_lost() {
    let mut config = CustodyConfig::default();
    config.budget.memory.capacity = config.budget.price_of_sum;
    let place = Place::with(&config);
    let sealed = place.remember("crash", 3, true);
    place.remember("model", 3, false);
    // Two answers that speak use up 32 units.
    let mut query = place.embeddings[3].clone();
    for _ in 0..2 {
        query[0] += 0.01;
        assert_eq!(place.consolidator().influence(&query).unwrap().felt.len(), 1);
    }
    let again = place.consolidator().influence(&query).unwrap();
    assert_eq!(again.felt.len(), 1, "what was asked already is free");
    query[0] += 0.01;
    let influence = place.consolidator().influence(&query).unwrap();
    assert_eq!(influence.unanswered[0].content_hash, sealed);
    assert!(influence.unanswered[0].reason.contains("ask again in"), "{influence:?}");
    assert_eq!(influence.level(), InfluenceLevel::None);
    let found = place.consolidator().deja_vu(&context("trainer"), &query, 5).unwrap();
    assert_eq!(found.len(), 1, "the one that may be recalled");
    assert!(matches!(&place.consolidator().notices()[..], [Notice::WithoutInfluence { .. }]));
}

#[test]
fn a_damaged_signature_is_named_and_the_others_are_felt() {
    let place = Place::new();
    let (whole, damaged) = (place.remember("crash 1", 3, true), place.remember("crash 2", 3, true));
    let memory = place.consolidator().store().manifest(&damaged).unwrap();
    let name = memory.tensors[0].object.hash.to_string();
    let object = place.rig.dir.path().join("store/objects").join(&name[..2]).join(&name[2..]);
    let mut bytes = fs::read(&object).unwrap();
    bytes[2000] ^= 1;
    fs::remove_file(&object).unwrap();
    fs::write(&object, &bytes).unwrap();
    let influence = place.influence(3);
    assert_eq!(influence.felt.iter().map(|felt| felt.content_hash).collect::<Vec<_>>(), [whole]);
    assert_eq!(influence.unanswered.iter().map(|memory| memory.content_hash).collect::<Vec<_>>(), [damaged]);
    assert!(!place.consolidator().store().verify(false).unwrap().is_clean());
    // What lies under the seal is another object, and whole.
    place.consolidator().disclose(&damaged, &place.ring()).unwrap();
}

#[test]
fn the_owner_of_the_key_gets_back_what_went_in() {
    // R24
    let place = Place::new();
    let (sealed, open) = (place.remember("crash", 3, true), place.remember("model", 3, false));
    let disclosure = place.consolidator().disclose(&sealed, &place.ring()).unwrap();
    assert_eq!(
        (disclosure.kind.as_str(), &disclosure.metadata["prompt"]),
        ("crash", &"a secret prompt".into())
    );
    assert_eq!(disclosure.signature.as_ref(), Some(&place.embeddings[3]));
    let original = &place.model[1];
    let mut bytes = Vec::new();
    place
        .consolidator()
        .disclose_each(&sealed, &place.ring(), |tensor| {
            assert_eq!((tensor.name(), tensor.header().dtype), (original.name.as_str(), original.dtype));
            tensor.write_to(&mut bytes)
        })
        .unwrap();
    assert!(rel_l2(original.dtype, &original.bytes, &bytes) <= 0.006);

    assert!(matches!(place.consolidator().disclose(&open, &place.ring()), Err(Error::NotSealed(_))));
    let dir = tempfile::tempdir().unwrap();
    Identity::generate().write_pair(dir.path().join("key")).unwrap();
    let other = KeyRing::load(dir.path().join("key"), || Err(std::io::Error::other("none"))).unwrap();
    let error = place.consolidator().disclose(&sealed, &other).unwrap_err();
    assert!(error.to_string().contains("another keyholder"), "{error}");
}

#[test]
fn an_exchanged_key_opens_everything_and_an_interrupted_exchange_goes_on() {
    let place = Place::new();
    let hashes: Vec<_> = (0..6).map(|at| place.remember(&format!("crash {at}"), at, true)).collect();
    let before: Vec<_> =
        hashes.iter().map(|hash| place.consolidator().store().manifest(hash).unwrap()).collect();
    KeyRing::begin_rotation(&place.key, None).unwrap();
    let ring = place.ring();
    let interrupted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        place.consolidator().reseal(&ring, |done, _| assert!(done < 3, "interrupted"))
    }));
    assert!(interrupted.is_err());
    let answer = place.consolidator().reseal(&ring, |_, _| {}).unwrap();
    assert_eq!((answer.resealed, answer.already, answer.left.len()), (3, 3, 0));
    let answer = place.consolidator().reseal(&ring, |_, _| {}).unwrap();
    assert_eq!((answer.resealed, answer.already), (0, 6));
    KeyRing::destroy_retired(&place.key).unwrap();

    let only = place.ring();
    assert_eq!(only.identities().count(), 1);
    let custody =
        Custody::open(&place.rig.dir.path().join("new"), only.into_identities(), CustodyConfig::default());
    let consolidator = Consolidator::builder()
        .store(place.rig.dir.path().join("store"))
        .scores_from(Arc::new(LocalKeyholder::of(custody.unwrap())))
        .build()
        .unwrap();
    let influence = consolidator.influence(&place.embeddings[3]).unwrap();
    assert_eq!((influence.level(), influence.unanswered.len()), (InfluenceLevel::Strong, 0));
    for (hash, before) in hashes.iter().zip(before) {
        let after = consolidator.store().manifest(hash).unwrap();
        assert_eq!((after.summary.stored_at, &after.traces), (before.summary.stored_at, &before.traces));
        assert!(after.sealed != before.sealed && after.tensors[0].object != before.tensors[0].object);
        consolidator.disclose(hash, &place.ring()).unwrap();
    }
    consolidator.store().gc().unwrap();
    assert!(consolidator.store().verify(false).unwrap().is_clean());
}

#[test]
fn a_process_that_knew_a_memory_before_its_key_was_exchanged_still_feels_it() {
    let place = Place::new();
    place.remember("crash", 3, true);
    let ring = place.ring();
    let serve = |name: &str, ring: KeyRing| {
        let state = place.rig.dir.path().join(name);
        Custody::open(&state, ring.into_identities(), CustodyConfig::default()).unwrap()
    };
    // One that serves goes on through an exchange, and so does the process that asks.
    let socket = place.rig.dir.path().join("socket");
    let custody = Arc::new(serve("served", ring));
    let server = Server::bind(&socket, Arc::clone(&custody), ServerOptions::default()).unwrap();
    let stop = server.stop();
    let thread = std::thread::spawn(move || server.serve());
    let consolidator = Consolidator::builder()
        .store(place.rig.dir.path().join("store"))
        .scores_from(Arc::new(RemoteKeyholder::new(&socket)))
        .build()
        .unwrap();
    let mut query = place.embeddings[3].clone();
    assert_eq!(consolidator.influence(&query).unwrap().level(), InfluenceLevel::Strong);

    KeyRing::begin_rotation(&place.key, None).unwrap();
    place.consolidator().reseal(&place.ring(), |_, _| {}).unwrap();
    KeyRing::destroy_retired(&place.key).unwrap();
    stop.stop();
    thread.join().unwrap().unwrap();
    drop(custody);
    let custody = Arc::new(serve("served", place.ring()));
    let server = Server::bind(&socket, custody, ServerOptions::default()).unwrap();
    let stop = server.stop();
    let thread = std::thread::spawn(move || server.serve());
    query[0] += 0.01;
    let influence = consolidator.influence(&query).unwrap();
    assert_eq!((influence.level(), influence.unanswered.len()), (InfluenceLevel::Strong, 0), "{influence:?}");
    stop.stop();
    thread.join().unwrap().unwrap();
}

#[test]
fn the_same_crash_twice_is_one_memory_with_one_signature() {
    let place = Place::new();
    assert_eq!(place.remember("crash", 3, true), place.remember("crash", 3, true));
    assert_eq!(place.influence(3).felt.len(), 1);
    assert_eq!(place.consolidator().stats().unwrap().objects, 2, "the seal, and the signature");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn influence_is_the_level_of_the_cosine_whatever_the_vectors(
        stored in prop::collection::vec(-1f32..1.0, 20),
        query in prop::collection::vec(-1f32..1.0, 20),
        toward in 0f32..1.0,
    ) {
        prop_assume!(stored.iter().chain(&query).any(|&value| value.abs() > 0.1));
        let query: Vec<f32> = stored.iter().zip(&query).map(|(s, q)| toward * s + (1.0 - toward) * q).collect();
        let exact = cosine(&stored, &query);
        // Within what quantising may move it, both answers are right.
        prop_assume!([0.25, 0.5, 0.75].iter().all(|level| (exact - level).abs() > 1e-3));
        let place = Place::new();
        let mut item = Item::new("crash", vec![place.model[1].named()]);
        item.signature = Some(stored);
        item.signals.error_type = Some("OOM".into());
        item.signals.severity = Some("critical".into());
        prop_assert!(place.consolidator().consolidate(vec![item], &context("a")).failed.is_empty());
        let influence = place.consolidator().influence(&query).unwrap();
        let at_least = influence.felt.first().map_or(0.0, |felt| felt.at_least);
        prop_assert!((at_least - level(exact)).abs() < f32::EPSILON, "{} {}", at_least, exact);
    }
}
