//! What holds for any set of small tensors.

use std::sync::LazyLock;

use end_to_end::{Rig, context};
use omnimind_memory::{DType, Item, NamedTensor, OwnedTensor, Policy};
use proptest::{prelude::*, sample::select};

static RIG: LazyLock<Rig> = LazyLock::new(Rig::new);

#[derive(Debug, Clone)]
struct Tensor {
    name: String,
    dtype: DType,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Tensor {
    fn named(&self) -> NamedTensor<'_> {
        NamedTensor::host(&self.name, self.dtype, self.shape.clone(), self.bytes.as_slice())
    }
}

/// Raw bits: NaN, infinities and subnormals are among them.
fn tensor() -> impl Strategy<Value = (DType, Vec<usize>, Vec<u8>)> {
    (select(DType::ALL.to_vec()), prop::collection::vec(0..7_usize, 0..4)).prop_flat_map(|(dtype, shape)| {
        let bytes = shape.iter().product::<usize>() * dtype.size_bytes();
        (Just(dtype), Just(shape), prop::collection::vec(any::<u8>(), bytes))
    })
}

fn tensors() -> impl Strategy<Value = Vec<Tensor>> {
    prop::collection::btree_map("[a-z.]{1,6}|φ[0-9]", tensor(), 1..5).prop_map(|map| {
        let tensor = |(name, (dtype, shape, bytes))| Tensor { name, dtype, shape, bytes };
        map.into_iter().map(tensor).collect()
    })
}

fn policy() -> impl Strategy<Value = Policy> {
    select(vec![Policy::Default, Policy::Exact, Policy::RelL2(1e-2), Policy::MaxAbs(1e-3)])
}

fn item(tensors: &[Tensor], policy: Policy) -> Item<'_> {
    let mut item = Item::new("model", tensors.iter().map(Tensor::named).collect());
    item.policy = Some(policy);
    item
}

/// Whether every element is within the bound; computed here for float32 and float64, exact for what must be exact.
fn keeps_its_bound(original: &Tensor, restored: &OwnedTensor, policy: Policy) -> bool {
    let exact = original.bytes == restored.bytes;
    let lossy = original.dtype.is_float() && !(policy == Policy::Default && original.shape.len() < 2);
    match policy {
        _ if exact => true,
        Policy::Exact => false,
        _ if !lossy => false,
        Policy::MaxAbs(bound) => differences(original, restored).all(|difference| difference <= bound),
        Policy::RelL2(bound) => restored.rel_l2_error <= bound,
        _ => restored.rel_l2_error <= 0.006,
    }
}

fn differences(original: &Tensor, restored: &OwnedTensor) -> impl Iterator<Item = f64> {
    values(original.dtype, &original.bytes).into_iter().zip(values(restored.dtype, &restored.bytes)).map(
        |(a, b)| if a.is_finite() { (a - b).abs() } else { f64::from(u8::from(a.to_bits() != b.to_bits())) },
    )
}

fn values(dtype: DType, bytes: &[u8]) -> Vec<f64> {
    match dtype {
        DType::F32 => {
            bytes.as_chunks::<4>().0.iter().map(|&raw| f64::from(f32::from_le_bytes(raw))).collect()
        }
        DType::F64 => bytes.as_chunks::<8>().0.iter().map(|&raw| f64::from_le_bytes(raw)).collect(),
        // Halves are checked by the codec's own tests.
        _ => Vec::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_set_of_tensors_comes_back_within_its_bound(tensors in tensors(), policy in policy()) {
        // R7, R15, R17
        let consolidated = RIG.consolidator.consolidate(vec![item(&tensors, policy)], &context("a"));
        prop_assert!(consolidated.failed.is_empty(), "{:?}", consolidated.failed);
        let back = RIG.consolidator.reactivate(&consolidated.outcomes[0].content_hash, &context("a")).unwrap();
        prop_assert_eq!(back.tensors.len(), tensors.len());
        for (original, restored) in tensors.iter().zip(&back.tensors) {
            prop_assert_eq!(&original.name, &restored.name);
            prop_assert_eq!((original.dtype, &original.shape), (restored.dtype, &restored.shape));
            prop_assert!(keeps_its_bound(original, restored, policy), "{original:?} as {restored:?}");
        }
    }

    #[test]
    fn the_order_of_the_tensors_does_not_make_another_memory(tensors in tensors(), turn in 0..5_usize) {
        // R5
        let mut turned = tensors.clone();
        turned.rotate_left(turn % tensors.len());
        let consolidated =
            RIG.consolidator.consolidate(vec![item(&tensors, Policy::Exact), item(&turned, Policy::Exact)], &context("a"));
        let [first, second] = &consolidated.outcomes[..] else { panic!("{consolidated:?}") };
        prop_assert_eq!(first.content_hash, second.content_hash);
        prop_assert!(!second.new);
    }

    #[test]
    fn another_byte_makes_another_memory(tensors in tensors(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        // R5
        let mut changed = tensors.clone();
        let filled: Vec<usize> = (0..changed.len()).filter(|&at| !changed[at].bytes.is_empty()).collect();
        prop_assume!(!filled.is_empty());
        let bytes = &mut changed[filled[at.index(filled.len())]].bytes;
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let consolidated =
            RIG.consolidator.consolidate(vec![item(&tensors, Policy::Exact), item(&changed, Policy::Exact)], &context("a"));
        let [first, second] = &consolidated.outcomes[..] else { panic!("{consolidated:?}") };
        prop_assert_ne!(first.content_hash, second.content_hash);
    }
}
