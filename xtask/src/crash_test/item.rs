//! Items that can be made again from a number, so that what comes back can be compared without keeping a copy.

use anyhow::{Result, ensure};
use omnimind_memory::{DType, Item, NamedTensor, OwnedTensor, Policy};

/// splitmix64.
#[derive(Debug, Clone)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// The item of a number: weights of its own, weights that every fifth item shares, a bias and a counter. Every fourth is
/// stored exactly.
pub(super) fn make(number: u64) -> Item<'static> {
    let rows = 32 + (number % 5) as usize * 40;
    let tensors = vec![
        matrix("weights", number, rows, 128),
        matrix("shared", u64::MAX - number % 5, 64, 96),
        NamedTensor::host("bias", DType::F32, [rows], floats(number ^ 0xb1a5, rows)),
        NamedTensor::host("steps", DType::I64, [], number.to_le_bytes().to_vec()),
    ];
    let mut item = Item::new(kind(number), tensors);
    item.policy = number.is_multiple_of(4).then_some(Policy::Exact);
    item
}

/// The type of an item names its number.
pub(super) fn kind(number: u64) -> String {
    format!("item-{number}")
}

/// Whether this is what the item of the number should have become.
pub(super) fn compare(number: u64, found: &[OwnedTensor]) -> Result<()> {
    let item = make(number);
    ensure!(found.len() == item.tensors.len(), "item {number} has {} tensors", found.len());
    for (wanted, found) in item.tensors.iter().zip(found) {
        let name = &wanted.name;
        ensure!(
            *name == found.name && wanted.shape == found.shape,
            "item {number}: {name} is {}",
            found.name
        );
        let omnimind_memory::TensorData::Host(original) = &wanted.data else { continue };
        let lossy = wanted.shape.len() == 2 && item.policy.is_none();
        // The default bound is 0.006.
        let limit = if lossy { 0.006 } else { 0.0 };
        let error =
            if lossy { rel_l2_error(original, &found.bytes) } else { f64::from(**original != *found.bytes) };
        ensure!(error <= limit, "item {number}: {name} came back with error {error}");
    }
    Ok(())
}

fn matrix(name: &str, seed: u64, rows: usize, columns: usize) -> NamedTensor<'static> {
    NamedTensor::host(name, DType::F32, [rows, columns], floats(seed, rows * columns))
}

fn floats(seed: u64, count: usize) -> Vec<u8> {
    let mut random = Random(seed);
    let mut bell = || (0..4).map(|_| random.unit()).sum::<f64>() - 2.0;
    (0..count).flat_map(|_| (0.05 * bell() as f32).to_le_bytes()).collect()
}

fn rel_l2_error(original: &[u8], found: &[u8]) -> f64 {
    if original.len() != found.len() {
        return f64::INFINITY;
    }
    let values = |bytes: &[u8]| -> Vec<f64> {
        bytes.as_chunks::<4>().0.iter().map(|x| f64::from(f32::from_le_bytes(*x))).collect()
    };
    let (x, y) = (values(original), values(found));
    let error: f64 = x.iter().zip(&y).map(|(x, y)| (x - y).powi(2)).sum();
    (error / x.iter().map(|x| x.powi(2)).sum::<f64>()).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_the_same_whenever_it_is_made_and_a_changed_one_is_noticed() {
        let owned = |number| -> Vec<OwnedTensor> {
            let tensors = make(number).tensors.into_iter().map(|tensor| {
                let omnimind_memory::TensorData::Host(bytes) = tensor.data else {
                    panic!("host tensors only")
                };
                let (name, dtype, shape, bytes) =
                    (tensor.name, tensor.dtype, tensor.shape, bytes.into_owned());
                OwnedTensor { name, dtype, shape, bytes, max_abs_error: 0.0, rel_l2_error: 0.0 }
            });
            tensors.collect()
        };
        compare(7, &owned(7)).unwrap();
        let mut damaged = owned(8);
        damaged[2].bytes[0] ^= 1;
        assert!(compare(8, &damaged).unwrap_err().to_string().contains("bias"));
        assert!(compare(7, &owned(12)).is_err());
    }
}
