//! Group "consciousness": does integrated information Φ come out the same when the covariances it is computed from had to leave a
//! card that is full? Heavy on the card: the covariances of many systems fill most of it.

#![allow(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::sync::Arc;

use end_to_end::{
    context,
    groups::{card, held_bytes, leave_room},
    matrix::Matrix,
    phi::{Covariances, Phi, error_bounds},
};
use omnimind_memory::{
    Consolidator, ContentHash, DType, DeviceMemory, IdleId, Item, NamedTensor, Outcome, Policy, Taken,
    TensorData,
};
use tempfile::TempDir;

const CARD_BYTES: u64 = 8 << 20;
/// Elements of a system.
const ORDER: usize = 6;
/// Systems that lie in one pair of tensors.
const BATCH: usize = 1024;
const BATCH_BYTES: u64 = (2 * BATCH * ORDER * ORDER * 8) as u64;
/// No element of a batch that may be lossy is off by more.
const LOSSY: f64 = 1e-6;
/// Of so many systems of each batch Φ is computed.
const JUDGED: usize = 64;

fn begin() -> (TempDir, Arc<dyn DeviceMemory>, Consolidator) {
    let (dir, gpu) = (tempfile::tempdir().unwrap(), card(CARD_BYTES));
    let consolidator =
        Consolidator::builder().store(dir.path().join("store")).gpu(gpu.clone()).build().unwrap();
    (dir, gpu, consolidator)
}

/// The dynamics of one system: elements that follow themselves and each other, the more the larger its number.
fn system(batch: usize, at: usize) -> Matrix {
    let mut state = (batch * BATCH + at) as u64 + 1;
    let mut values = [0.0; ORDER * ORDER];
    for value in &mut values {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *value = (state >> 33) as f64 / f64::from(1u32 << 30) - 1.0;
    }
    let coupling = 0.3 + 0.6 * at as f64 / BATCH as f64;
    // No row sums up to more than that, so its powers vanish.
    Matrix::new(ORDER, |row, column| {
        let sum: f64 = values[row * ORDER..][..ORDER].iter().map(|value: &f64| value.abs()).sum();
        coupling * values[row * ORDER + column] / sum
    })
}

/// The covariances of a batch, as the two tensors hold them.
fn covariances(batch: usize) -> [Vec<u8>; 2] {
    let all: Vec<_> = (0..BATCH).map(|at| Covariances::of_system(&system(batch, at)).unwrap()).collect();
    let bytes = |of: fn(&Covariances) -> &Matrix| {
        all.iter().flat_map(|one| of(one).values().iter().flat_map(|value| value.to_le_bytes())).collect()
    };
    [bytes(|one| &one.now), bytes(|one| &one.lagged)]
}

/// A batch on the card.
fn batch(gpu: &dyn DeviceMemory, number: usize, policy: Policy) -> Item<'static> {
    let tensor = |(name, bytes): (&str, Vec<u8>)| {
        let allocation = gpu.allocate(0, bytes.len() as u64).unwrap();
        gpu.write(&allocation, 0, &bytes).unwrap();
        NamedTensor::device(name, DType::F64, [BATCH, ORDER * ORDER], allocation)
    };
    let tensors = ["now", "lagged"].into_iter().zip(covariances(number)).map(tensor).collect();
    let mut item = Item::new("covariances", tensors);
    item.policy = Some(policy);
    item
}

/// The systems of a batch whose Φ is computed: not all are alike, and few must do.
fn judged() -> impl Iterator<Item = usize> {
    (0..BATCH).step_by(BATCH / JUDGED)
}

fn one_of(bytes: &[Vec<u8>; 2], at: usize) -> Covariances {
    let matrix = |bytes: &[u8]| {
        let values = &bytes.as_chunks::<8>().0[at * ORDER * ORDER..][..ORDER * ORDER];
        Matrix::new(ORDER, |row, column| f64::from_le_bytes(values[row * ORDER + column]))
    };
    Covariances { now: matrix(&bytes[0]), lagged: matrix(&bytes[1]) }
}

/// Φ of the judged systems of a batch that is on the card.
fn phis(bytes: &[Vec<u8>; 2]) -> Vec<Phi> {
    judged().map(|at| one_of(bytes, at).phi().unwrap()).collect()
}

fn read<'t>(
    gpu: &dyn DeviceMemory,
    tensors: impl IntoIterator<Item = &'t omnimind_memory::Allocation>,
) -> [Vec<u8>; 2] {
    let one = |allocation: &omnimind_memory::Allocation| {
        let mut bytes = vec![0; allocation.bytes() as usize];
        gpu.read(allocation, 0, &mut bytes).unwrap();
        bytes
    };
    tensors.into_iter().map(one).collect::<Vec<_>>().try_into().unwrap()
}

fn allocations(item: Item<'static>) -> Vec<omnimind_memory::Allocation> {
    let one = |tensor: NamedTensor<'static>| match tensor.data {
        TensorData::Device(allocation) => allocation,
        other => panic!("{other:?}"),
    };
    item.tensors.into_iter().map(one).collect()
}

fn consolidated(consolidator: &Consolidator, item: Item<'static>) -> Outcome {
    let mut done = consolidator.consolidate(vec![item], &context("consciousness"));
    assert!(done.failed.is_empty(), "{}", done.failed[0].error);
    done.outcomes.pop().unwrap()
}

