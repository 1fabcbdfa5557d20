//! The main job on real weights: consolidate, free, find by similarity, bring back within the bound.

#![allow(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use end_to_end::{Rig, context, minilm_slice, rel_l2, sentence_embeddings, upload};
use omnimind_memory::{
    Consolidator, ErrorClass, GpuProbe, Item, Layer, LayerName, NamedTensor, Policy, ProcessContext, Signals,
};
use softhair_compress::DEFAULT_REL_L2;

#[test]
fn a_real_model_leaves_vram_is_found_by_similarity_and_comes_back_within_its_bound() {
    // R3, R4, R6, R7, R26
    let (rig, model, sentences) = (Rig::new(), minilm_slice().unwrap(), sentence_embeddings().unwrap());
    let held = rig.used_bytes();
    let mut item = Item::new("model", upload(&*rig.gpu, &model));
    item.signature = Some(sentences[7].clone());
    item.metadata.insert("epoch".to_owned(), 3.into());
    let original_bytes = item.original_bytes();
    assert!(rig.used_bytes() >= held + original_bytes);

    let consolidated = rig.consolidator.consolidate(vec![item], &context("embeddings"));
    assert!(consolidated.failed.is_empty(), "{:?}", consolidated.failed);
    let outcome = &consolidated.outcomes[0];
    assert_eq!((outcome.layer, outcome.new, outcome.tensors), (Layer::Preconscious, true, model.len()));
    assert!(outcome.freed_bytes >= original_bytes && outcome.still_held.is_empty());
    assert_eq!(rig.used_bytes(), held, "all VRAM is free again");
    assert!(outcome.ratio < 0.3, "stored {} of {original_bytes}", outcome.stored_bytes);

    let familiar = rig.consolidator.deja_vu(&context("embeddings"), &sentences[7], 3).unwrap();
    assert_eq!(familiar[0].content_hash, outcome.content_hash);
    assert!(familiar[0].familiar && familiar[0].recallable && familiar[0].in_trace);

    let back = rig.consolidator.reactivate(&outcome.content_hash, &context("embeddings")).unwrap();
    assert_eq!(back.warning, None);
    assert_eq!(back.memory.metadata["epoch"], 3);
    assert_eq!(back.memory.summary.bound, "default");
    assert_eq!(back.tensors.len(), model.len());
    for (original, restored) in model.iter().zip(&back.tensors) {
        assert_eq!(
            (&original.name, original.dtype, &original.shape),
            (&restored.name, restored.dtype, &restored.shape)
        );
        let error = rel_l2(original.dtype, &original.bytes, &restored.bytes);
        assert!(
            error <= DEFAULT_REL_L2 && error <= restored.rel_l2_error * 1.000_001,
            "{}: {error}",
            original.name
        );
        assert!(
            original.shape.len() > 1 || original.bytes == restored.bytes,
            "R9: {} is exact",
            original.name
        );
    }
}

#[test]
fn a_memory_comes_back_onto_the_gpu_and_can_be_consolidated_again() {
    // R4, R5, R7
    let (rig, model) = (Rig::new(), minilm_slice().unwrap());
    let mut item = Item::new("model", upload(&*rig.gpu, &model));
    item.policy = Some(Policy::Exact);
    let first = rig.consolidator.consolidate(vec![item], &context("a")).outcomes.remove(0);
    assert_eq!(rig.used_bytes(), 0);

    let back = rig.consolidator.reactivate_on_device(&first.content_hash, &context("a")).unwrap();
    assert!(rig.used_bytes() >= first.original_bytes);
    let mut again = Item::new("model", back.tensors.into_iter().map(NamedTensor::from).collect());
    again.policy = Some(Policy::Exact);
    let second = rig.consolidator.consolidate(vec![again], &context("a")).outcomes.remove(0);
    assert_eq!((second.content_hash, second.new), (first.content_hash, false));
    assert_eq!(second.freed_bytes, first.freed_bytes, "VRAM is freed for known content too");
    assert_eq!(rig.used_bytes(), 0);
}

