//! What was born of a failure: sealed whole, refused to the process that lived it, readable by the keyholder (R7, R19).

#![allow(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::{fs, path::Path};

use encrypted_unconscious::{BundleReader, Identity};
use end_to_end::{Rig, StoredTensor, context, minilm_slice, rel_l2, sentence_embeddings, upload};
use gpu_probe::{DeviceMemory, Fault};
use omnimind_memory::{Error, ErrorClass, Item, Layer, Memory, NamedTensor, Signals, TensorData};
use softhair_compress::FrameReader;

fn crashed(tensors: Vec<NamedTensor<'_>>) -> Item<'_> {
    let mut item = Item::new("model", tensors);
    item.signals = Signals {
        error_type: Some("OOM".into()),
        severity: Some("critical".into()),
        text: Some("torch.OutOfMemoryError: CUDA out of memory. A secret prompt was running.".into()),
        ..Signals::default()
    };
    item.metadata.insert("prompt".to_owned(), "a secret prompt".into());
    item
}

fn sealing_rig() -> (Rig, Identity) {
    let identity = Identity::generate();
    let recipient = identity.recipient().clone();
    (Rig::with(|builder| builder.keyholder(recipient)), identity)
}

#[test]
fn a_crashed_model_is_sealed_whole_freed_and_refused_with_the_reason() {
    // R1, R4, R7, R19
    let ((rig, identity), model) = (sealing_rig(), minilm_slice().unwrap());
    let mut item = crashed(upload(&*rig.gpu, &model));
    item.signature = Some(sentence_embeddings().unwrap()[3].clone());
    let consolidated = rig.consolidator.consolidate(vec![item], &context("trainer"));
    assert!(consolidated.failed.is_empty(), "{:?}", consolidated.failed);
    let outcome = &consolidated.outcomes[0];
    assert_eq!((outcome.layer, outcome.classification.traumatic), (Layer::Unconscious, true));
    assert!(outcome.freed_bytes >= outcome.original_bytes && rig.used_bytes() == 0);
    assert!(outcome.ratio < 0.3, "sealed is compressed, too");

    for error in [
        rig.consolidator.reactivate(&outcome.content_hash, &context("trainer")).unwrap_err(),
        rig.consolidator.reactivate_each(&outcome.content_hash, &context("x"), |_| Ok(())).unwrap_err(),
        rig.consolidator.reactivate_on_device(&outcome.content_hash, &context("x")).unwrap_err(),
    ] {
        assert_eq!(error.class(), ErrorClass::Refused);
        let text = error.to_string();
        assert!(
            text.contains("sealed") && text.contains("failure") && text.contains("keyholder's identity"),
            "{text}"
        );
    }
    let query = &sentence_embeddings().unwrap()[3];
    assert_eq!(
        rig.consolidator.deja_vu(&context("trainer"), query, 5).unwrap(),
        [],
        "its signature is sealed as well"
    );

    let memory = rig.consolidator.store().manifest(&outcome.content_hash).unwrap();
    let beside: Vec<_> = memory.tensors.iter().map(|tensor| tensor.dtype.as_str()).collect();
    assert_eq!(beside, ["rlwe64"], "its signature, encrypted");
    assert!(memory.metadata.is_empty() && memory.signature.is_none());
    assert_eq!(memory.traces[0].context, "trainer");
    disclosed_is(&rig, &identity, &memory, &model);
}

/// What the keyholder finds in the object, against what was sealed.
fn disclosed_is(rig: &Rig, identity: &Identity, memory: &Memory, model: &[StoredTensor]) {
    let object = rig.consolidator.store().read_object(&memory.sealed.unwrap()).unwrap();
    let mut bundle = BundleReader::new(identity.open(object).unwrap()).unwrap();
    let metadata: serde_json::Value = serde_json::from_str(&bundle.header().metadata).unwrap();
    assert_eq!((&metadata["prompt"], &metadata["severity"]), (&"a secret prompt".into(), &"critical".into()));
    assert!(metadata["error_text"].as_str().unwrap().contains("out of memory"));
    assert_eq!(bundle.header().kind, "model");
    for original in model {
        let frame = bundle.next_frame().unwrap().expect("a frame for every tensor");
        assert_eq!(frame.entry().name, original.name);
        let mut bytes = Vec::new();
        let header = FrameReader::new(frame).unwrap().decompress_to(&mut bytes).unwrap();
        assert_eq!((header.dtype, &header.shape), (original.dtype, &original.shape));
        assert!(rel_l2(original.dtype, &original.bytes, &bytes) <= 0.006, "{}", original.name);
    }
    assert!(bundle.next_frame().unwrap().is_none());
}

#[test]
fn nothing_of_a_sealed_item_lies_open_in_the_store() {
    // R19
    let ((rig, _), model) = (sealing_rig(), minilm_slice().unwrap());
    let consolidated =
        rig.consolidator.consolidate(vec![crashed(vec![model[1].named()])], &context("trainer"));
    assert_eq!(consolidated.outcomes.len(), 1);
    each_file(rig.dir.path(), &mut |path, bytes| {
        for secret in [
            b"SOFTHAIR".as_slice(),
            b"secret prompt",
            b"out of memory",
            model[1].name.as_bytes(),
            &model[1].bytes[..32],
        ] {
            let found = bytes.windows(secret.len()).any(|window| window == secret);
            assert!(!found, "{secret:?} is in {}", path.display());
        }
    });
}

fn each_file(dir: &Path, visit: &mut dyn FnMut(&Path, &[u8])) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            each_file(&path, visit);
        } else {
            visit(&path, &fs::read(&path).unwrap());
        }
    }
}

