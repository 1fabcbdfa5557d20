//! The last step before a memory exists fails, and the first ones after it do (R4).

#![allow(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::sync::Arc;

use encrypted_unconscious::Identity;
use end_to_end::{CatalogueFault, FaultyCatalogue, Rig, context, minilm_slice, upload};
use memory_store::{Options, Store};
use omnimind_memory::{Item, Signals};

fn faulty_rig() -> (Rig, Arc<FaultyCatalogue>) {
    let mut catalogue = None;
    let rig = Rig::with_dir(|builder, dir| {
        let (objects, inner) = Store::parts(&dir.join("store"), &Options::default()).unwrap();
        let faulty = Arc::new(FaultyCatalogue::new(inner));
        catalogue = Some(faulty.clone());
        let keyholder = Identity::generate().recipient().clone();
        builder.over(Store::over(Arc::new(objects), faulty)).keyholder(keyholder)
    });
    (rig, catalogue.unwrap())
}

#[test]
fn a_commit_that_fails_gives_the_item_back_whichever_layer_it_was_for() {
    // R4
    let (rig, catalogue) = faulty_rig();
    let model = minilm_slice().unwrap();
    for severity in [None, Some("critical".to_owned())] {
        let mut item = Item::new("model", upload(&*rig.gpu, &model[..2]));
        item.signals = Signals { error_type: Some("OOM".to_owned()), severity, ..Signals::default() };
        let used = rig.used_bytes();
        catalogue.set(Some(CatalogueFault::Commit));
        let mut consolidated = rig.consolidator.consolidate(vec![item], &context("a"));
        let failed = consolidated.failed.pop().unwrap();
        assert!(failed.error.to_string().contains("an injected fault"), "{}", failed.error);
        assert_eq!(rig.used_bytes(), used, "nothing was freed");
        catalogue.set(None);
        let stored = rig.consolidator.stats().unwrap().total_consolidated;
        let again = rig.consolidator.consolidate(vec![failed.item], &context("a"));
        assert_eq!((again.outcomes.len(), rig.used_bytes()), (1, 0));
        assert_eq!(rig.consolidator.stats().unwrap().total_consolidated, stored + 1);
    }
    // A commit that fails may leave objects that nothing refers to; collecting them is `gc`'s.
    rig.consolidator.store().gc().unwrap();
    let report = rig.consolidator.store().verify(false).unwrap();
    assert_eq!((report.memories, report.unreferenced_objects, report.damaged_objects.len()), (2, 0, 0));
}

#[test]
fn known_content_whose_commit_fails_is_not_freed_either() {
    // R4, R5
    let (rig, catalogue) = faulty_rig();
    let model = minilm_slice().unwrap();
    let item = || Item::new("model", upload(&*rig.gpu, &model[..2]));
    assert_eq!(rig.consolidator.consolidate(vec![item()], &context("a")).outcomes.len(), 1);
    catalogue.set(Some(CatalogueFault::Commit));
    let consolidated = rig.consolidator.consolidate(vec![item()], &context("b"));
    assert_eq!(consolidated.failed.len(), 1);
    assert!(rig.used_bytes() > 0);
}

#[test]
fn statistics_that_cannot_be_kept_are_a_warning_and_not_a_failure() {
    // R4, R8
    let (rig, catalogue) = faulty_rig();
    let model = minilm_slice().unwrap();
    catalogue.set(Some(CatalogueFault::Freed));
    let item = Item::new("model", upload(&*rig.gpu, &model[..2]));
    let outcome = rig.consolidator.consolidate(vec![item], &context("a")).outcomes.remove(0);
    assert!(outcome.warning.unwrap().contains("an injected fault"));
    assert!(outcome.freed_bytes > 0 && rig.used_bytes() == 0);
}

#[test]
fn a_trace_that_cannot_be_recorded_does_not_keep_a_memory_from_coming_back() {
    // R7
    let (rig, catalogue) = faulty_rig();
    let model = minilm_slice().unwrap();
    let item = Item::new("model", vec![model[1].named()]);
    let hash = rig.consolidator.consolidate(vec![item], &context("a")).outcomes[0].content_hash;
    catalogue.set(Some(CatalogueFault::Trace));
    let back = rig.consolidator.reactivate(&hash, &context("b")).unwrap();
    assert!(back.tensors[0].bytes == model[1].bytes);
    let message = back.warning.unwrap().message;
    assert!(message.contains("could not be added") && message.contains("an injected fault"), "{message}");
}
