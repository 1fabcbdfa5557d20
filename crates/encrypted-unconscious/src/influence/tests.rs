//! What must hold of scores, whatever the vectors: they are the dot products that the definition gives.

use proptest::prelude::*;

use super::*;
use crate::{Identity, Sealer};

/// The definition.
fn dot(query: &Query, signature: &Query) -> i64 {
    let products = query.steps().iter().zip(signature.steps());
    products.map(|(&a, &b)| i64::from(a) * i64::from(b)).sum()
}

struct Place {
    identity: Identity,
    sealer: Sealer,
}

impl Place {
    fn new() -> Self {
        let identity = Identity::generate();
        let sealer = Sealer::new(identity.recipient());
        Self { identity, sealer }
    }

    fn encrypt(&self, name: u8, vector: &[f32]) -> EncryptedSignature {
        self.sealer.encrypt_signature([name; 32], vector).unwrap()
    }

    fn open(&self, name: u8, vector: &[f32]) -> OpenedSignature {
        self.identity.open_signature(&self.encrypt(name, vector)).unwrap()
    }
}

fn vector(dimension: usize) -> impl Strategy<Value = Vec<f32>> {
    prop_oneof![
        prop::collection::vec(-1f32..1.0, dimension),
        // All its length in few coordinates, and all signs alike: where the largest numbers are.
        (0..dimension, prop_oneof![Just(-1f32), Just(1f32)]).prop_map(move |(at, value)| {
            (0..dimension).map(|i| if i == at { value } else { 0.0 }).collect()
        }),
        Just(vec![1.0; dimension]),
    ]
    .prop_filter("it has a direction", |vector| vector.iter().any(|&value| value != 0.0))
}

fn pair() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
    prop_oneof![1usize..700, Just(1), Just(384), Just(2048), Just(4096), Just(4097), Just(9000)]
        .prop_flat_map(|dimension| (vector(dimension), vector(dimension)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_encrypted_dot_is_the_integer_dot((query, signature) in pair()) {
        let place = Place::new();
        let opened = place.open(1, &signature);
        let (query, plain) = (Query::new(&query).unwrap(), Query::new(&signature).unwrap());
        prop_assert!(query.headroom().exact_members >= 1);
        let score = scores(&query, [&opened]).unwrap()[0];
        prop_assert_eq!(score.units(), dot(&query, &plain));
    }

    #[test]
    fn a_score_is_near_the_dot_product_of_the_vectors_before_they_were_quantised(
        (query, signature) in (vector(384), vector(384)),
    ) {
        let length = |v: &[f32]| v.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        let exact = query.iter().zip(&signature).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>()
            / length(&query) / length(&signature);
        let opened = Place::new().open(1, &signature);
        let score = scores(&Query::new(&query).unwrap(), [&opened]).unwrap()[0];
        prop_assert!((score.value() - exact).abs() <= 1e-3, "{} {}", score.value(), exact);
    }

    #[test]
    fn sums_equal_sums_in_any_order(
        query in vector(100),
        signatures in prop::collection::vec(vector(100), 1..20),
        seed in any::<prop::sample::Index>(),
    ) {
        let place = Place::new();
        let mut opened: Vec<_> =
            signatures.iter().enumerate().map(|(name, vector)| place.open(name as u8, vector)).collect();
        let query = Query::new(&query).unwrap();
        let each: i64 = scores(&query, &opened).unwrap().iter().map(|score| score.units()).sum();
        let sum = SignatureSum::of(&opened).unwrap();
        prop_assert_eq!(sum.score(&query).unwrap().units(), each);
        prop_assert_eq!(sum.members(), signatures.len() as u64);
        opened.rotate_left(seed.index(signatures.len()));
        prop_assert_eq!(SignatureSum::of(&opened).unwrap().score(&query).unwrap().units(), each);
    }

    #[test]
    fn a_score_is_what_the_library_decrypts((query, signature) in (vector(300), vector(300))) {
        let opened = Place::new().open(1, &signature);
        let query = Query::new(&query).unwrap();
        let by_library = score::Evaluation::of(&query).decrypt(&opened.bodies, &opened.key.bits(), 1).unwrap();
        prop_assert_eq!(scores(&query, [&opened]).unwrap()[0], by_library);
    }

    #[test]
    fn a_change_of_any_byte_is_noticed(at in any::<prop::sample::Index>(), change in 1u8..) {
        let place = Place::new();
        let mut bytes = place.encrypt(1, &[0.5; 24]).to_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        let opened = EncryptedSignature::from_bytes(&bytes)
            .and_then(|signature| place.identity.open_signature(&signature));
        prop_assert!(opened.is_err(), "byte {} of {}", at, bytes.len());
    }

    #[test]
    fn hostile_bytes_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200), real in any::<bool>()) {
        let mut bytes = bytes;
        if real && bytes.len() >= 8 {
            bytes[..8].copy_from_slice(b"OMNINFL1");
        }
        if let Ok(signature) = EncryptedSignature::from_bytes(&bytes) {
            prop_assert!(Place::new().identity.open_signature(&signature).is_err());
        }
    }
}

