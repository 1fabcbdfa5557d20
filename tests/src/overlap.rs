//! Items that several processes consolidate at once: most of them the same for all, every fourth a process's own.

use omnimind_memory::{DType, Item, NamedTensor};

use crate::StoredTensor;

/// Item number `at` of a worker. Its tensors are shared with other items, too.
///
/// # Panics
/// If `model` is not the shipped one.
#[must_use]
pub fn overlapping_item(model: &[StoredTensor], worker: usize, at: usize) -> Item<'_> {
    let content = content_number(worker, at);
    let rows = model.iter().find(|tensor| tensor.shape == [1000, 384]).expect("the word embeddings");
    let row = |number: usize| {
        let bytes = &rows.bytes[number % 1000 * 1536..][..1536];
        NamedTensor::host(format!("row {number}"), DType::F32, [1, 384], bytes)
    };
    let bias = model.iter().find(|tensor| tensor.shape == [384]).expect("a bias");
    let mut item = Item::new("model", vec![row(content), row(content + 1), bias.named()]);
    item.metadata.insert("content".to_owned(), content.into());
    item
}

/// How many different items there are, if every worker consolidates so many.
#[must_use]
pub fn distinct_items(workers: usize, items: usize) -> usize {
    let numbers = (0..workers).flat_map(|worker| (0..items).map(move |at| content_number(worker, at)));
    numbers.collect::<std::collections::BTreeSet<_>>().len()
}

fn content_number(worker: usize, at: usize) -> usize {
    if at.is_multiple_of(4) { 1000 * (worker + 1) + at } else { at }
}