#[test]
fn without_a_keyholder_a_traumatic_item_is_given_back_and_the_error_says_how_to_make_one() {
    // R4, R19
    let (rig, model) = (Rig::new(), minilm_slice().unwrap());
    let consolidated =
        rig.consolidator.consolidate(vec![crashed(upload(&*rig.gpu, &model[..2]))], &context("a"));
    let failed = &consolidated.failed[0];
    assert!(matches!(failed.error, Error::NoKeyholder { .. }));
    assert!(failed.error.to_string().contains("omnimind keyholder init"), "{}", failed.error);
    assert!(failed.item.tensors.iter().all(|tensor| matches!(tensor.data, TensorData::Device(_))));
    assert!(rig.used_bytes() > 0);
    assert_eq!(rig.consolidator.stats().unwrap().total_consolidated, 0);
}

#[test]
fn the_same_crash_twice_is_sealed_once_and_frees_vram_twice() {
    // R5, R8
    let ((rig, _), model) = (sealing_rig(), minilm_slice().unwrap());
    let seal = || {
        let item = crashed(upload(&*rig.gpu, &model[..2]));
        rig.consolidator.consolidate(vec![item], &context("a")).outcomes.remove(0)
    };
    let (first, second) = (seal(), seal());
    assert_eq!((first.content_hash, second.new), (second.content_hash, false));
    assert_eq!((second.freed_bytes, rig.used_bytes()), (first.freed_bytes, 0));
    let stats = rig.consolidator.stats().unwrap();
    assert_eq!((stats.objects, stats.freed_bytes), (1, 2 * first.freed_bytes));
    assert_eq!(rig.consolidator.store().gc().unwrap().removed_objects, 0);
}

#[test]
fn a_damaged_sealed_object_is_never_the_reason_to_free_vram() {
    // R4, R11
    let ((rig, identity), model) = (sealing_rig(), minilm_slice().unwrap());
    let first = rig.consolidator.consolidate(vec![crashed(upload(&*rig.gpu, &model[..2]))], &context("a"));
    let hash = first.outcomes[0].content_hash;
    let sealed = rig.consolidator.store().manifest(&hash).unwrap().sealed.unwrap().hash.to_string();
    let object = rig.dir.path().join("store/objects").join(&sealed[..2]).join(&sealed[2..]);
    let mut bytes = fs::read(&object).unwrap();
    bytes[500] ^= 1;
    fs::remove_file(&object).unwrap();
    fs::write(&object, &bytes).unwrap();

    let mut again =
        rig.consolidator.consolidate(vec![crashed(upload(&*rig.gpu, &model[..2]))], &context("a"));
    if let Some(failed) = again.failed.pop() {
        assert_eq!(failed.error.class(), ErrorClass::Damaged, "{}", failed.error);
        assert!(rig.used_bytes() > 0, "nothing was freed");
        rig.consolidator.store().verify(true).unwrap();
        again = rig.consolidator.consolidate(vec![failed.item], &context("a"));
    }
    assert!(again.failed.is_empty(), "{:?}", again.failed);
    assert_eq!(rig.used_bytes(), 0);
    let memory = rig.consolidator.store().manifest(&hash).unwrap();
    disclosed_is(&rig, &identity, &memory, &model[..2]);
}

#[test]
fn a_device_that_fails_while_sealing_gives_the_item_back() {
    // R4, R19
    let model = minilm_slice().unwrap();
    // Hashing, rehearsing and sealing each read the two tensors.
    for after in 0..6 {
        let (rig, _) = sealing_rig();
        let item = crashed(upload(&*rig.gpu, &model[1..3]));
        let used = rig.used_bytes();
        rig.gpu.inject(0, Fault::Read { after }).unwrap();
        let mut consolidated = rig.consolidator.consolidate(vec![item], &context("a"));
        let failed = consolidated.failed.pop().expect("a failure");
        assert!(matches!(failed.error, Error::Device { .. }), "after {after}: {}", failed.error);
        assert_eq!(rig.used_bytes(), used);
        rig.gpu.clear_faults(0).unwrap();
        for (tensor, original) in failed.item.tensors.iter().zip(&model[1..3]) {
            let TensorData::Device(allocation) = &tensor.data else { panic!("{tensor:?}") };
            let mut bytes = vec![0; original.bytes.len()];
            rig.gpu.read(allocation, 0, &mut bytes).unwrap();
            assert_eq!(bytes, original.bytes);
        }
        let again = rig.consolidator.consolidate(vec![failed.item], &context("a"));
        assert_eq!((again.outcomes.len(), rig.used_bytes()), (1, 0));
    }
}