/// Brings a batch back onto the card, reads it and frees it.
fn returned(consolidator: &Consolidator, gpu: &dyn DeviceMemory, hash: &ContentHash) -> [Vec<u8>; 2] {
    let back = consolidator.reactivate_on_device(hash, &context("consciousness")).unwrap();
    let bytes = read(gpu, back.tensors.iter().map(|tensor| &tensor.allocation));
    for tensor in back.tensors {
        gpu.free(tensor.allocation).unwrap();
    }
    bytes
}

/// Φ of a batch that came back with no element off by more than `bound` is as near as that allows: of the same cut, and of the
/// least one, which may be another now if that was no worse before.
fn check_near(number: usize, exact: &[Vec<u8>; 2], back: &[Vec<u8>; 2], bound: f64) {
    for at in judged() {
        let (dynamics, was, is) = (system(number, at), one_of(exact, at), one_of(back, at));
        // The nearest symmetric matrix is no further away.
        let is = Covariances { now: is.now.symmetric(), lagged: is.lagged };
        let (phi, least) = (was.phi().unwrap(), is.phi().unwrap());
        let (cut, other) = (is.cut(phi.part).unwrap(), was.cut(least.part).unwrap());
        let (nats, off) = error_bounds(&dynamics, &was, &phi, bound);
        let (_, other_off) = error_bounds(&dynamics, &was, &other, bound);
        assert!(nats < 10_000.0 * bound, "a bound of {nats} says nothing");
        assert!((cut.nats - phi.nats).abs() <= nats, "{cut:?} after {phi:?}, and {nats} is allowed");
        let moved = (least.normalised - phi.normalised).abs();
        assert!(moved <= off.max(other_off), "{least:?} after {phi:?}");
    }
}

#[test]
fn phi_of_exact_memories_is_exactly_what_it_was() {
    // R7, R9
    let (_dir, gpu, consolidator) = begin();
    let before = held_bytes(&*gpu);
    let item = batch(&*gpu, 0, Policy::Exact);
    let phi = phis(&covariances(0));
    assert!(phi.iter().any(|phi| phi.nats > 0.01), "there is something to lose");
    let outcome = consolidated(&consolidator, item);
    assert_eq!(held_bytes(&*gpu), before);
    assert_eq!(phis(&returned(&consolidator, &*gpu, &outcome.content_hash)), phi);
}

#[test]
fn phi_of_lossy_memories_is_as_near_as_their_error_allows() {
    // R7, R15
    let (_dir, gpu, consolidator) = begin();
    for (number, bound) in [1e-4, 1e-6].into_iter().enumerate() {
        let exact = covariances(number);
        let outcome = consolidated(&consolidator, batch(&*gpu, number, Policy::MaxAbs(bound)));
        assert!(outcome.max_abs_error <= bound && outcome.ratio < 0.6, "{outcome:?}");
        let back = returned(&consolidator, &*gpu, &outcome.content_hash);
        check_near(number, &exact, &back, bound);
    }
}

#[test]
fn a_card_full_of_systems_is_relieved_while_others_are_computed() {
    // R2, R30
    let (_dir, gpu, consolidator) = begin();
    let (before, rest) = (held_bytes(&*gpu), leave_room(&*gpu, CARD_BYTES));
    let count = (CARD_BYTES * 9 / 10).div_ceil(BATCH_BYTES) as usize;
    let ids: Vec<IdleId> = (0..count)
        .map(|number| {
            let policy = if number % 2 == 0 { Policy::Exact } else { Policy::MaxAbs(LOSSY) };
            consolidator.idle(batch(&*gpu, number, policy), &context("consciousness")).unwrap()
        })
        .collect();
    if gpu.source() == "simulated" {
        assert!(consolidator.should_consolidate().unwrap().consolidate, "most of the card is in use");
    }

    // The last one is in use; what is idle leaves meanwhile.
    let Taken::Item(last) = consolidator.take(ids[count - 1]) else { panic!("nothing has left yet") };
    let last = allocations(last);
    let (phi, relief) = std::thread::scope(|scope| {
        let relief = scope.spawn(|| consolidator.consolidate_idle(BATCH_BYTES * count as u64 / 2));
        (phis(&read(&*gpu, &last)), relief.join().unwrap())
    });
    assert_eq!(phi, phis(&covariances(count - 1)), "nobody disturbed what was computed");
    assert!(relief.failed.is_empty() && relief.consolidated.len() >= count / 2 - 1, "{:?}", relief.reasons);
    for allocation in last {
        gpu.free(allocation).unwrap();
    }

    for (number, id) in ids[..count - 1].iter().enumerate() {
        let (bytes, has_left) = match consolidator.take(*id) {
            Taken::Item(item) => {
                let held = allocations(item);
                let bytes = read(&*gpu, &held);
                for allocation in held {
                    gpu.free(allocation).unwrap();
                }
                (bytes, false)
            }
            Taken::Consolidated(hash) => (returned(&consolidator, &*gpu, &hash), true),
            Taken::Unknown => panic!("batch {number} is lost"),
        };
        let exact = covariances(number);
        if number % 2 == 0 || !has_left {
            assert!(bytes == exact, "batch {number} is not what it was");
        }
        check_near(number, &exact, &bytes, LOSSY);
    }
    if let Some(held) = rest {
        gpu.free(held).unwrap();
    }
    assert_eq!(held_bytes(&*gpu), before);
}
