//! Group "embeddings": do real weights and embeddings come back as they were, and are they found by what resembles them? Each test
//! begins on a card on which nothing of another is left.

#![allow(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::sync::Arc;

use end_to_end::{
    StoredTensor, context,
    groups::{card, held_bytes},
    minilm_slice, rel_l2, sentence_embeddings, upload,
};
use omnimind_memory::{Consolidator, ContentHash, DType, DeviceMemory, DeviceTensor, Item};
use tempfile::TempDir;

const CARD_BYTES: u64 = 64 << 20;
/// What is promised where nothing else is said.
const DEFAULT_REL_L2: f64 = 0.006;

fn begin() -> (TempDir, Arc<dyn DeviceMemory>, Consolidator) {
    let (dir, gpu) = (tempfile::tempdir().unwrap(), card(CARD_BYTES));
    let consolidator =
        Consolidator::builder().store(dir.path().join("store")).gpu(gpu.clone()).build().unwrap();
    (dir, gpu, consolidator)
}

/// Consolidates an item that must be new, and checks that the card has back what it held.
fn consolidated(consolidator: &Consolidator, item: Item<'_>) -> omnimind_memory::Outcome {
    let mut done = consolidator.consolidate(vec![item], &context("embedder"));
    assert!(done.failed.is_empty(), "{}", done.failed[0].error);
    let outcome = done.outcomes.pop().unwrap();
    assert!(outcome.still_held.is_empty() && outcome.warning.is_none());
    outcome
}

fn read(gpu: &dyn DeviceMemory, tensor: &DeviceTensor) -> Vec<u8> {
    let mut bytes = vec![0; tensor.allocation.bytes() as usize];
    gpu.read(&tensor.allocation, 0, &mut bytes).unwrap();
    bytes
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|&value| f32::from_le_bytes(value)).collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot =
        |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// The embeddings as one tensor.
fn table(rows: &[Vec<f32>]) -> StoredTensor {
    let bytes = rows.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
    StoredTensor {
        name: "embeddings".to_owned(),
        dtype: DType::F32,
        shape: vec![rows.len(), rows[0].len()],
        bytes,
    }
}

#[test]
fn real_weights_leave_the_card_and_come_back_within_their_bound() {
    // R4, R7, R9, R15
    let (_dir, gpu, consolidator) = begin();
    let (before, model) = (held_bytes(&*gpu), minilm_slice().unwrap());
    let item = Item::new("model", upload(&*gpu, &model));
    assert!(held_bytes(&*gpu) > before);
    let outcome = consolidated(&consolidator, item);
    assert_eq!(held_bytes(&*gpu), before, "all of it left the card");
    assert!(outcome.rel_l2_error <= DEFAULT_REL_L2 && outcome.ratio < 0.5, "{outcome:?}");

    let back = consolidator.reactivate_on_device(&outcome.content_hash, &context("embedder")).unwrap();
    assert!(back.warning.is_none());
    for (original, tensor) in model.iter().zip(back.tensors) {
        assert_eq!((&original.name, &original.shape), (&tensor.name, &tensor.shape));
        let error = rel_l2(tensor.dtype, &original.bytes, &read(&*gpu, &tensor));
        let bound = if original.shape.len() < 2 { 0.0 } else { DEFAULT_REL_L2 };
        assert!(error <= bound, "{}: {error}", tensor.name);
        gpu.free(tensor.allocation).unwrap();
    }
    assert_eq!(held_bytes(&*gpu), before);
}

#[test]
fn embeddings_point_where_they_did_after_their_return() {
    // R7, R15
    let (_dir, gpu, consolidator) = begin();
    let rows = sentence_embeddings().unwrap();
    let original = table(&rows);
    let outcome = consolidated(&consolidator, Item::new("embeddings", upload(&*gpu, &[original])));
    let back = consolidator.reactivate_on_device(&outcome.content_hash, &context("embedder")).unwrap();
    let restored = floats(&read(&*gpu, &back.tensors[0]));
    for (at, (row, restored)) in rows.iter().zip(restored.chunks_exact(rows[0].len())).enumerate() {
        let cosine = cosine(row, restored);
        assert!(cosine > 0.9999, "sentence {at}: {cosine}");
    }
    for tensor in back.tensors {
        gpu.free(tensor.allocation).unwrap();
    }
}

#[test]
fn a_sentence_is_recalled_by_one_that_resembles_it() {
    // R7, R26
    const MEMORIES: usize = 32;
    let (_dir, gpu, consolidator) = begin();
    let rows = sentence_embeddings().unwrap();
    let remember = |row: &Vec<f32>| -> ContentHash {
        let mut item = Item::new("sentence", upload(&*gpu, &[table(std::slice::from_ref(row))]));
        item.signature = Some(row.clone());
        consolidated(&consolidator, item).content_hash
    };
    let hashes: Vec<_> = rows[..MEMORIES].iter().map(remember).collect();
    for (row, hash) in rows[..MEMORIES].iter().zip(&hashes) {
        // Something of another sentence is in it.
        let query: Vec<f32> = row.iter().zip(&rows[MEMORIES]).map(|(own, other)| own + 0.2 * other).collect();
        let familiar = consolidator.deja_vu(&context("reader"), &query, 2).unwrap();
        assert_eq!(familiar[0].content_hash, *hash);
        assert!(familiar[0].familiar && f64::from(familiar[0].similarity) > 0.9, "{familiar:?}");
        let back = consolidator.reactivate(hash, &context("reader")).unwrap();
        assert!(cosine(row, &floats(&back.tensors[0].bytes)) > 0.9999);
        assert!(back.warning.is_some(), "the reader was not in its trace");
    }
}

#[test]
fn the_same_weights_from_another_place_on_the_card_are_stored_once() {
    // R5
    let (_dir, gpu, consolidator) = begin();
    let model = minilm_slice().unwrap();
    let first = consolidated(&consolidator, Item::new("model", upload(&*gpu, &model)));
    let _elsewhere = gpu.allocate(0, 4096).unwrap();
    let again = consolidated(&consolidator, Item::new("model", upload(&*gpu, &model)));
    assert_eq!((first.content_hash, first.new, again.new), (again.content_hash, true, false));
    assert!(again.freed_bytes >= again.original_bytes);
    assert_eq!(consolidator.stats().unwrap().total_consolidated, 1);
}
