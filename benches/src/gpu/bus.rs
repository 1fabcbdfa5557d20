//! Kernels alone, and kernels with the bus: what a card could do if nothing else took time. Beside it plain copies of the same tensor,
//! which is what people do today.

use std::io::Cursor;

use anyhow::{Result, ensure};
use omnimind_memory::DType;
use softhair_compress::FrameReader;
use softhair_compress::device::Card;

use super::recording::{Given, Recording, What, Work};
use super::rows::{Goal, Row, Rows};
use super::{Options, POLICY, Tensor, differ, gb_per_s, median, mib};

/// How much is copied at once: enough for the bus to be busy.
const COPY_BYTES: usize = 32 << 20;

/// Measures kernels; and with the bus, if the staging memory is to take the whole compressed tensor.
pub(super) fn measure(tensor: &Tensor<'_>, options: &Options, with_bus: bool, rows: &mut Rows) -> Result<()> {
    let staging = if with_bus { options.wide_staging_bytes } else { options.staging_bytes };
    let before = tensor.gpu.memory(0)?.used_bytes;
    let mut codec = tensor.codec(options, staging)?;
    let (original, restored) = (tensor.original.address(), tensor.restored.address());
    let (dtype, bytes) = (tensor.dtype, tensor.bytes());
    let what = |what: &str| format!("{dtype}: {what}");
    let goal = |row: Row, goal| if dtype == DType::F32 { row.goal(goal) } else { row };

    codec.card().begin();
    let mut frame = Cursor::new(Vec::with_capacity(bytes as usize / 3));
    let header = codec.compress_to(dtype, &tensor.shape, original, POLICY, &mut frame)?;
    let compressing = codec.card().end().without_the_first_look();
    let frame = frame.into_inner();
    codec.card().begin();
    codec.restore_from(frame.as_slice(), restored)?;
    let restoring = codec.card().end();
    let digest = codec.digest(restored, bytes)?;
    codec.card().begin();
    codec.digest(original, bytes)?;
    let hashing = codec.card().end();
    if with_bus {
        let taken = tensor.gpu.memory(0)?.used_bytes.saturating_sub(before);
        rows.push(Row::new("all that a queue took of the card, once every kernel ran", "MiB", mib(taken)));
    }
    rows.push(Row::new(what("stored / original"), "ratio", frame.len() as f64 / bytes as f64));
    rows.push(
        Row::new(what("relative L2 error, as the frame says"), "rel", header.rel_l2_error)
            .goal(Goal::AtMost(0.006)),
    );

    let card = codec.card();
    let launches = compressing.launches();
    let took = median(options.rounds, || launches.give(card))?;
    let row = Row::new(what("compress kernels alone, input"), "GB/s", gb_per_s(bytes, took));
    rows.push(goal(row, Goal::AtLeast(1000.0)));
    let (once, again, again_bytes) = restoring.restoring_kernels(restored, restored + bytes)?;
    once.clone().placed(card)?.give(card)?;
    let took = median(options.rounds, || again.give(card))?;
    let row = Row::new(what("restore kernels alone, output"), "GB/s", gb_per_s(again_bytes, took));
    rows.push(goal(row, Goal::AtLeast(1500.0)));
    let launches = hashing.launches();
    if !launches.0.is_empty() {
        let took = median(options.rounds, || launches.give(card))?;
        rows.push(Row::new(what("BLAKE3 kernels alone"), "GB/s", gb_per_s(bytes, took)));
    }
    if !with_bus {
        return Ok(());
    }

    let (fetches, sends) =
        (copies(card, original, bytes, Direction::ToHost), copies(card, restored, bytes, Direction::ToCard));
    let to_host = median(options.rounds, || fetches.give(card))?;
    let to_card = median(options.rounds, || sends.give(card))?;
    let (to_host, to_card) = (gb_per_s(bytes, to_host), gb_per_s(bytes, to_card));
    let lanes = "pinned copy through the lanes";
    rows.push(Row::new(what("pinned copy to the host through the lanes"), "GB/s", to_host));
    rows.push(Row::new(what("pinned copy to the card through the lanes"), "GB/s", to_card));

    let compressing = compressing.placed(card)?;
    let took = median(options.rounds, || compressing.give(card))?;
    let peer = options.peers.or("PyTorch, pinned, non_blocking, to the host", (lanes, to_host));
    rows.push(
        Row::new(what("consolidate into pinned host memory, original"), "GB/s", gb_per_s(bytes, took))
            .peer(peer)
            .goal(Goal::TimesPeerAtLeast(3.0)),
    );
    let packed = compressing.packed(card)?;
    let payload = &frame[FrameReader::new(frame.as_slice())?.header().header_bytes()..];
    rows.push(Row::holds(what("what lies in pinned memory is the frame's"), payload.starts_with(&packed)));
    ensure!(!packed.is_empty(), differ("the fetched bytes and the frame"));

    let restoring = restoring.placed(card)?;
    let took = median(options.rounds, || restoring.give(card))?;
    let peer = options.peers.or("PyTorch, pinned, non_blocking, to the card", (lanes, to_card));
    rows.push(
        Row::new(what("reactivate from pinned host memory, original"), "GB/s", gb_per_s(bytes, took))
            .peer(peer)
            .goal(Goal::TimesPeerAtLeast(3.0)),
    );
    let same = codec.digest(restored, bytes)? == digest;
    rows.push(Row::holds(what("what came back from pinned memory is what the codec restores"), same));
    Ok(())
}

#[derive(Debug, Clone, Copy)]
enum Direction {
    ToHost,
    ToCard,
}

/// Copies of the whole tensor, lane by lane.
fn copies(card: &Recording, address: u64, bytes: u64, direction: Direction) -> Work {
    let size = COPY_BYTES.min(card.staging_bytes());
    let places = card.staging_bytes() / size;
    let copy = |(index, at): (usize, u64)| {
        let (lane, place) = (index % card.lanes(), index / card.lanes() % places * size);
        let here = size.min((bytes - at) as usize);
        let what = match direction {
            Direction::ToHost => What::Fetch { from: address + at, to: place, bytes: here },
            Direction::ToCard => {
                What::Send { from: place, to: address + at, bytes: here, content: Vec::new() }
            }
        };
        Given { lane, what }
    };
    Work((0..bytes).step_by(size).enumerate().map(copy).collect())
}
