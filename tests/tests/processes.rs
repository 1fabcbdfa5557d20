//! Several processes on one store, and a disk that is full (R10, R11).

#![allow(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::{
    collections::BTreeSet,
    path::Path,
    process::{Command, Stdio},
};

use end_to_end::{Rig, context, distinct_items, minilm_slice};
use omnimind_memory::{Filter, Item};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

#[test]
fn four_processes_consolidate_overlapping_items_at_once_and_all_are_there_each_once() {
    // R5, R10
    const WORKERS: usize = 4;
    const ITEMS: usize = 200;
    let rig = Rig::new();
    let store = rig.dir.path().join("store");
    let children: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let mut command = Command::new(WORKER);
            command.arg("overlapping").arg(&store).args([worker.to_string(), ITEMS.to_string()]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let mut acknowledged = Vec::new();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let hashes: Vec<String> =
            String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
        assert_eq!(hashes.len(), ITEMS);
        acknowledged.extend(hashes);
    }

    let listed = rig.consolidator.store().list(&Filter::default()).unwrap();
    let names: BTreeSet<String> = listed.iter().map(|memory| memory.content_hash.to_string()).collect();
    assert_eq!(names.len(), listed.len(), "each once");
    assert_eq!(names, acknowledged.into_iter().collect(), "all that was acknowledged, and nothing else");
    assert_eq!(listed.len(), distinct_items(WORKERS, ITEMS));
    let stats = rig.consolidator.stats().unwrap();
    let own = ITEMS / 4;
    assert_eq!(
        stats.activation_traces as usize,
        WORKERS * ITEMS,
        "every worker is in the trace of all of its own"
    );
    assert_eq!(rig.consolidator.traced_by(&context("worker 2")).unwrap().len(), ITEMS);
    assert_eq!(stats.total_consolidated as usize, ITEMS - own + WORKERS * own);

    let report = rig.consolidator.store().verify(false).unwrap();
    assert!(report.damaged_objects.is_empty() && report.damaged_memories.is_empty(), "{report:?}");
    let garbage = rig.consolidator.store().gc().unwrap();
    assert_eq!(garbage.removed_objects, 0, "nothing was stored twice or left over");
    rig.consolidator.reactivate(&listed[0].content_hash, &context("a")).unwrap();
}

#[cfg(unix)]
#[test]
fn a_full_disk_is_a_clear_error_and_leaves_the_store_intact() {
    // R11
    let (rig, model) = (Rig::new(), minilm_slice().unwrap());
    let item = Item::new("model", vec![model[1].named()]);
    let before = rig.consolidator.consolidate(vec![item], &context("a")).outcomes[0].content_hash;
    // From "not even the catalogue" to "all but the largest tensor", in blocks of 512 bytes.
    for blocks in [0, 1, 16, 64, 256, 400] {
        let error = consolidate_with_files_up_to(blocks, &rig.dir.path().join("store"));
        assert!(!error.is_empty(), "with {blocks} blocks");
        let listed = rig.consolidator.store().list(&Filter::default()).unwrap();
        assert_eq!(listed.len(), 1, "with {blocks} blocks: {error}");
        let report = rig.consolidator.store().verify(false).unwrap();
        assert!(report.damaged_objects.is_empty() && report.damaged_memories.is_empty(), "{report:?}");
        assert!(report.catalogue_errors.is_empty(), "{report:?}");
        let back = rig.consolidator.reactivate(&before, &context("a")).unwrap();
        assert!(back.tensors[0].bytes == model[1].bytes);
    }
    let unlimited = Command::new(WORKER).arg("whole").arg(rig.dir.path().join("store")).status().unwrap();
    assert!(unlimited.success(), "the store goes on working");
}

#[cfg(unix)]
#[test]
fn the_error_of_a_full_disk_says_what_to_do() {
    // R11
    let rig = Rig::new();
    let error = consolidate_with_files_up_to(256, &rig.dir.path().join("store"));
    assert!(error.contains("no space left") && error.contains("gc"), "{error}");
}

/// What a worker says that may not make any file longer than so many blocks of 512 bytes.
#[cfg(unix)]
fn consolidate_with_files_up_to(blocks: u32, store: &Path) -> String {
    // The signal is ignored, so that the limit is an error as a full disk is, and not the end of the process.
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" whole \"$1\"");
    let output = Command::new("sh").arg("-c").arg(script).arg(WORKER).arg(store).output().unwrap();
    assert!(!output.status.success(), "a file grew beyond {blocks} blocks");
    String::from_utf8_lossy(&output.stderr).into_owned()
}
