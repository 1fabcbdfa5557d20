//! Whole frames into memory and back, hashing included; and the way of a user: through the facade into a store, and back.

use std::io::Cursor;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use gpu_probe::DeviceMemory;
use omnimind_memory::{Consolidator, DType, Item, NamedTensor, ProcessContext};
use softhair_compress::{Codec, TensorView};

use super::rows::{Goal, Row, Rows};
use super::{Options, POLICY, Tensor, differ, gb_per_s, median, mib, timed};

/// Bringing a tensor through a store takes long, and writes as much as it stores.
const STORE_ROUNDS: usize = 3;

pub(super) fn frames(tensor: &Tensor<'_>, options: &Options, rows: &mut Rows) -> Result<()> {
    let mut codec = tensor.codec(options, options.staging_bytes)?;
    let (original, restored) = (tensor.original.address(), tensor.restored.address());
    let (dtype, bytes) = (tensor.dtype, tensor.bytes());
    let what = |what: &str| format!("{dtype}: {what}");

    // What was there before must not pass for what was restored.
    tensor.gpu.write(&tensor.restored, 0, &vec![0xff; 1 << 20][..(1 << 20).min(bytes as usize)])?;
    same_as_the_processor(tensor, options, &mut codec, rows)?;

    let mut frame = Cursor::new(Vec::new());
    let took = median(options.rounds, || {
        frame.set_position(0);
        let (done, took) = timed(|| codec.compress_to(dtype, &tensor.shape, original, POLICY, &mut frame));
        done?;
        Ok(took)
    })?;
    let peer = options.peers.get("PyTorch, tensor.cpu()");
    let with_peer = |row: Row| if let Some(peer) = peer.clone() { row.peer(peer) } else { row };
    rows.push(with_peer(Row::new(
        what("whole frame into memory, with checksum"),
        "GB/s",
        gb_per_s(bytes, took),
    )));
    let took = median(options.rounds, || {
        let (done, took) = timed(|| codec.restore_from(frame.get_ref().as_slice(), restored));
        done?;
        Ok(took)
    })?;
    rows.push(Row::new(what("whole frame from memory, with checksum"), "GB/s", gb_per_s(bytes, took)));
    let mut digest = None;
    let took = median(options.rounds, || {
        let (done, took) = timed(|| codec.digest(original, bytes));
        digest = Some(done?);
        Ok(took)
    })?;
    rows.push(Row::new(what("BLAKE3 of the tensor"), "GB/s", gb_per_s(bytes, took)));
    rows.push(Row::holds(what("BLAKE3 is the processor's"), digest == Some(tensor.weights.hash())));
    let error = tensor.weights.rel_l2(|at, out| Ok(tensor.gpu.read(&tensor.restored, at, out)?))?;
    rows.push(Row::new(what("relative L2 error, measured over all"), "rel", error).goal(Goal::AtMost(0.006)));
    rows.push(Row::holds(what("the bound holds over all"), error <= 0.006 && error > 0.0));
    Ok(())
}

/// The first rows: their frame, and what it restores to.
fn same_as_the_processor<C: softhair_compress::device::Card>(
    tensor: &Tensor<'_>,
    options: &Options,
    codec: &mut softhair_compress::device::DeviceCodec<C>,
    rows: &mut Rows,
) -> Result<()> {
    let row = super::data::COLUMNS * tensor.dtype.size_bytes();
    let (_, piece) = tensor.weights.pieces().next().context("the tensor is empty")?;
    let count = (options.compared_bytes as usize).min(piece.len()) / row;
    let shape = [count, super::data::COLUMNS];
    let view = TensorView::new(tensor.dtype, &shape, &piece[..count * row])?;
    let expected = Codec::new().compress(view, POLICY)?;
    let mut frame = Cursor::new(Vec::new());
    codec.compress_to(tensor.dtype, &shape, tensor.original.address(), POLICY, &mut frame)?;
    let what = |what: &str| format!("{}: {what} ({:.0} MiB)", tensor.dtype, mib((count * row) as u64));
    rows.push(Row::holds(what("the frame is the processor's"), frame.get_ref() == expected.as_bytes()));
    codec.restore_from(expected.as_bytes(), tensor.restored.address())?;
    let mut restored = vec![0; count * row];
    tensor.gpu.read(&tensor.restored, 0, &mut restored)?;
    rows.push(Row::holds(what("what it restores is the processor's"), restored == expected.decompress()?));
    Ok(())
}

/// A tensor leaves the card for a store, and comes back.
pub(super) fn through_a_store(gpu: &Arc<dyn DeviceMemory>, options: &Options, rows: &mut Rows) -> Result<()> {
    let tensor = Tensor::on(&**gpu, DType::F32, options.bytes)?;
    let bytes = tensor.bytes();
    let context = ProcessContext::new("bench")?;
    let (mut away, mut back, mut freed, mut stored) = (Vec::new(), Vec::new(), 0, 0);
    for round in 0..STORE_ROUNDS {
        let folder = options.stores.join(format!("omnimind-bench-gpu-{}-{round}", std::process::id()));
        let consolidator = Consolidator::builder().store(&folder).gpu(gpu.clone()).build()?;
        let through = (|| -> Result<()> {
            let held = gpu.allocate(0, bytes)?;
            for (at, piece) in tensor.weights.pieces() {
                gpu.write(&held, at, piece)?;
            }
            let before = gpu.memory(0)?.used_bytes;
            let item = Item::new("model", vec![NamedTensor::device("w", DType::F32, tensor.shape, held)]);
            let (mut consolidated, took) = timed(|| consolidator.consolidate(vec![item], &context));
            if let Some(failed) = consolidated.failed.pop() {
                return Err(failed.error.into());
            }
            away.push(took);
            let outcome = consolidated.outcomes.pop().context("nothing is said of the tensor")?;
            freed = before.saturating_sub(gpu.memory(0)?.used_bytes);
            stored = outcome.stored_bytes;
            let (restored, took) =
                timed(|| consolidator.reactivate_on_device(&outcome.content_hash, &context));
            back.push(took);
            for tensor in restored?.tensors {
                gpu.free(tensor.allocation).map_err(|failed| failed.source)?;
            }
            let notices = consolidator.notices();
            ensure!(notices.is_empty(), "the consolidator says: {notices:?}");
            Ok(())
        })();
        drop(consolidator);
        let removed = std::fs::remove_dir_all(&folder);
        through?;
        removed.with_context(|| format!("removing {}", folder.display()))?;
    }
    away.sort();
    back.sort();
    let (away, back) = (away[STORE_ROUNDS / 2], back[STORE_ROUNDS / 2]);
    let place = options.stores.display();
    rows.push(Row::new(format!("consolidate into a store in {place}"), "GB/s", gb_per_s(bytes, away)));
    rows.push(Row::new(format!("reactivate on the card from {place}"), "GB/s", gb_per_s(bytes, back)));
    rows.push(
        Row::new("freed on the card by consolidating", "MiB", mib(freed)).goal(Goal::AtLeast(mib(bytes))),
    );
    rows.push(Row::new("stored of it", "MiB", mib(stored)));
    ensure!(freed >= bytes, differ("the bytes of the tensor and those that were freed"));
    tensor.free()
}