#[test]
fn a_sum_of_many_is_as_near_as_promised() {
    let place = Place::new();
    let vectors: Vec<Vec<f32>> =
        (0..200).map(|n| (0..384).map(|i| ((i * 31 + n * 17) as f32).sin()).collect()).collect();
    let query = Query::new(&vectors[3]).unwrap();
    let mut sum = SignatureSum::new(384);
    let mut expected = 0;
    for (n, vector) in vectors.iter().enumerate() {
        sum.add(&place.open(n as u8, vector)).unwrap();
        expected += dot(&query, &Query::new(vector).unwrap());
    }
    assert!(query.headroom().exact_members >= 200);
    assert_eq!(sum.score(&query).unwrap().units(), expected);
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let place = Place::new();
    let (one, two) = (place.encrypt(1, &[1.0, 2.0]), place.encrypt(2, &[1.0, 2.0]));
    assert!(matches!(
        Identity::generate().open_signature(&one),
        Err(InfluenceError::Ticket(crate::Error::WrongKey))
    ));
    // The ticket of another memory.
    let (one_bytes, mut mixed) = (one.to_bytes(), two.to_bytes());
    let bodies = mixed.len() - 16;
    mixed[bodies..].copy_from_slice(&one_bytes[one_bytes.len() - 16..]);
    let mixed = EncryptedSignature::from_bytes(&mixed).unwrap();
    assert!(matches!(place.identity.open_signature(&mixed), Err(InfluenceError::Changed)));
    for end in 0..one.to_bytes().len() {
        assert!(EncryptedSignature::from_bytes(&one.to_bytes()[..end]).is_err(), "{end}");
    }
    let mut longer = one.to_bytes();
    longer.push(0);
    assert!(EncryptedSignature::from_bytes(&longer).is_err());

    let opened = place.identity.open_signature(&one).unwrap();
    let query = Query::new(&[1.0, 0.0, 0.0]).unwrap();
    assert!(matches!(
        scores(&query, [&opened]),
        Err(InfluenceError::OtherDimension { query: 3, signature: 2 })
    ));
    assert!(matches!(SignatureSum::of([&opened, &opened]), Err(InfluenceError::Twice)));
    assert!(matches!(SignatureSum::of([]), Err(InfluenceError::Nothing)));
    assert!(matches!(SignatureSum::new(3).score(&query), Err(InfluenceError::Nothing)));
}

#[test]
fn the_key_of_one_memory_says_nothing_about_another() {
    let place = Place::new();
    let one = place.open(1, &[1.0; 384]);
    let mut other = place.open(2, &[1.0; 384]);
    other.key = one.key;
    let query = Query::new(&[1.0; 384]).unwrap();
    let score = scores(&query, [&other]).unwrap()[0];
    assert!((score.value() - 1.0).abs() > 1.0, "{score:?}: as likely as one in a thousand million");
}

#[test]
fn the_same_signature_never_looks_the_same_twice_and_is_small() {
    let place = Place::new();
    let (one, two) = (place.encrypt(1, &[0.1; 384]), place.encrypt(1, &[0.1; 384]));
    let bodies =
        |signature: &EncryptedSignature| signature.to_bytes().split_off(signature.to_bytes().len() - 384 * 8);
    assert!(bodies(&one).iter().zip(bodies(&two)).filter(|(a, b)| *a == b).count() < 100);
    assert_ne!(one.fingerprint(), two.fingerprint());
    // Age adds a few bytes at random.
    assert!(one.to_bytes().len() <= 4096, "{}", one.to_bytes().len());
    assert_eq!(EncryptedSignature::from_bytes(&one.to_bytes()).unwrap(), one);
    let shown = format!("{one:?} {:?}", place.open(1, &[0.1; 3]).key);
    assert!(!shown.contains("seed"), "{shown}");
}

#[test]
fn a_key_that_is_sealed_anew_opens_the_same_scores() {
    let (old, new) = (Place::new(), Place::new());
    let opened = old.open(1, &[0.6, 0.8]);
    let moved = opened.sealed_to(&new.sealer).unwrap();
    assert!(old.identity.open_signature(&moved).is_err());
    let query = Query::new(&[0.6, 0.8]).unwrap();
    let again = new.identity.open_signature(&moved).unwrap();
    assert_eq!(scores(&query, [&again]).unwrap(), scores(&query, [&opened]).unwrap());
    assert_eq!(again.content_hash(), [1; 32]);
}

#[test]
fn more_memories_than_there_is_room_for_are_refused() {
    let place = Place::new();
    let mut sum = SignatureSum::of([&place.open(1, &vec![1.0; 65_536])]).unwrap();
    let query = Query::new(&vec![1.0; 65_536]).unwrap();
    let most = query.headroom().most_members;
    for name in 0..=most {
        let mut content_hash = [0; 32];
        content_hash[..8].copy_from_slice(&name.to_le_bytes());
        sum.members.insert(content_hash);
    }
    assert!(matches!(sum.score(&query), Err(InfluenceError::NoHeadroom { .. })));
}