#[test]
fn the_streaming_form_gives_the_same_bytes() {
    // R7
    let (rig, model) = (Rig::new(), minilm_slice().unwrap());
    let hash = remember(&rig.consolidator, "model", &model).content_hash;
    let whole = rig.consolidator.reactivate(&hash, &context("a")).unwrap();
    let mut streamed = Vec::new();
    rig.consolidator
        .reactivate_each(&hash, &context("a"), |tensor| {
            let (name, mut bytes) = (tensor.name().to_owned(), Vec::new());
            tensor.write_to(&mut bytes)?;
            streamed.push((name, bytes));
            Ok(())
        })
        .unwrap();
    assert_eq!(streamed, whole.tensors.into_iter().map(|t| (t.name, t.bytes)).collect::<Vec<_>>());
}

#[test]
fn the_same_content_twice_is_stored_once_and_shared_tensors_once() {
    // R5, R8
    let (rig, model) = (Rig::new(), minilm_slice().unwrap());
    let first = remember(&rig.consolidator, "model", &model);
    let objects = rig.consolidator.stats().unwrap().objects;
    let mut turned = model.clone();
    turned.reverse();
    let again = remember(&rig.consolidator, "model", &turned);
    assert_eq!((again.content_hash, again.new), (first.content_hash, false));
    assert_eq!(rig.consolidator.stats().unwrap().objects, objects);

    let other = remember(&rig.consolidator, "model", &model[1..]);
    assert!(other.new && other.content_hash != first.content_hash);
    let stats = rig.consolidator.stats().unwrap();
    assert_eq!(
        (stats.total_consolidated, stats.objects),
        (2, objects),
        "every tensor of the second was there"
    );
    assert_eq!(stats.total_original_bytes, first.original_bytes + other.original_bytes);
    assert_eq!(stats.total_compressed_bytes, first.stored_bytes);
}

#[test]
fn a_context_outside_the_trace_may_recall_is_recorded_and_is_told_once() {
    // R7, R25
    let (rig, model) = (Rig::new(), minilm_slice().unwrap());
    let hash = remember(&rig.consolidator, "model", &model[..3]).content_hash;
    let recall = |name: &str| rig.consolidator.reactivate(&hash, &context(name)).unwrap().warning;
    assert_eq!(recall("a"), None, "it consolidated the memory");
    let warning = recall("stranger").expect("a warning");
    assert!(
        warning.message.contains("stranger") && warning.message.contains(&hash.to_string()),
        "{}",
        warning.message
    );
    assert_eq!(recall("stranger"), None, "it is in the trace now");
    assert_eq!(rig.consolidator.traced_by(&context("stranger")).unwrap(), [hash]);
    assert_eq!(rig.consolidator.stats().unwrap().activation_traces, 2);
}

#[test]
fn an_unknown_hash_is_an_error_and_not_an_empty_answer() {
    // R7
    let rig = Rig::new();
    let hash = omnimind_memory::ContentHash::of(b"never stored");
    let error = rig.consolidator.reactivate(&hash, &context("a")).unwrap_err();
    assert_eq!(error.class(), ErrorClass::NotFound);
    assert!(error.to_string().contains(&hash.to_string()), "{error}");
    assert!(rig.consolidator.reactivate_on_device(&hash, &context("a")).is_err());
}

#[test]
fn statistics_count_what_was_consolidated_and_freed() {
    // R8
    let (rig, model) = (Rig::new(), minilm_slice().unwrap());
    let item = Item::new("model", upload(&*rig.gpu, &model));
    let outcome = rig.consolidator.consolidate(vec![item], &context("a")).outcomes.remove(0);
    let stats = rig.consolidator.stats().unwrap();
    assert_eq!((stats.total_consolidated, stats.activation_traces), (1, 1));
    assert_eq!(stats.freed_bytes, outcome.freed_bytes);
    assert_eq!(stats.total_original_bytes, outcome.original_bytes);
    assert!((stats.average_compression - outcome.ratio).abs() < 1e-9);
    let layer = &stats.layers[&LayerName::new("preconscious").unwrap()];
    assert_eq!((layer.total_consolidated, layer.freed_bytes), (1, outcome.freed_bytes));
}

#[test]
fn pressure_says_when_to_consolidate_and_does_not_flap() {
    // R2
    let rig = Rig::new();
    let total = rig.gpu.memory(0).unwrap().total_bytes;
    let fill = |fraction: f64| {
        rig.gpu.add_process(0, (fraction * 100.0) as u32, "other", (fraction * total as f64) as u64)
    };
    let pressed = || rig.consolidator.should_consolidate().unwrap();
    fill(0.80).unwrap();
    assert!(!pressed().consolidate);
    fill(0.06).unwrap();
    let pressure = pressed();
    assert!(pressure.consolidate && pressure.used_fraction > 0.85, "{pressure:?}");
    assert!(pressure.bytes_to_free > total / 11 && pressure.bytes_to_free < total / 8, "{pressure:?}");
    rig.gpu.remove_process(0, 6).unwrap();
    assert!(pressed().consolidate, "80 % is above the lower threshold");
    rig.gpu.remove_process(0, 80).unwrap();
    assert!(!pressed().consolidate);
}

#[test]
fn without_a_gpu_pressure_is_no_with_a_reason() {
    // R2, R28
    let dir = tempfile::tempdir().unwrap();
    let bare = Consolidator::builder().store(dir.path().join("s")).build().unwrap();
    let none = omnimind_memory::NoGpu::new("for this test");
    let with_none =
        Consolidator::builder().store(dir.path().join("t")).gpu(std::sync::Arc::new(none)).build().unwrap();
    for consolidator in [bare, with_none] {
        let pressure = consolidator.should_consolidate().unwrap();
        assert!(!pressure.consolidate && pressure.reason.contains("no GPU"), "{pressure:?}");
    }
}

#[test]
fn another_process_s_memories_are_found_and_what_it_forgot_is_not() {
    // R10, R25, R26
    let (rig, model, sentences) = (Rig::new(), minilm_slice().unwrap(), sentence_embeddings().unwrap());
    let other = Consolidator::builder().store(rig.dir.path().join("store")).build().unwrap();
    let find = |n: usize| rig.consolidator.deja_vu(&context("a"), &sentences[n], 1).unwrap();
    assert!(find(0).is_empty());
    let mut hashes = Vec::new();
    for n in 0..20 {
        let mut item = Item::new("sentence", vec![model[n % 11].named()]);
        item.signature = Some(sentences[n].clone());
        hashes.push(other.consolidate(vec![item], &context("b")).outcomes.remove(0).content_hash);
    }
    assert_eq!(find(13)[0].content_hash, hashes[13]);
    assert!(!find(13)[0].in_trace && find(13)[0].recallable);
    other.store().forget(&hashes[13]).unwrap();
    assert_ne!(find(13)[0].content_hash, hashes[13]);
}

#[test]
fn an_item_that_cannot_be_stored_does_not_hold_the_others_up() {
    // R4
    let (rig, model) = (Rig::new(), minilm_slice().unwrap());
    let good = Item::new("model", upload(&*rig.gpu, &model[..2]));
    let bad = Item::new("model", upload(&*rig.gpu, &[model[2].clone(), model[2].clone()]));
    let also_good = Item::new("model", vec![model[3].named()]);
    let mut consolidated = rig.consolidator.consolidate(vec![good, bad, also_good], &context("a"));
    assert_eq!(consolidated.outcomes.len(), 2);
    let failed = consolidated.failed.pop().unwrap();
    assert!(failed.error.to_string().contains("two tensors are named"), "{}", failed.error);
    assert_eq!(failed.item.tensors.len(), 2);
    assert!(rig.used_bytes() > 0, "the tensors of the item that failed are still on the GPU");
}

#[test]
fn what_the_item_says_of_an_error_decides_its_layer_and_is_kept() {
    // R3, R12
    let (rig, model) = (Rig::new(), minilm_slice().unwrap());
    let mut item = Item::new("model", vec![model[1].named()]);
    item.signals = Signals { error_type: Some("OOM".into()), ..Signals::default() };
    let outcome = rig.consolidator.consolidate(vec![item], &context("a")).outcomes.remove(0);
    assert_eq!(outcome.layer, Layer::Preconscious, "0.4 is not above 0.5");
    let memory = rig.consolidator.store().manifest(&outcome.content_hash).unwrap();
    assert_eq!((memory.summary.trauma_score, &memory.metadata["error_type"]), (0.4, &"OOM".into()));
}

fn remember(
    consolidator: &Consolidator,
    kind: &str,
    tensors: &[end_to_end::StoredTensor],
) -> omnimind_memory::Outcome {
    let item = Item::new(kind, tensors.iter().map(end_to_end::StoredTensor::named).collect());
    let mut consolidated = consolidator.consolidate(vec![item], &ProcessContext::new("a").unwrap());
    assert!(consolidated.failed.is_empty(), "{:?}", consolidated.failed);
    consolidated.outcomes.remove(0)
}
